"""Announcements that no honest user function makes, each with what must be said about it.

A row is a name, a function that builds the announcement, and words that its fault contains. Each
builder starts from what is right, so that there is one thing wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.descriptor_pb2 import DescriptorProto, MessageOptions, OneofDescriptorProto

from cloudstate.entity_pb2 import EntitySpec
from runtime_doubles.hostile_builders import (
    aliased,
    altered,
    beside,
    discovery_service,
    extension,
    garbage,
    importing,
    long_way_to_a_missing_file,
    many_fields,
    many_imports,
    many_messages,
    many_values,
    map_entry,
    methods,
    move_package,
    nested,
    nested_in_bytes,
    own_service,
    ranges,
    rename_http_field,
    renumber_any,
    renumber_entity_key,
    renumber_http_option,
    renumber_null_value,
    repeat_selector,
    reserved,
    retype_entity_key,
    swap_any,
    text_that_is_none,
    too_many_bytes,
    truncated,
    twice,
    with_message,
)
from runtime_doubles.specs import (
    OPTIONAL,
    REQUIRED,
    enum,
    field,
    file,
    message,
    spec,
    spec_of,
)

Row = tuple[Callable[[], EntitySpec], str]

HOSTILE: dict[str, Row] = {
    # bytes
    "garbage": (garbage, "found other bytes"),
    "truncated": (truncated, "found other bytes"),
    "too many bytes": (too_many_bytes, "at most 4194304 bytes"),
    "empty": (lambda: spec_of(b""), "'shop.Orders' is defined in none"),
    "file name is no text": (text_that_is_none(1), "number 4 of 4: expected UTF-8"),
    "package is no text": (text_that_is_none(2), "'bad.proto', number 4 of 4: expected UTF-8"),
    "import is no text": (text_that_is_none(3), "expected UTF-8"),
    "message name is no text": (text_that_is_none(4, 1), "expected UTF-8"),
    "field name is no text": (text_that_is_none(4, 2, 1), "expected UTF-8"),
    "json name is no text": (text_that_is_none(4, 2, 10), "expected UTF-8"),
    "nested 10,000 deep": (nested_in_bytes(10_000), "found other bytes"),
    # files
    "10,000 files": (
        lambda: spec(*[file(f"f{i}.proto", f"f{i}") for i in range(10_000)]),
        "at most 1000 files, found 10000",
    ),
    "same file twice": (twice(same=True), "'shop/orders.proto' is announced twice"),
    "two files of one name": (twice(same=False), "'shop/orders.proto' is announced twice"),
    "file without a name": (lambda: beside(file("", "bad")), "file '': expected a relative path"),
    "path upwards": (lambda: beside(file("../../etc/passwd", "bad")), "expected a relative path"),
    "absolute path": (lambda: beside(file("/etc/passwd", "bad")), "expected a relative path"),
    "backslashes": (lambda: beside(file("..\\bad.proto", "bad")), "expected a relative path"),
    "NUL in a path": (lambda: beside(file("a\0.proto", "bad")), "expected a relative path"),
    "line break in a path": (lambda: beside(file("a\n.proto", "bad")), "expected a relative path"),
    # how files import each other
    "imports itself": (
        lambda: beside(importing("a.proto", "a.proto")),
        "in a circle: a.proto -> a.proto",
    ),
    "circle of imports": (
        lambda: beside(
            importing("a.proto", "b.proto"),
            importing("b.proto", "c.proto"),
            importing("c.proto", "a.proto"),
        ),
        "in a circle: a.proto -> b.proto -> c.proto -> a.proto",
    ),
    "missing import": (
        lambda: beside(importing("a.proto", "b.proto"), importing("b.proto", "lost.proto")),
        "'lost.proto' is imported but missing: a.proto -> b.proto -> lost.proto",
    ),
    "long way to a missing import": (long_way_to_a_missing_file, "'f900.proto' is imported but"),
    "100,000 imports": (many_imports, "at most 20000 imports, found 100002"),
    "public import out of range": (
        lambda: beside(file("a.proto", "bad", public_dependency=[7])),
        "public_dep 7",
    ),
    "weak import out of range": (
        lambda: beside(file("a.proto", "bad", weak_dependency=[-7])),
        "weak_dep -7",
    ),
    # names that others own
    "shadows Any": (
        lambda: beside(file("bad.proto", "google.protobuf", message("Any"))),
        "package 'google.protobuf', which is Cloudstate's or protobuf's own",
    ),
    "shadows Any by nesting": (
        lambda: beside(
            file("a.proto", "google", message("protobuf", nested_type=[message("Any")]))
        ),
        "google.protobuf is the name of a package",
    ),
    "shadows Metadata": (
        lambda: beside(file("bad.proto", "cloudstate", message("Metadata"))),
        "package 'cloudstate', which is",
    ),
    "shadows HttpRule in its folder": (
        lambda: beside(file("google/api/more.proto", "google.api", message("HttpRule"))),
        "duplicate symbol 'google.api.HttpRule'",
    ),
    "shadows HttpRule elsewhere": (
        lambda: beside(file("more.proto", "google.api", message("Another"))),
        "package 'google.api', which is",
    ),
    "message called like a package": (
        lambda: beside(file("a.proto", "", message("cloudstate"))),
        "cloudstate is the name of a package",
    ),
    "Any renumbered": (
        lambda: altered("google/protobuf/any.proto", renumber_any),
        "Any.type_url is not the field",
    ),
    "Any swapped": (lambda: altered("google/protobuf/any.proto", swap_any), "is not the field"),
    "Any of another package": (
        lambda: altered("google/protobuf/any.proto", move_package),
        "expected package 'google.protobuf', found 'google.protobof'",
    ),
    "NullValue renumbered": (
        lambda: altered("google/protobuf/struct.proto", renumber_null_value),
        "NullValue.NULL_VALUE is not the value",
    ),
    "HttpRule with another label": (
        lambda: altered("google/api/http.proto", repeat_selector),
        "HttpRule.selector is not the field",
    ),
    "HttpRule with another name": (
        lambda: altered("google/api/http.proto", rename_http_field),
        "HttpRule.fetch is not the field",
    ),
    "http option renumbered": (
        lambda: altered("google/api/annotations.proto", renumber_http_option),
        "http is not the extension",
    ),
    "entity key renumbered": (
        lambda: altered("cloudstate/entity_key.proto", renumber_entity_key),
        "entity_key is not the extension",
    ),
    "entity key retyped": (
        lambda: altered("cloudstate/entity_key.proto", retype_entity_key),
        "entity_key is not the extension",
    ),
    "second option of the entity key's number": (
        lambda: extension(1080, ".google.protobuf.FieldOptions"),
        "duplicate extension",
    ),
    # messages
    "nested 33 deep": (nested(33), "nested deeper than 32 levels"),
    "20,001 messages": (many_messages, "at most 20000 messages"),
    "101,000 fields": (many_fields, "at most 100000 fields"),
    "150,000 values": (many_values, "at most 100000 fields"),
    "message without a name": (lambda: with_message(message("")), "invalid name"),
    "dotted message name": (lambda: with_message(message("M.N")), "invalid name"),
    "markup as a name": (lambda: with_message(message("<b>")), "invalid name"),
    "package of dots": (lambda: beside(file("a.proto", "a..b", message("M"))), "invalid name"),
    "one message twice": (lambda: with_message(message("M"), message("M")), "duplicate symbol"),
    "one message in two files": (
        lambda: beside(file("a.proto", "a", message("M")), file("b.proto", "a", message("M"))),
        "file 'b.proto' is invalid: duplicate symbol 'a.M'",
    ),
    # fields
    "field without a name": (lambda: with_message(message("M", field("", 1))), "invalid name"),
    "field name with a dash": (lambda: with_message(message("M", field("a-b", 1))), "invalid name"),
    "field 0": (lambda: with_message(message("M", field("a", 0))), "invalid field number"),
    "field -1": (lambda: with_message(message("M", field("a", -1))), "invalid field number"),
    "field 2^29": (lambda: with_message(message("M", field("a", 2**29))), "invalid field number"),
    "field of protobuf's numbers": (
        lambda: with_message(message("M", field("a", 19_123))),
        "number 19123, which is protobuf's own",
    ),
    "two fields of one number": (
        lambda: with_message(message("M", field("a", 1), field("b", 1))),
        "duplicate field number",
    ),
    "field that hides a method": (
        lambda: with_message(message("M", field("ListFields", 1))),
        "bad.M.ListFields has a name that every message needs",
    ),
    "field that hides the descriptor": (
        lambda: with_message(message("M", field("DESCRIPTOR", 1))),
        "a name that every message needs",
    ),
    "unknown type": (lambda: with_message(message("M", field("a", 1, ".lost.X"))), "'.lost.X'"),
    "message where an enum should be": (
        lambda: with_message(message("M", field("a", 1, "enum .bad.M"))),
        "type mismatch",
    ),
    "json names collide": (
        lambda: with_message(message("M", field("foo_bar", 1), field("fooBar", 2))),
        "duplicate json_name",
    ),
    "given json names collide": (
        lambda: with_message(
            message("M", field("a", 1, json_name="x"), field("b", 2, json_name="x"))
        ),
        "duplicate json_name",
    ),
    "required in proto3": (
        lambda: with_message(message("M", field("a", 1, label=REQUIRED))),
        "cannot be required",
    ),
    "default in proto3": (
        lambda: with_message(message("M", field("a", 1, default_value="x"))),
        "explicit defaults",
    ),
    "default of another type": (
        lambda: with_message(
            message("M", field("a", 1, "int32", default_value="x")), syntax="proto2"
        ),
        "Invalid default",
    ),
    "member of no oneof": (
        lambda: with_message(message("M", field("a", 1, oneof_index=3))),
        "oneof_index out of range",
    ),
    "oneof without members": (
        lambda: with_message(message("M", oneof_decl=[OneofDescriptorProto(name="o")])),
        "Empty oneof",
    ),
    # maps
    "map without a key": (lambda: map_entry(field("value", 2)), "bad.M.m is no map"),
    "map with more than key and value": (
        lambda: map_entry(field("key", 1), field("value", 2), field("more", 3)),
        "bad.M.m is no map",
    ),
    "map with other names": (lambda: map_entry(field("k", 1), field("v", 2)), "bad.M.m is no map"),
    "map with swapped numbers": (
        lambda: map_entry(field("value", 1), field("key", 2)),
        "bad.M.m is no map",
    ),
    "map from doubles": (
        lambda: map_entry(field("key", 1, "double"), field("value", 2)),
        "bad.M.m is no map",
    ),
    "map that is not repeated": (
        lambda: map_entry(field("key", 1), field("value", 2), label=OPTIONAL),
        "bad.M.m is no map",
    ),
    "entry of no map": (
        lambda: with_message(
            message(
                "M",
                field("key", 1),
                field("value", 2),
                options=MessageOptions(map_entry=True),
            )
        ),
        "bad.M says that it is the entry of a map",
    ),
    # ranges
    "extension ranges overlap": (lambda: ranges((1, 10), (5, 20)), "contain 5"),
    "extension range that ends first": (lambda: ranges((10, 5)), "(10, 5)"),
    "field in an extension range": (
        lambda: ranges((4, 10), fields=(5,)),
        "number 5, which is reserved for extensions",
    ),
    "field of a reserved number": (
        lambda: reserved(reserved_range=[DescriptorProto.ReservedRange(start=1, end=6)]),
        "number 5, which is reserved for nothing",
    ),
    "field of a reserved name": (
        lambda: reserved(reserved_name=["a"]),
        "a name that is reserved for nothing",
    ),
    "extends what has no range": (lambda: extension(5, ".bad.M"), "no extension range"),
    "extends nothing": (lambda: extension(5, ".lost.M"), "couldn't resolve name '.lost.M'"),
    # enums
    "enum without values": (lambda: with_message(enum_type=[enum("E")]), "at least one value"),
    "enum that begins with 1": (
        lambda: with_message(enum_type=[enum("E", ONE=1)]),
        "first value must be zero",
    ),
    "two values of one number": (aliased, "ONE and OTHER have the number 0; set allow_alias"),
    # syntax
    "unknown syntax": (lambda: with_message(message("M"), syntax="proto9"), "Invalid syntax"),
    "edition without a number": (
        lambda: with_message(message("M"), syntax="editions"),
        "no edition is specified",
    ),
    "edition of the future": (
        lambda: with_message(message("M"), syntax="editions", edition=99_999),
        "later than the maximum edition",
    ),
    # services
    "method that takes nothing known": (lambda: methods(takes=".bad.X"), "'.bad.X'"),
    "method that gives an enum": (lambda: methods(gives=".bad.E"), "type mismatch"),
    "method without a name": (lambda: methods(name=""), "invalid name"),
    "method name with a slash": (lambda: methods(name="a/b"), "invalid name"),
    "gRPC's health service": (
        lambda: own_service("grpc.health.v1", "Health"),
        "'grpc.health.v1.Health' is the runtime's own",
    ),
    "the kind's own protocol service": (
        lambda: own_service("test.toy", "Toy"),
        "'test.toy.Toy' is the runtime's own",
    ),
    "Cloudstate's discovery": (
        discovery_service,
        "'cloudstate.EntityDiscovery' is the runtime's own",
    ),
    "service of Cloudstate's package": (
        lambda: own_service("cloudstate", "Mine"),
        "package 'cloudstate', which is",
    ),
}
