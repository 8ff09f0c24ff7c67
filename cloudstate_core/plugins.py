"""Finding plugins, and what they register.

This is the only module that handles pluggy's manager. A manager is made at start and passed on;
there is none for the whole process, so tests make their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
from cloudstate_core.settings import CORE_SECTIONS, SettingsSection
from cloudstate_core.store import StoreBackend
from cloudstate_core.transport import TransportBackend

__all__ = ["PluginInfo", "Plugins", "load_plugins"]

#: What each hook `cloudstate_register_<axis>s` must return objects of.
_AXES: dict[str, type] = {
    "kind": EntityKind,
    "store": StoreBackend,
    "transport": TransportBackend,
    "frontend": FrontEnd,
    "interceptor": Interceptor,
    "instrument": Instrument,
    "command": click.Command,
    "setting": SettingsSection,
}

#: Where the name of a registered object stands, if not in `name`.
_NAMED_BY = {"transport": "scheme"}

_HOOK_PREFIX = "cloudstate_register_"

#: What makes a name fit for settings, listings and environment variables.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


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
    transports: dict[str, TransportBackend] = field(default_factory=dict)
    frontends: dict[str, FrontEnd] = field(default_factory=dict)
    interceptors: dict[str, Interceptor] = field(default_factory=dict)
    instruments: tuple[Instrument, ...] = ()
    commands: dict[str, click.Command] = field(default_factory=dict)
    settings: dict[str, SettingsSection] = field(default_factory=dict)
    installed: tuple[PluginInfo, ...] = ()

    def kind_of(self, entity_type: str) -> EntityKind | None:
        """Return the kind whose protocol service is `entity_type`, or None."""
        return next((k for k in self.kinds.values() if k.entity_type == entity_type), None)

    def section_types(self) -> dict[str, type]:
        """Return the dataclass of every section that the settings may have, by its name.

        Raises:
            PluginError: Two of them have one name.
        """
        sections = dict(CORE_SECTIONS)
        named = [(each.name, each.type) for each in self.settings.values()]
        named += [(each.name, each.settings_type) for each in self.stores.values()]
        named += [(each.scheme, each.settings_type) for each in self.transports.values()]
        for name, type_ in named:
            if name in sections:
                raise PluginError(
                    f"settings section {name!r} is taken by both {sections[name].__module__} and "
                    f"{type_.__module__}"
                )
            sections[name] = type_
        return sections


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
    registry = _Registry()
    installed = []
    for entry in entries:
        # One plugin at a time, so that a clash can name who came second.
        enabled = entry.name not in disabled
        added = registry.add(entry, _register(manager, entry)) if enabled else ()
        installed.append(_describe(entry, added, enabled=enabled))
    registry.check_entity_types()
    return registry.plugins(tuple(installed))


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


def _register(manager: pluggy.PluginManager, entry: EntryPoint) -> object:
    """Import a plugin and have its hooks checked."""
    try:
        plugin = entry.load()
    except Exception as error:
        raise _fault(
            entry,
            f"does not import: {type(error).__name__}: {error}; mend it, uninstall it, or name it "
            "in the setting `disabled` of section [plugins]",
        ) from error
    try:
        manager.register(plugin, name=entry.name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise _fault(entry, str(error)) from error
    for name in dir(plugin):
        # pluggy passes over what is not marked, and so over what is misspelt and not marked.
        if name.startswith(_HOOK_PREFIX) and manager.parse_hookimpl_opts(plugin, name) is None:
            raise _fault(entry, f"{name} is not marked as a hook: put @hookimpl above it")
    return plugin


def _fault(entry: EntryPoint, what: str) -> PluginError:
    return PluginError(f"plugin {entry.name!r} of {_origin(entry)}: {what}")


def _origin(entry: EntryPoint) -> str:
    return f"distribution {entry.dist.name!r}" if entry.dist is not None else f"{entry.value!r}"


def _describe(entry: EntryPoint, added: tuple[str, ...], *, enabled: bool) -> PluginInfo:
    return PluginInfo(
        name=entry.name,
        distribution=entry.dist.name if entry.dist is not None else entry.value,
        version=entry.dist.version if entry.dist is not None else "",
        registers=added,
        enabled=enabled,
    )


class _Registry:
    """Everything that was registered so far, and by which plugin."""

    def __init__(self) -> None:
        self._registered: dict[str, dict[str, object]] = {axis: {} for axis in _AXES}
        self._owners: dict[tuple[str, str], EntryPoint] = {}

    def add(self, entry: EntryPoint, plugin: object) -> tuple[str, ...]:
        """Call one plugin's hooks, check what they return, and return what was added."""
        added = []
        for axis in _AXES:
            for found in self._asked(entry, plugin, axis):
                name = self._name_of(entry, axis, found)
                owner = self._owners.setdefault((axis, name), entry)
                if name in self._registered[axis]:
                    raise _fault(
                        entry,
                        f"registers {axis} {name!r}, which plugin {owner.name!r} of "
                        f"{_origin(owner)} registered already",
                    )
                self._registered[axis][name] = found
                added.append(f"{axis} {type(found).__name__ if axis == 'instrument' else name}")
        return tuple(added)

    def _asked(self, entry: EntryPoint, plugin: object, axis: str) -> list[object]:
        hook = f"{_HOOK_PREFIX}{axis}s"
        if not hasattr(plugin, hook):
            return []
        try:
            found = list(getattr(plugin, hook)())
        except Exception as error:
            raise _fault(entry, f"{hook} failed: {type(error).__name__}: {error}") from error
        expected = _AXES[axis]
        for each in found:
            if isinstance(each, type):
                raise _fault(
                    entry, f"expected instances from {hook}, found the class {each.__name__}"
                )
            if not isinstance(each, expected):
                raise _fault(
                    entry,
                    f"expected {expected.__name__} from {hook}, found {type(each).__name__}",
                )
        return found

    def _name_of(self, entry: EntryPoint, axis: str, found: object) -> str:
        if axis == "instrument":
            # Instruments have no names: any number of them may be told.
            type_name = type(found).__qualname__
            count = sum(type(each) is type(found) for each in self._registered[axis].values())
            return f"{type(found).__module__}.{type_name}" + (f" {count + 1}" if count else "")
        name = getattr(found, _NAMED_BY.get(axis, "name"), None)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _fault(
                entry,
                f"expected the name of {axis} {type(found).__name__} to be one word, found "
                f"{name!r}",
            )
        if axis == "kind" and not getattr(found, "entity_type", ""):
            raise _fault(entry, f"kind {name!r} has no entity_type")
        return name

    def check_entity_types(self) -> None:
        seen: dict[str, str] = {}
        for name, kind in cast("dict[str, EntityKind]", self._registered["kind"]).items():
            if kind.entity_type in seen:
                raise _fault(
                    self._owners["kind", name],
                    f"kinds {seen[kind.entity_type]!r} and {name!r} both have entity type "
                    f"{kind.entity_type!r}",
                )
            seen[kind.entity_type] = name

    def plugins(self, installed: tuple[PluginInfo, ...]) -> Plugins:
        of: Mapping[str, dict[str, object]] = self._registered
        return Plugins(
            kinds=cast("dict[str, EntityKind]", of["kind"]),
            stores=cast("dict[str, StoreBackend]", of["store"]),
            transports=cast("dict[str, TransportBackend]", of["transport"]),
            frontends=cast("dict[str, FrontEnd]", of["frontend"]),
            interceptors=cast("dict[str, Interceptor]", of["interceptor"]),
            instruments=cast("tuple[Instrument, ...]", tuple(of["instrument"].values())),
            commands=cast("dict[str, click.Command]", of["command"]),
            settings=cast("dict[str, SettingsSection]", of["setting"]),
            installed=installed,
        )
