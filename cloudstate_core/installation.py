"""Whether what is installed can work together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from cloudstate_core.errors import ConfigurationError

__all__ = ["check_installation"]

#: A library of the same purpose that is no longer developed. It has the same package.
_ABANDONED = "cloudstate"


def check_installation() -> None:
    """Return if no other distribution owns files of ours.

    Raises:
        ConfigurationError: One does: whichever was installed last has replaced files of the other.
    """
    try:
        found = version(_ABANDONED)
    except PackageNotFoundError:
        return
    raise ConfigurationError(
        f"distribution {_ABANDONED!r} {found}, which is no longer developed, is installed beside "
        f"'cloudstate-core' and has replaced files of it: pip uninstall {_ABANDONED}, then "
        "pip install --force-reinstall cloudstate-core"
    )
