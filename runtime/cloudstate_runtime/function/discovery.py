"""From what a user function announces to what is served; or to what is wrong with it.

The checks are those of the protocol's discovery, and a few that keep one user function from harming
another. All of them run before anything is served, and every fault is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from cloudstate import entity_key_pb2, legacy_entity_key_pb2
from cloudstate.entity_pb2 import Entity, EntitySpec, ServiceInfo
from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.errors import InvalidSpec
from cloudstate_core.frontend import Deployment
from cloudstate_core.kind import EntityKind
from cloudstate_runtime.function.descriptors import build_pool, messages_of, parse_files
from cloudstate_runtime.routing.entity_key import unusable_key_fields

__all__ = ["PROTOCOL_VERSION", "Discovery", "FrontEndFaults"]

#: Version of the Cloudstate protocol that this runtime speaks: major, minor.
PROTOCOL_VERSION = (0, 2)

FrontEndFaults = Callable[[Sequence[DeployedEntity]], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a runtime can serve, to hold announcements against.

    Attributes:
        kinds: The installed kinds by entity type.
        front_end_faults: What the front ends could not serve.
        max_spec_bytes: Largest set of descriptors.
    """

    kinds: Mapping[str, EntityKind]
    front_end_faults: FrontEndFaults
    max_spec_bytes: int

    def deploy(
        self, name: str, spec: EntitySpec, others: Sequence[DeployedEntity] = ()
    ) -> Deployment:
        """Check an announcement and return what it deploys.

        Args:
            name: Where the user function is, for people.
            spec: What it announced.
            others: What other user functions serve already.

        Raises:
            InvalidSpec: Naming every fault that was found.
        """
        faults = list(_version_faults(spec))
        if faults:
            raise InvalidSpec(*faults)
        files = parse_files(spec.proto, max_bytes=self.max_spec_bytes)
        pool = build_pool(files)
        faults = [*self._entity_faults(spec.entities), *_clashes(spec.entities, others)]
        entities = []
        messages = messages_of(files.values())
        for announced in spec.entities:
            try:
                entities.append(_deployed(announced, pool, files, messages))
            except InvalidSpec as error:
                faults += error.faults
        for entity in entities:
            faults += self._kind_faults(entity)
        if not faults:
            faults += self.front_end_faults(entities)
        if faults:
            raise InvalidSpec(*faults)
        return Deployment(name, tuple(entities), FileDescriptorSet(file=files.values()), pool)

    def _entity_faults(self, entities: Sequence[Entity]) -> Iterator[str]:
        if not entities:
            yield "expected at least one entity, found none"
        supported = ", ".join(sorted(self.kinds)) or "none"
        for entity in entities:
            if entity.entity_type not in self.kinds:
                yield (
                    f"service {entity.service_name!r}: unsupported entity type "
                    f"{entity.entity_type!r}; this runtime supports {supported}"
                )
            if entity.passivation_strategy.WhichOneof("strategy") == "timeout" and (
                entity.passivation_strategy.timeout.timeout <= 0
            ):
                yield (
                    f"service {entity.service_name!r}: expected a passivation timeout of more than "
                    f"0 ms, found {entity.passivation_strategy.timeout.timeout}"
                )

    def _kind_faults(self, entity: DeployedEntity) -> Iterator[str]:
        kind = self.kinds.get(entity.entity_type)
        if kind is not None:
            yield from kind.faults(entity)
        for method in entity.methods.values():
            for reason in unusable_key_fields(method):
                yield (
                    f"{entity.service_name}.{method.name}: entity key field {reason}; "
                    "use a string, an integer, a bool or an enum"
                )


def _version_faults(spec: EntitySpec) -> Iterator[str]:
    info: ServiceInfo = spec.service_info
    found = (info.protocol_major_version, info.protocol_minor_version)
    if found != PROTOCOL_VERSION:
        yield (
            f"expected protocol version {PROTOCOL_VERSION[0]}.{PROTOCOL_VERSION[1]}, "
            f"found {found[0]}.{found[1]} from library {info.support_library_name!r} "
            f"{info.support_library_version!r}"
        )


def _clashes(entities: Sequence[Entity], others: Sequence[DeployedEntity]) -> Iterator[str]:
    services = {other.service_name: "another user function" for other in others}
    persistence = {other.persistence_id: other.service_name for other in others}
    for entity in entities:
        if entity.service_name in services:
            yield (
                f"service {entity.service_name!r} is announced already by "
                f"{services[entity.service_name]}"
            )
        services.setdefault(entity.service_name, "this user function")
        persistence_id = entity.persistence_id or entity.service_name
        holder = persistence.setdefault(persistence_id, entity.service_name)
        if holder != entity.service_name:
            yield (
                f"services {holder!r} and {entity.service_name!r} have the same persistence id "
                f"{persistence_id!r}; they would share their state"
            )


def _deployed(
    announced: Entity,
    pool: DescriptorPool,
    files: Mapping[str, FileDescriptorProto],
    messages: Mapping[str, DescriptorProto],
) -> DeployedEntity:
    try:
        service: ServiceDescriptor = pool.FindServiceByName(announced.service_name)
    except KeyError:
        raise InvalidSpec(
            f"service {announced.service_name!r} is defined in none of the announced files"
        ) from None
    file = str(service.file.name)
    if file not in files:
        raise InvalidSpec(f"service {announced.service_name!r} is the runtime's own")
    options = _method_options(files[file], str(service.name))
    timeout_ms = announced.passivation_strategy.timeout.timeout
    return DeployedEntity(
        entity_type=announced.entity_type,
        service_name=announced.service_name,
        persistence_id=announced.persistence_id or announced.service_name,
        passivation_timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
        methods={
            str(method.name): _method(method, options[str(method.name)], messages)
            for method in service.methods
        },
        file=file,
    )


def _method_options(file: FileDescriptorProto, service: str) -> dict[str, MethodOptions]:
    # Read from the file's own message: its class knows the options, a private pool's does not.
    found = next(candidate for candidate in file.service if candidate.name == service)
    return {method.name: method.options for method in found.method}


def _method(
    method: MethodDescriptor, options: MethodOptions, messages: Mapping[str, DescriptorProto]
) -> DeployedMethod:
    has_rule = options.HasExtension(annotations_pb2.http)
    return DeployedMethod(
        name=str(method.name),
        descriptor=method,
        input_class=GetMessageClass(method.input_type),
        output_class=GetMessageClass(method.output_type),
        input_type_url=MESSAGE_PREFIX + method.input_type.full_name,
        output_type_url=MESSAGE_PREFIX + method.output_type.full_name,
        key_fields=_key_fields(messages.get(str(method.input_type.full_name))),
        client_streaming=bool(method.client_streaming),
        server_streaming=bool(method.server_streaming),
        http=options.Extensions[annotations_pb2.http] if has_rule else None,
    )


def _key_fields(message: DescriptorProto | None) -> tuple[str, ...]:
    if message is None:
        return ()
    return tuple(field.name for field in message.field if _is_key(field.options))


def _is_key(options: FieldOptions) -> bool:
    # The generated stubs type an extension as a plain field descriptor.
    extensions: Mapping[object, bool] = options.Extensions  # type: ignore[assignment]
    return (
        extensions[entity_key_pb2.entity_key] or extensions[legacy_entity_key_pb2.legacy_entity_key]
    )
