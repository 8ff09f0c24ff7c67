"""What libraries of other languages and other years announce is accepted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from runtime_doubles.specs import (
    ORDERS_IMPORTS,
    field,
    file,
    known,
    message,
    orders_file,
    orders_files,
    spec,
)

from cloudstate.entity_pb2 import EntitySpec
from cloudstate_runtime.function.discovery import Discovery


def changed(name: str, change: Callable[[FileDescriptorProto], object]) -> FileDescriptorProto:
    copy = FileDescriptorProto()
    copy.CopyFrom(*known(name))
    change(copy)
    return copy


def with_file(*files: FileDescriptorProto) -> EntitySpec:
    names = {each.name for each in files}
    return spec(*files, *[each for each in orders_files() if each.name not in names])


def key_fields(discovery: Discovery, announced: EntitySpec) -> tuple[str, ...]:
    (entity,) = discovery.deploy("foreign", announced).entities
    return entity.methods["Place"].key_fields


def drop_newer_fields(descriptor: FileDescriptorProto) -> None:
    """What `descriptor.proto` did not know some years ago."""
    newer = {"edition", "features", "edition_defaults", "feature_support", "retention", "targets"}
    for each in descriptor.message_type:
        kept = [f for f in each.field if f.name not in newer]
        del each.field[:]
        each.field.extend(kept)
    del descriptor.enum_type[:]


def give_editions_their_first_form(descriptor: FileDescriptorProto) -> None:
    """Editions were texts before they became an enum, and features had other names."""
    by_name = {each.name: each for each in descriptor.message_type}
    edition = next(f for f in by_name["FileDescriptorProto"].field if f.name == "edition")
    edition.number, edition.type = 13, FieldDescriptorProto.TYPE_STRING
    edition.ClearField("type_name")
    feature = next(f for f in by_name["FeatureSet"].field if f.number == 4)
    feature.name = "string_field_validation"


def add_what_comes_next(descriptor: FileDescriptorProto) -> None:
    descriptor.message_type.append(message("NotInventedYet", field("a", 1)))
    descriptor.message_type[0].field.append(field("not_invented_yet", 99))
    descriptor.enum_type[0].value.add(name="EDITION_3000", number=3000)


def add_java_options(any_file: FileDescriptorProto) -> None:
    any_file.options.java_package = "com.google.protobuf"
    any_file.options.java_multiple_files = True
    any_file.options.go_package = "google.golang.org/protobuf/types/known/anypb"


def renumber_as_before(key_file: FileDescriptorProto) -> None:
    key_file.extension[0].number = 50_002
    key_file.options.java_package = "io.cloudstate"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("google/protobuf/descriptor.proto", drop_newer_fields),
        ("google/protobuf/descriptor.proto", give_editions_their_first_form),
        ("google/protobuf/descriptor.proto", add_what_comes_next),
        ("google/protobuf/any.proto", add_java_options),
        ("google/api/http.proto", lambda f: f.message_type[1].field.pop()),
        ("cloudstate/entity.proto", lambda f: f.message_type.pop()),
        ("cloudstate/entity_key.proto", renumber_as_before),
    ],
    ids=["older", "first editions", "newer", "java", "older http", "older entity", "older key"],
)
def test_another_release_of_a_known_file_is_accepted(
    name: str, change: Callable[[FileDescriptorProto], object], discovery: Discovery
) -> None:
    assert key_fields(discovery, with_file(changed(name, change))) == ("id",)


def test_what_only_their_release_of_a_known_file_defines_is_not_used(discovery: Discovery) -> None:
    newer = changed("google/protobuf/descriptor.proto", add_what_comes_next)

    deployment = discovery.deploy("foreign", with_file(newer))

    with pytest.raises(KeyError):
        deployment.pool.FindMessageTypeByName("google.protobuf.NotInventedYet")


def test_the_key_option_of_the_older_number_marks_a_key(discovery: Discovery) -> None:
    made = orders_file()
    options = made.message_type[0].field[0].options
    options.Clear()
    options.MergeFromString(b"\x90\xb5\x18\x01")  # field 50002, true
    old = changed("cloudstate/entity_key.proto", renumber_as_before)

    announced = spec(old, *known("google/protobuf/descriptor.proto"), made)

    assert key_fields(discovery, announced) == ("id",)


def test_files_may_stand_in_any_order(discovery: Discovery) -> None:
    chain = [
        file("a.proto", "a", message("A")),
        file("b.proto", "b", message("B", field("a", 1, ".a.A")), dependency=["a.proto"]),
    ]
    made = orders_file()
    made.dependency.append("b.proto")

    for order in permutations([*known(*ORDERS_IMPORTS), *chain, made]):
        assert key_fields(discovery, spec(*order)) == ("id",)


def test_known_files_need_not_be_announced(discovery: Discovery) -> None:
    made = orders_file()
    made.dependency.extend(["google/api/annotations.proto", "google/protobuf/empty.proto"])

    assert key_fields(discovery, spec(made)) == ("id",)


def test_options_that_others_publish_beside_the_known_ones_are_accepted(
    discovery: Discovery,
) -> None:
    behaviour = file(
        "google/api/field_behavior.proto",
        "google.api",
        dependency=["google/protobuf/descriptor.proto"],
        extension=[
            field("field_behavior", 1052, "int32", extendee=".google.protobuf.FieldOptions")
        ],
    )

    assert key_fields(discovery, with_file(behaviour)) == ("id",)


def test_an_option_that_nobody_knows_is_passed_over(discovery: Discovery) -> None:
    made = orders_file()
    made.message_type[0].field[1].options.MergeFromString(b"\xf2\xf5\x18\x03abc")

    assert key_fields(discovery, spec(made)) == ("id",)


@pytest.mark.parametrize("syntax", [None, "proto2", "proto3"])
def test_every_syntax_is_accepted(syntax: str | None, discovery: Discovery) -> None:
    made = orders_file()
    made.ClearField("syntax")
    if syntax is not None:
        made.syntax = syntax

    assert key_fields(discovery, spec(made)) == ("id",)


def test_an_edition_is_accepted(discovery: Discovery) -> None:
    made = orders_file()
    made.syntax, made.edition = "editions", 1000

    assert key_fields(discovery, spec(made)) == ("id",)
