"""Checks of an announced service that most kinds need; see `EntityKind.faults`."""

from __future__ import annotations

from collections.abc import Iterator

from cloudstate_core.entity import DeployedEntity

__all__ = ["client_streamed_methods", "keyless_methods", "streamed_methods"]


def streamed_methods(entity: DeployedEntity) -> Iterator[str]:
    """Name the methods that stream, in either direction, as one fault."""
    found = [m.name for m in entity.methods.values() if m.client_streaming or m.server_streaming]
    if found:
        yield (
            f"service {entity.service_name}: an entity of type {entity.entity_type} cannot have "
            f"streamed methods, found {', '.join(found)}"
        )


def client_streamed_methods(entity: DeployedEntity) -> Iterator[str]:
    """Name the methods whose requests are a stream, as one fault."""
    found = [m.name for m in entity.methods.values() if m.client_streaming]
    if found:
        yield (
            f"service {entity.service_name}: an entity of type {entity.entity_type} cannot have "
            f"methods with streamed requests, found {', '.join(found)}"
        )


def keyless_methods(entity: DeployedEntity) -> Iterator[str]:
    """Name the methods whose request has no entity key, as one fault."""
    found = [m.name for m in entity.methods.values() if not m.key_fields]
    if found:
        yield (
            f"service {entity.service_name}: the request of every method needs a field with the "
            f"option (cloudstate.entity_key) = true, missing for {', '.join(found)}"
        )
