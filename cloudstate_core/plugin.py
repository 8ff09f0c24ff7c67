"""What the core itself adds, through the hooks that everybody uses."""

from __future__ import annotations

import click

from cloudstate_core.cli.plugins import plugins
from cloudstate_core.cli.protos import protos
from cloudstate_core.cli.serve import serve
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.instrument import Instrument
from cloudstate_core.log_instrument import LogInstrument
from cloudstate_core.store import StoreBackend
from cloudstate_core.stores.memory import MemoryBackend

__all__ = [
    "cloudstate_register_commands",
    "cloudstate_register_instruments",
    "cloudstate_register_stores",
]


@hookimpl
def cloudstate_register_stores() -> list[StoreBackend]:
    """Add the store that forgets."""
    return [MemoryBackend()]


@hookimpl
def cloudstate_register_instruments() -> list[Instrument]:
    """Add the log."""
    return [LogInstrument()]


@hookimpl
def cloudstate_register_commands() -> list[click.Command]:
    """Add what can be done without a runtime."""
    return [serve, plugins, protos]
