"""Adds the command `cloudstate tck`."""

from __future__ import annotations

import click

from cloudstate_core.cli.lazy_command import LazyCommand
from cloudstate_core.hookspecs import hookimpl

__all__ = ["cloudstate_register_commands"]


@hookimpl
def cloudstate_register_commands() -> list[click.Command]:
    return [LazyCommand("tck", "Examine a user function or a proxy against the protocol.", _tck)]


def _tck() -> click.Command:
    # The cases import every protocol; a process that only serves should not.
    from cloudstate_tck.command import tck  # noqa: PLC0415

    return tck
