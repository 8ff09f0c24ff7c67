"""Finding the entities that an application declares."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import CloudstateError, ConfigurationError

__all__ = ["GROUP", "load_entities"]

#: Entry-point group in which an installed application declares its entities.
GROUP = "cloudstate.entities"


def load_entities(
    references: Sequence[str], folder: Path, found: Iterable[EntryPoint] | None = None
) -> list[EntityDefinition]:
    """Return the entities that `references` name, or all installed ones if there is none.

    Args:
        references: Each `MODULE:NAME`.
        folder: Modules are looked for here first.
        found: What is installed. Defaults to the entry points of the group.

    Raises:
        ConfigurationError: Something is not there, does not import, or is no entity.
        RegistrationError: A module declares an entity wrongly.
    """
    if references:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        return [_entity(reference) for reference in references]
    installed = sorted(
        entry_points(group=GROUP) if found is None else found, key=lambda entry: entry.name
    )
    if not installed:
        raise ConfigurationError(
            "expected MODULE:NAME of at least one entity, found none, and no installed "
            f"distribution declares one in the entry-point group {GROUP!r}"
        )
    return [_installed_entity(entry) for entry in installed]


def _installed_entity(entry: EntryPoint) -> EntityDefinition:
    try:
        return _entity(entry.value)
    except ConfigurationError as error:
        origin = f" of distribution {entry.dist.name!r}" if entry.dist is not None else ""
        raise ConfigurationError(f"installed entity {entry.name!r}{origin}: {error}") from error


def _entity(reference: str) -> EntityDefinition:
    module_name, colon, path = reference.partition(":")
    if not module_name or not path:
        hint = "" if colon else _entities_in_words(module_name)
        raise ConfigurationError(f"expected MODULE:NAME of an entity, found {reference!r}{hint}")
    module = _module(module_name)
    value: object = module
    for name in path.split("."):
        if not hasattr(value, name):
            raise ConfigurationError(
                f"module {module_name!r} has no {path!r}{_suggestion(module, name)}"
            )
        value = getattr(value, name)
    if not isinstance(value, EntityDefinition):
        raise ConfigurationError(
            f"{reference!r}: expected an entity, found {type(value).__name__}"
            f"{_suggestion(module, '')}"
        )
    return value


def _entities_in_words(module_name: str) -> str:
    try:
        return _suggestion(_module(module_name), "")
    except CloudstateError:
        return ""


def _suggestion(module: ModuleType, missing: str) -> str:
    entities = [name for name, value in vars(module).items() if isinstance(value, EntityDefinition)]
    names = difflib.get_close_matches(missing, entities, n=1) or entities
    if not names:
        return f"; module {module.__name__!r} has no entity"
    return f"; did you mean {' or '.join(f'{module.__name__}:{name}' for name in names)}?"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except CloudstateError:
        raise
    except ModuleNotFoundError as error:
        # Only if the name itself leads nowhere; a module it imports may be missing as well.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"module {name!r} is not found: expected it in the current folder or installed"
            ) from error
        raise _does_not_import(name, error) from error
    except Exception as error:
        raise _does_not_import(name, error) from error


def _does_not_import(name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"module {name!r} does not import: {type(error).__name__}: {error}{_place(error)}"
    )


def _place(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return ""  # says it itself
    frames = traceback.extract_tb(error.__traceback__)
    # The machinery of importing is not where the mistake is.
    own = [frame for frame in frames if not frame.filename.startswith("<frozen ")]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if len(own) > 1 else ""
