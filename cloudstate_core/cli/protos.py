"""`cloudstate protos`: where the protos are that an application's own protos import."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import click

from cloudstate_core.cli.setup import config_option
from cloudstate_core.errors import ConfigurationError

__all__ = ["include_roots", "protos"]

#: By the distribution that brings it, a file that is there if the distribution's protos are.
_SHIPPED = {
    "cloudstate-core": "cloudstate/entity_key.proto",
    "googleapis-common-protos": "google/api/annotations.proto",
}


_HELP = """Print where protoc finds cloudstate/entity_key.proto and google/api/annotations.proto.

With the compiler of the distribution grpcio-tools, in a folder that holds shop/shop.proto:

\b
  python -m grpc_tools.protoc -I . -I "$(cloudstate protos)" \\
      --python_out=. --pyi_out=. --grpc_python_out=. shop/shop.proto
"""


@click.command("protos", help=_HELP)
@config_option
def protos() -> None:
    # The separator is that of PATH, and protoc's own.
    click.echo(os.pathsep.join(map(str, include_roots())))


def include_roots() -> list[Path]:
    """Return the folders that import paths start from, each once.

    Raises:
        ConfigurationError: Protos that belong to an installed distribution are not there.
    """
    found: dict[Path, None] = {}
    for name, proto in _SHIPPED.items():
        try:
            path = Path(str(distribution(name).locate_file(proto)))
        except PackageNotFoundError:
            path = Path()
        if not path.is_file():
            raise ConfigurationError(
                f"{proto!r} is not installed: pip install --force-reinstall {name}"
            )
        found[path.resolve().parents[len(Path(proto).parts) - 1]] = None
    return list(found)
