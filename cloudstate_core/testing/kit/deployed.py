"""From a declaration to what the runtime would make of it."""

from __future__ import annotations

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2, legacy_entity_key_pb2
from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.entity import DeployedEntity, DeployedMethod, EntityDefinition
from cloudstate_core.entity_key import unusable_key_fields
from cloudstate_core.errors import InvalidSpec
from cloudstate_core.kind import EntityKind

__all__ = ["deployed"]


def deployed(entity: EntityDefinition, kind: EntityKind) -> DeployedEntity:
    """Return what a runtime serves for a declared entity.

    Unlike a runtime's, its messages are those of the application's own modules.

    Raises:
        InvalidSpec: No runtime would serve it, for the reasons named.
    """
    found = DeployedEntity(
        entity_type=entity.entity_type,
        service_name=str(entity.service.full_name),
        persistence_id=entity.persistence_id,
        passivation_timeout_s=entity.passivation_timeout_s,
        methods={str(method.name): _method(method) for method in entity.service.methods},
        file=str(entity.service.file.name),
    )
    faults = [*kind.faults(found)]
    for method in found.methods.values():
        faults += [f"entity key field {reason}" for reason in unusable_key_fields(method)]
    if faults:
        raise InvalidSpec(*faults)
    return found


def _method(method: MethodDescriptor) -> DeployedMethod:
    return DeployedMethod(
        name=str(method.name),
        descriptor=method,
        input_class=GetMessageClass(method.input_type),
        output_class=GetMessageClass(method.output_type),
        input_type_url=MESSAGE_PREFIX + method.input_type.full_name,
        output_type_url=MESSAGE_PREFIX + method.output_type.full_name,
        key_fields=_key_fields(method),
        client_streaming=bool(method.client_streaming),
        server_streaming=bool(method.server_streaming),
    )


def _key_fields(method: MethodDescriptor) -> tuple[str, ...]:
    keys = (entity_key_pb2.entity_key, legacy_entity_key_pb2.legacy_entity_key)
    return tuple(
        str(field.name)
        for field in method.input_type.fields
        if any(field.GetOptions().Extensions[key] for key in keys)  # type: ignore[index]
    )
