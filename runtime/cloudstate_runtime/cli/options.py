"""Options that every command with a front door has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from cloudstate_core.errors import SettingsError

__all__ = ["front_door_options"]

_OPTIONS = (
    click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]"),
    click.option("--port", type=int, metavar="PORT", help="Port to listen on.  [default: 9000]"),
    click.option(
        "--data",
        metavar="DIR",
        help="Where state is kept on disk.  [default: ./cloudstate-data]",
    ),
    click.option("--store", metavar="NAME", help="Which store keeps the state; see `plugins`."),
    click.option(
        "--memory", is_flag=True, help="Keep state in memory only; it ends with this run."
    ),
    click.option(
        "--node", metavar="NAME", help="Name of this node among others.  [default: local]"
    ),
    click.option(
        "--transport",
        metavar="ADDRESS",
        help="How nodes are connected, as SCHEME://ADDRESS; see `plugins`.  [default: not at all]",
    ),
)


def front_door_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as one parameter `flags`, by setting."""

    @functools.wraps(command)
    def with_flags(
        *args: Any,  # whatever else the command takes
        host: str | None,
        port: int | None,
        data: str | None,
        store: str | None,
        memory: bool,
        node: str | None,
        transport: str | None,
        **others: Any,  # as above
    ) -> None:
        if memory and (data or store):
            raise SettingsError("--memory keeps nothing on disk; leave out --data and --store")
        flags = {
            "host": host,
            "port": port,
            "data_dir": data,
            "store": "memory" if memory else store,
            "node": node,
            "transport": transport,
        }
        command(*args, flags=flags, **others)

    for option in reversed(_OPTIONS):
        with_flags = option(with_flags)
    return with_flags
