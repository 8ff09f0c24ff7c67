"""Where the classes of each kind come from: a distribution of its own, imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["attribute_of"]


def attribute_of(asking: str, name: str, places: dict[str, str], distribution: str) -> Any:
    """Return `name`, for the `__getattr__` of the module `asking`.

    Args:
        asking: The module that was asked.
        name: What it was asked for.
        places: For each name that it has, the module which defines it.
        distribution: What to install for these modules.

    Raises:
        AttributeError: There is no such name.
        ImportError: The distribution is not installed.
    """
    if name not in places:
        raise AttributeError(f"module {asking!r} has no attribute {name!r}")
    module = places[name]
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ImportError(
            f"{asking}.{name} needs the distribution {distribution!r}: pip install {distribution}",
            name=error.name,
        ) from error
