"""Hooks a Cloudstate plugin may implement.

Each hook runs once, at start-up, before a socket opens. A hook returns objects; the request path
calls those objects directly and never goes through pluggy.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
import pluggy

from cloudstate_core.frontend import FrontEnd
from cloudstate_core.instrument import Instrument
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.kind import EntityKind
from cloudstate_core.settings import SettingsSection
from cloudstate_core.store import StoreBackend
from cloudstate_core.transport import TransportBackend

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "cloudstate"  #: pluggy project name and entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def cloudstate_register_kinds() -> Iterable[EntityKind]:  # type: ignore[empty-body]
    """Declare the entity kinds this plugin adds.

    Returns:
        The kinds. `EntityKind.name` and `EntityKind.entity_type` must be unique in the process; a
        clash stops start-up with `PluginError`.
    """


@hookspec
def cloudstate_register_stores() -> Iterable[StoreBackend]:  # type: ignore[empty-body]
    """Declare the ways to keep state this plugin adds.

    Returns:
        The backends. `StoreBackend.name` must be unique in the process.
    """


@hookspec
def cloudstate_register_transports() -> Iterable[TransportBackend]:  # type: ignore[empty-body]
    """Declare the ways to connect nodes this plugin adds.

    Returns:
        The backends. `TransportBackend.scheme` must be unique in the process.
    """


@hookspec
def cloudstate_register_frontends() -> Iterable[FrontEnd]:  # type: ignore[empty-body]
    """Declare the front ends this plugin adds.

    Returns:
        The front ends. `FrontEnd.name` must be unique in the process.
    """


@hookspec
def cloudstate_register_interceptors() -> Iterable[Interceptor]:  # type: ignore[empty-body]
    """Declare handlers that stand around every request.

    Returns:
        The interceptors. `Interceptor.name` must be unique in the process.
    """


@hookspec
def cloudstate_register_instruments() -> Iterable[Instrument]:  # type: ignore[empty-body]
    """Declare who is told what the runtime does.

    Returns:
        The instruments, told in the order of registration.
    """


@hookspec
def cloudstate_register_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Declare sub-commands of the command `cloudstate`.

    Returns:
        Click commands. Their names must be unique in the process.
    """


@hookspec
def cloudstate_register_settings() -> Iterable[SettingsSection]:  # type: ignore[empty-body]
    """Declare the settings sections this plugin reads.

    They are checked whichever command runs, so that one settings file serves all of them. The
    section of a store is `StoreBackend.settings_type`, that of a transport
    `TransportBackend.settings_type`; they need no declaration of their own.

    Returns:
        The sections. `SettingsSection.name` must be unique in the process.
    """
