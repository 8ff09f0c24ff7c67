"""Ways to make an announcement wrong in one point; see `hostile_specs` for what of."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MessageOptions,
)

from cloudstate.entity_pb2 import EntitySpec
from runtime_doubles.specs import (
    REPEATED,
    entity,
    enum,
    field,
    file,
    known,
    message,
    orders_file,
    orders_files,
    service,
    spec,
    spec_of,
)


def beside(*files: FileDescriptorProto) -> EntitySpec:
    """The good files, and these."""
    return spec(*orders_files(), *files)


def with_message(*messages: DescriptorProto, syntax: str = "proto3", **more) -> EntitySpec:
    return beside(file("bad.proto", "bad", *messages, syntax=syntax, **more))


def altered(name: str, change: Callable[[FileDescriptorProto], None]) -> EntitySpec:
    """The good files, and an altered copy of a file that everybody knows."""
    copy = FileDescriptorProto()
    copy.CopyFrom(*known(name))
    change(copy)
    files = [each for each in orders_files() if each.name != name]
    return spec(copy, *files)


def importing(name: str, *imports: str) -> FileDescriptorProto:
    return file(name, name.partition(".")[0], dependency=imports)


# --- Bytes ---------------------------------------------------------------------------


def garbage() -> EntitySpec:
    return spec_of(bytes(range(255, 0, -1)) * 10)


def truncated() -> EntitySpec:
    return spec_of(FileDescriptorSet(file=orders_files()).SerializeToString()[:-7])


def too_many_bytes() -> EntitySpec:
    return spec_of(b"\x00" * (4 * 1024 * 1024 + 1))


def text_that_is_none(*path: int) -> Callable[[], EntitySpec]:
    """A file in which the field at `path` holds bytes that are no UTF-8."""

    def build() -> EntitySpec:
        data = b"a\xff\xfe"
        for number in reversed(path):
            data = bytes([number << 3 | 2, len(data)]) + data
        named = b"\x0a\x09bad.proto" if path[:1] != (1,) else b""
        return spec_of(
            FileDescriptorSet(file=orders_files()).SerializeToString()
            + bytes([0x0A, len(named + data)])
            + named
            + data
        )

    return build


# --- Files and imports ---------------------------------------------------------------


def long_way_to_a_missing_file() -> EntitySpec:
    chain = [importing(f"f{i}.proto", f"f{i + 1}.proto") for i in range(900)]
    return beside(*chain)


def twice(same: bool) -> Callable[[], EntitySpec]:
    second = orders_file() if same else file("shop/orders.proto", "other")
    return lambda: beside(second)


def many_imports() -> EntitySpec:
    return beside(file("a.proto", "a", dependency=["cloudstate/entity_key.proto"] * 100_000))


# --- Names that others own -----------------------------------------------------------


def renumber_any(any_file: FileDescriptorProto) -> None:
    any_file.message_type[0].field[0].number = 3


def swap_any(any_file: FileDescriptorProto) -> None:
    any_file.message_type[0].field[0].name = "value"
    any_file.message_type[0].field[1].name = "type_url"


def repeat_selector(http_file: FileDescriptorProto) -> None:
    rule = next(each for each in http_file.message_type if each.name == "HttpRule")
    rule.field[0].label = REPEATED


def rename_http_field(http_file: FileDescriptorProto) -> None:
    rule = next(each for each in http_file.message_type if each.name == "HttpRule")
    next(each for each in rule.field if each.name == "get").name = "fetch"


def renumber_http_option(annotations: FileDescriptorProto) -> None:
    annotations.extension[0].number = 50_001


def renumber_entity_key(key_file: FileDescriptorProto) -> None:
    key_file.extension[0].number = 1081


def retype_entity_key(key_file: FileDescriptorProto) -> None:
    key_file.extension[0].type = FieldDescriptorProto.TYPE_STRING


def renumber_null_value(struct_file: FileDescriptorProto) -> None:
    struct_file.enum_type[0].value[0].number = 7


def move_package(any_file: FileDescriptorProto) -> None:
    any_file.package = "google.protobof"


# --- Messages ------------------------------------------------------------------------


def nested(levels: int) -> Callable[[], EntitySpec]:
    def build() -> EntitySpec:
        inner = DescriptorProto(name="M")
        for _ in range(levels - 1):
            outer = DescriptorProto(name="M")
            outer.nested_type.append(inner)
            inner = outer
        return with_message(inner)

    return build


def nested_in_bytes(levels: int) -> Callable[[], EntitySpec]:
    """Deeper than any library builds: each level is wrapped by hand."""

    def build() -> EntitySpec:
        data = b"\x0a\x01M"
        for _ in range(levels):
            data = b"\x0a\x01M\x1a" + _varint(len(data)) + data
        data = b"\x0a\x09bad.proto\x22" + _varint(len(data)) + data
        return spec_of(b"\x0a" + _varint(len(data)) + data)

    return build


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def many_messages() -> EntitySpec:
    return with_message(*[message(f"M{i}") for i in range(20_001)])


def many_fields() -> EntitySpec:
    return with_message(
        *[message(f"M{m}", *[field(f"f{i}", i + 1) for i in range(101)]) for m in range(1_000)]
    )


def many_values() -> EntitySpec:
    numbers = {f"V{i}": i for i in range(150_000)}
    return with_message(enum_type=[enum("E", **numbers)])


def map_entry(*members: FieldDescriptorProto, label: int = REPEATED, **more) -> EntitySpec:
    entry = message("MEntry", *members, options=MessageOptions(map_entry=True), **more)
    return with_message(
        message("M", field("m", 1, ".bad.M.MEntry", label=label), nested_type=[entry])
    )


def ranges(*spans: tuple[int, int], fields: tuple[int, ...] = ()) -> EntitySpec:
    extensible = [DescriptorProto.ExtensionRange(start=a, end=b) for a, b in spans]
    members = [field(f"f{number}", number) for number in fields]
    return with_message(message("M", *members, extension_range=extensible), syntax="proto2")


def reserved(**more) -> EntitySpec:
    return with_message(message("M", field("a", 5), **more))


def extension(number: int, extendee: str) -> EntitySpec:
    made = field("mine", number, extendee=extendee)
    imports = ["google/protobuf/descriptor.proto"]
    return with_message(message("M"), extension=[made], dependency=imports, syntax="proto2")


def aliased() -> EntitySpec:
    values = [EnumValueDescriptorProto(name=name, number=0) for name in ("ONE", "OTHER")]
    return with_message(enum_type=[EnumDescriptorProto(name="E", value=values)])


# --- Services ------------------------------------------------------------------------


def own_service(package: str, name: str) -> EntitySpec:
    made = file(
        "bad.proto",
        package,
        message("M", field("id", 1, key=True)),
        service=[service(name, {"Do": (f".{package}.M", f".{package}.M")})],
        dependency=["cloudstate/entity_key.proto"],
    )
    return spec(*orders_files(), made, entities=(entity(f"{package}.{name}"),))


def discovery_service() -> EntitySpec:
    files = known(
        "google/protobuf/any.proto",
        "google/protobuf/empty.proto",
        "google/protobuf/descriptor.proto",
        "cloudstate/entity.proto",
    )
    return spec(*files, entities=(entity("cloudstate.EntityDiscovery"),))


def methods(takes: str = ".bad.M", gives: str = ".bad.M", name: str = "Do") -> EntitySpec:
    return with_message(
        message("M"),
        service=[service("S", {name: (takes, gives)})],
        enum_type=[enum("E", ZERO=0)],
    )
