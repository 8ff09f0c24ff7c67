"""Who waits for whom: how a circle of entities that ask each other is found in time.

An entity that asks another one waits in the middle of its own command. Whatever happens until it
has its answer knows of it, through one header of commands and calls, and an entity that is itself
among those that wait refuses to be asked.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from cloudstate_core.metadata import EMPTY_METADATA, Metadata

__all__ = ["WAITING_HEADER", "entity_name", "waiting_of", "with_waiting", "without_waiting"]

#: The header; it has one value for each entity that waits, the first one has waited longest.
WAITING_HEADER = "x-cloudstate-waiting"


def entity_name(service: str, entity_id: str) -> str:
    """Return what an entity is called among those that wait."""
    return f"{service}/{entity_id}"


def waiting_of(metadata: Metadata) -> tuple[str, ...]:
    """Return who waits, according to the headers of a command."""
    if not metadata:
        return ()
    return tuple(
        unquote(name) for name in metadata.get_all(WAITING_HEADER) if isinstance(name, str)
    )


def without_waiting(metadata: Metadata) -> Metadata:
    """Return what is left for the application to see."""
    return metadata.remove(WAITING_HEADER) if WAITING_HEADER in metadata else metadata


def with_waiting(metadata: Metadata, waiting: tuple[str, ...]) -> Metadata:
    """Return headers that say who waits, and nobody else."""
    if not waiting:
        return without_waiting(metadata) if metadata else EMPTY_METADATA
    entries = [*without_waiting(metadata)]
    # Ids are any text, headers are not.
    return Metadata([*entries, *((WAITING_HEADER, quote(name)) for name in waiting)])
