"""What user functions announce, built piece by piece."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from cloudstate import entity_key_pb2
from cloudstate.entity_pb2 import Entity, EntitySpec, ServiceInfo
from cloudstate_runtime.function.known_files import KNOWN_FILES

TOY = "test.toy.Toy"

OPTIONAL = FieldDescriptorProto.LABEL_OPTIONAL
REPEATED = FieldDescriptorProto.LABEL_REPEATED
REQUIRED = FieldDescriptorProto.LABEL_REQUIRED


def field(
    name: str,
    number: int,
    kind: str = "string",
    *,
    label: int = OPTIONAL,
    key: bool = False,
    **more,
) -> FieldDescriptorProto:
    """A field; `kind` is a scalar such as "int32", or the full name of a type with its dot."""
    made = FieldDescriptorProto(name=name, number=number, label=label, **more)
    if kind.startswith("enum "):
        made.type, made.type_name = made.TYPE_ENUM, kind.removeprefix("enum ")
    elif kind.startswith("."):
        made.type, made.type_name = made.TYPE_MESSAGE, kind
    else:
        made.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    if key:
        made.options.Extensions[entity_key_pb2.entity_key] = True
    return made


def message(name: str, *fields: FieldDescriptorProto, **more) -> DescriptorProto:
    return DescriptorProto(name=name, field=fields, **more)


def enum(name: str, **numbers: int) -> EnumDescriptorProto:
    values = [EnumValueDescriptorProto(name=n, number=number) for n, number in numbers.items()]
    return EnumDescriptorProto(name=name, value=values)


def service(name: str, methods: Mapping[str, tuple[str, str]]) -> ServiceDescriptorProto:
    """A service; each method has the full names, with their dots, of what it takes and gives."""
    return ServiceDescriptorProto(
        name=name,
        method=[
            MethodDescriptorProto(name=method, input_type=takes, output_type=gives)
            for method, (takes, gives) in methods.items()
        ],
    )


def file(
    name: str, package: str, *messages: DescriptorProto, syntax: str = "proto3", **more
) -> FileDescriptorProto:
    return FileDescriptorProto(
        name=name, package=package, message_type=messages, syntax=syntax, **more
    )


def known(*names: str) -> list[FileDescriptorProto]:
    """The runtime's own copies of some files."""
    return [KNOWN_FILES[name] for name in names]


def orders_file(name: str = "shop/orders.proto", package: str = "shop") -> FileDescriptorProto:
    """A file with which nothing is wrong: service `shop.Orders`."""
    return file(
        name,
        package,
        message("Order", field("id", 1, key=True), field("amount", 2, "int32")),
        service=[service("Orders", {"Place": (f".{package}.Order", f".{package}.Order")})],
        dependency=["cloudstate/entity_key.proto"],
    )


ORDERS_IMPORTS = ("google/protobuf/descriptor.proto", "cloudstate/entity_key.proto")


def orders_files() -> list[FileDescriptorProto]:
    return [*known(*ORDERS_IMPORTS), orders_file()]


def entity(
    service_name: str = "shop.Orders", entity_type: str = TOY, persistence_id: str = "", **more
) -> Entity:
    return Entity(
        entity_type=entity_type, service_name=service_name, persistence_id=persistence_id, **more
    )


def service_info(**more) -> ServiceInfo:
    return ServiceInfo(protocol_major_version=0, protocol_minor_version=2, **more)


def spec_of(data: bytes, *entities: Entity) -> EntitySpec:
    return EntitySpec(proto=data, entities=entities or (entity(),), service_info=service_info())


def spec(*files: FileDescriptorProto, entities: tuple[Entity, ...] = ()) -> EntitySpec:
    """What is announced of these files; of a service `shop.Orders` unless others are named."""
    return spec_of(FileDescriptorSet(file=files).SerializeToString(), *entities)


def orders_spec(package: str = "shop") -> EntitySpec:
    """An announcement with which nothing is wrong."""
    file = orders_file(f"{package}/orders.proto", package)
    return spec(*known(*ORDERS_IMPORTS), file, entities=(entity(f"{package}.Orders"),))
