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
from cloudstate_core.entity_key import unusable_key_fields
from cloudstate_core.errors import InvalidSpec
from cloudstate_core.frontend import Deployment
from cloudstate_core.kind import EntityKind
from cloudstate_runtime.function.descriptors import build_pool, messages_of, parse_files
from cloudstate_runtime.function.known_files import KNOWN_FILES

__all__ = ["MAX_ENTITIES", "MAX_FAULTS", "PROTOCOL_VERSION", "Discovery", "FrontEndFaults"]

#: Version of the Cloudstate protocol that this runtime speaks: major, minor.
PROTOCOL_VERSION = (0, 2)

#: Far more services than any user function has.
MAX_ENTITIES = 1_000

#: Beyond that faults are counted and not named, so that nobody drowns in them.
MAX_FAULTS = 50

#: Packages of gRPC itself, whose services the front door answers.
_GRPC_PACKAGES = "grpc."

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
        try:
            entities, files, pool = self._checked(spec, others)
        except InvalidSpec as error:
            if len(error.faults) <= MAX_FAULTS:
                raise
            more = f"and {len(error.faults) - MAX_FAULTS} faults more"
            raise InvalidSpec(*error.faults[:MAX_FAULTS], more) from None
        return Deployment(name, entities, FileDescriptorSet(file=files), pool)

    def _checked(
        self, spec: EntitySpec, others: Sequence[DeployedEntity]
    ) -> tuple[tuple[DeployedEntity, ...], Iterable[FileDescriptorProto], DescriptorPool]:
        # What speaks another protocol means something else by all that follows.
        _raise_if(_version_faults(spec))
        faults = [*self._entity_faults(spec.entities), *_clashes(spec.entities, others)]
        try:
            files = parse_files(spec.proto, max_bytes=self.max_spec_bytes)
            pool = build_pool(files)
        except InvalidSpec as error:
            raise InvalidSpec(*faults, *error.faults) from error.__cause__
        reader = _Reader(pool, files)
        entities = []
        for announced in {entity.service_name: entity for entity in spec.entities}.values():
            try:
                entities.append(reader.entity(announced))
            except InvalidSpec as error:
                faults += error.faults
        for entity in entities:
            faults += self._kind_faults(entity)
        if not faults:
            faults += self.front_end_faults(entities)
        _raise_if(faults)
        return tuple(entities), files.values(), pool

    def _entity_faults(self, entities: Sequence[Entity]) -> Iterator[str]:
        if not entities:
            yield "expected at least one entity, found none"
        if len(entities) > MAX_ENTITIES:
            raise InvalidSpec(f"expected at most {MAX_ENTITIES} entities, found {len(entities)}")
        supported = ", ".join(sorted(self.kinds)) or "none"
        for entity in entities:
            if self._is_own(entity.service_name):
                yield f"service {entity.service_name!r} is the runtime's own; use another package"
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

    def _is_own(self, service_name: str) -> bool:
        # A kind's entity type is the name of the protocol service that carries it.
        return service_name in self.kinds or service_name.startswith(_GRPC_PACKAGES)

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


class _Reader:
    """Finds what a user function announced in its descriptors."""

    def __init__(self, pool: DescriptorPool, files: Mapping[str, FileDescriptorProto]) -> None:
        self._pool = pool
        self._files = files
        self._messages = messages_of(files.values())
        # Many methods may take the same message.
        self._key_fields: dict[str, tuple[str, ...]] = {}

    def entity(self, announced: Entity) -> DeployedEntity:
        """Return what an announced entity deploys.

        Raises:
            InvalidSpec: Its service is not in the descriptors, or is none of the user function's.
        """
        service = self._service(announced.service_name)
        file = str(service.file.name)
        options = _method_options(self._files[file], str(service.name))
        timeout_ms = announced.passivation_strategy.timeout.timeout
        return DeployedEntity(
            entity_type=announced.entity_type,
            service_name=announced.service_name,
            persistence_id=announced.persistence_id or announced.service_name,
            passivation_timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
            methods={
                str(method.name): self._method(method, options[str(method.name)])
                for method in service.methods
            },
            file=file,
        )

    def _service(self, name: str) -> ServiceDescriptor:
        try:
            service: ServiceDescriptor = self._pool.FindServiceByName(name)
        except KeyError:
            raise InvalidSpec(
                f"service {name!r} is defined in none of the announced files"
            ) from None
        if str(service.file.name) in KNOWN_FILES:
            raise InvalidSpec(f"service {name!r} is the runtime's own; use another package")
        return service

    def _method(self, method: MethodDescriptor, options: MethodOptions) -> DeployedMethod:
        has_rule = options.HasExtension(annotations_pb2.http)
        return DeployedMethod(
            name=str(method.name),
            descriptor=method,
            input_class=GetMessageClass(method.input_type),
            output_class=GetMessageClass(method.output_type),
            input_type_url=MESSAGE_PREFIX + method.input_type.full_name,
            output_type_url=MESSAGE_PREFIX + method.output_type.full_name,
            key_fields=self._key_fields_of(str(method.input_type.full_name)),
            client_streaming=bool(method.client_streaming),
            server_streaming=bool(method.server_streaming),
            http=options.Extensions[annotations_pb2.http] if has_rule else None,
        )

    def _key_fields_of(self, type_name: str) -> tuple[str, ...]:
        found = self._key_fields.get(type_name)
        if found is None:
            message = self._messages.get(type_name, DescriptorProto())
            found = tuple(field.name for field in message.field if _is_key(field.options))
            self._key_fields[type_name] = found
        return found


def _method_options(file: FileDescriptorProto, service: str) -> dict[str, MethodOptions]:
    # Read from the file's own message: its class knows the options, a private pool's does not.
    found = next(candidate for candidate in file.service if candidate.name == service)
    return {method.name: method.options for method in found.method}


def _is_key(options: FieldOptions) -> bool:
    # The generated stubs type an extension as a plain field descriptor.
    extensions: Mapping[object, bool] = options.Extensions  # type: ignore[assignment]
    return (
        extensions[entity_key_pb2.entity_key] or extensions[legacy_entity_key_pb2.legacy_entity_key]
    )


def _raise_if(faults: Iterable[str]) -> None:
    found = tuple(faults)
    if found:
        raise InvalidSpec(*found)
