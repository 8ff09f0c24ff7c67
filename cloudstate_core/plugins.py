"""Finding plugins, and what they register.

This is the only module that handles pluggy's manager. A manager is made at start and passed on;
there is none for the whole process, so tests make their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import cast

import click
import pluggy

from cloudstate_core import hookspecs
from cloudstate_core.errors import PluginError
from cloudstate_core.frontend import FrontEnd
from cloudstate_core.instrument import Instrument
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.kind import EntityKind
from cloudstate_core.store import StoreBackend

__all__ = ["PluginInfo", "Plugins", "load_plugins"]

#: What each hook `cloudstate_register_<axis>s` must return objects of.
_AXES: dict[str, type] = {
    "kind": EntityKind,
    "store": StoreBackend,
    "frontend": FrontEnd,
    "interceptor": Interceptor,
    "instrument": Instrument,
    "command": click.Command,
}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One installed plugin.

    Attributes:
        name: Its name, as the entry point says.
        distribution: Which distribution it comes from.
        version: The distribution's version.
        registers: What it adds, such as `("kind counter",)`.
        enabled: Whether it was loaded.
    """

    name: str
    distribution: str
    version: str
    registers: tuple[str, ...]
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Plugins:
    """What the installed plugins registered, by axis and name."""

    kinds: dict[str, EntityKind] = field(default_factory=dict)
    stores: dict[str, StoreBackend] = field(default_factory=dict)
    frontends: dict[str, FrontEnd] = field(default_factory=dict)
    interceptors: dict[str, Interceptor] = field(default_factory=dict)
    instruments: tuple[Instrument, ...] = ()
    commands: dict[str, click.Command] = field(default_factory=dict)
    installed: tuple[PluginInfo, ...] = ()

    def kind_of(self, entity_type: str) -> EntityKind | None:
        """Return the kind whose protocol service is `entity_type`, or None."""
        return next((k for k in self.kinds.values() if k.entity_type == entity_type), None)


def load_plugins(
    found: Iterable[EntryPoint] | None = None, *, disabled: frozenset[str] = frozenset()
) -> Plugins:
    """Load every installed plugin and ask each what it registers.

    pluggy's own loader skips a second entry point of the same name without a word, so the entry
    points are walked here and a repeat is an error.

    Args:
        found: Entry points to load. Defaults to the installed ones.
        disabled: Names of plugins to leave out. A name that is not installed is an error.

    Raises:
        PluginError: If a plugin cannot be imported, repeats a name, implements a hook that does not
            exist, or registers something under a name that is taken.
    """
    entries = sorted(
        entry_points(group=hookspecs.PROJECT) if found is None else found, key=lambda e: e.name
    )
    _check_names(entries, disabled)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for entry in entries:
        if entry.name not in disabled:
            manager.register(_import(entry), name=entry.name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{_origin_of(error.plugin, manager, entries)}: {error}") from error
    return _collect(manager, entries, disabled)


def _check_names(entries: list[EntryPoint], disabled: frozenset[str]) -> None:
    for first, second in pairwise(entries):
        if first.name == second.name:
            raise PluginError(
                f"two plugins are named {first.name!r}: one of {_origin(first)}, one of "
                f"{_origin(second)}; uninstall one of them"
            )
    for name in sorted(disabled - {entry.name for entry in entries}):
        known = ", ".join(entry.name for entry in entries) or "none"
        raise PluginError(f"cannot disable plugin {name!r}: not installed; installed are {known}")


def _import(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(
            f"plugin {entry.name!r} of {_origin(entry)} does not import: "
            f"{type(error).__name__}: {error}"
        ) from error


def _origin(entry: EntryPoint) -> str:
    return f"distribution {entry.dist.name!r}" if entry.dist is not None else f"{entry.value!r}"


def _origin_of(plugin: object, manager: pluggy.PluginManager, entries: list[EntryPoint]) -> str:
    name = manager.get_name(plugin)
    origin = next((_origin(entry) for entry in entries if entry.name == name), "unknown")
    return f"plugin {name!r} of {origin}"


def _collect(
    manager: pluggy.PluginManager, entries: list[EntryPoint], disabled: frozenset[str]
) -> Plugins:
    registered: dict[str, dict[str, object]] = {axis: {} for axis in _AXES}
    installed = []
    for entry in entries:
        # One plugin at a time, so that a clash can name who came second.
        enabled = entry.name not in disabled
        added = _ask(entry, manager.get_plugin(entry.name), registered) if enabled else ()
        installed.append(_describe(entry, added, enabled=enabled))
    plugins = Plugins(
        kinds=cast("dict[str, EntityKind]", registered["kind"]),
        stores=cast("dict[str, StoreBackend]", registered["store"]),
        frontends=cast("dict[str, FrontEnd]", registered["frontend"]),
        interceptors=cast("dict[str, Interceptor]", registered["interceptor"]),
        instruments=cast("tuple[Instrument, ...]", tuple(registered["instrument"].values())),
        commands=cast("dict[str, click.Command]", registered["command"]),
        installed=tuple(installed),
    )
    _check_entity_types(plugins.kinds)
    return plugins


def _ask(
    entry: EntryPoint, plugin: object, registered: dict[str, dict[str, object]]
) -> tuple[str, ...]:
    """Call one plugin's hooks, check what they return, and return what was added."""
    added = []
    for axis, expected in _AXES.items():
        hook = getattr(plugin, f"cloudstate_register_{axis}s", None)
        for found in () if hook is None else hook():
            if not isinstance(found, expected):
                raise PluginError(
                    f"plugin {entry.name!r} of {_origin(entry)}: expected {expected.__name__} from "
                    f"cloudstate_register_{axis}s, found {type(found).__name__}"
                )
            name = getattr(found, "name", None) or type(found).__name__
            if name in registered[axis]:
                raise PluginError(
                    f"plugin {entry.name!r} of {_origin(entry)} registers {axis} {name!r}, which "
                    f"{type(registered[axis][name]).__module__} registered already"
                )
            registered[axis][name] = found
            added.append(f"{axis} {name}")
    return tuple(added)


def _describe(entry: EntryPoint, added: tuple[str, ...], *, enabled: bool) -> PluginInfo:
    return PluginInfo(
        name=entry.name,
        distribution=entry.dist.name if entry.dist is not None else entry.value,
        version=entry.dist.version if entry.dist is not None else "",
        registers=added,
        enabled=enabled,
    )


def _check_entity_types(kinds: dict[str, EntityKind]) -> None:
    seen: dict[str, str] = {}
    for kind in kinds.values():
        if kind.entity_type in seen:
            raise PluginError(
                f"kinds {seen[kind.entity_type]!r} and {kind.name!r} both have entity type "
                f"{kind.entity_type!r}"
            )
        seen[kind.entity_type] = kind.name
