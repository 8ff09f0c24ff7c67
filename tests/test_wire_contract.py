"""The protocol on the wire is the one that all Cloudstate implementations speak.

`wire_contract.json` is that protocol as data: a field is its number, type, message or enum
type, label and oneof; an rpc its input, output, and whether either one streams; an
extension its number, type and the options it extends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api.annotations_pb2 import http
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from cloudstate import (
    action_pb2,
    crdt_pb2,
    entity_key_pb2,
    entity_pb2,
    event_sourced_pb2,
    eventing_pb2,
    legacy_entity_key_pb2,
    value_entity_pb2,
)
from cloudstate_tck.model import action_pb2 as tck_action_pb2
from cloudstate_tck.model import crdt_pb2 as tck_crdt_pb2
from cloudstate_tck.model import eventlogeventing_pb2 as tck_eventlogeventing_pb2
from cloudstate_tck.model import eventsourced_pb2 as tck_eventsourced_pb2
from cloudstate_tck.model import valueentity_pb2 as tck_valueentity_pb2

CONTRACT = json.loads((Path(__file__).parent / "wire_contract.json").read_text())
ROOT = Path(__file__).resolve().parent.parent

MODULES = (
    action_pb2,
    crdt_pb2,
    entity_key_pb2,
    entity_pb2,
    event_sourced_pb2,
    eventing_pb2,
    legacy_entity_key_pb2,
    value_entity_pb2,
    tck_action_pb2,
    tck_crdt_pb2,
    tck_eventlogeventing_pb2,
    tck_eventsourced_pb2,
    tck_valueentity_pb2,
)


def generated_file(module) -> FileDescriptorProto:
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


FILES = [generated_file(module) for module in MODULES]


def described(file: FileDescriptorProto) -> dict[str, object]:
    """The file in the form that `wire_contract.json` has."""
    found: dict[str, object] = {f"file {file.name}": {"package": file.package}}
    for extension in file.extension:
        found[f"extension {file.package}.{extension.name}"] = [
            extension.number,
            type_name(extension),
            extension.extendee.removeprefix("."),
        ]
    for enum in file.enum_type:
        found[f"enum {file.package}.{enum.name}"] = values(enum)
    for service in file.service:
        found[f"service {file.package}.{service.name}"] = rpcs(service)
    for message in file.message_type:
        found.update(messages(file.package, message))
    return found


def messages(scope: str, message: DescriptorProto) -> Iterator[tuple[str, object]]:
    name = f"{scope}.{message.name}"
    oneofs = [oneof.name for oneof in message.oneof_decl]
    yield (
        f"message {name}",
        {
            field.name: [
                field.number,
                type_name(field),
                field.type_name.removeprefix("."),
                FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower(),
                oneofs[field.oneof_index] if field.HasField("oneof_index") else "",
            ]
            for field in message.field
        },
    )
    for enum in message.enum_type:
        yield f"enum {name}.{enum.name}", values(enum)
    for nested in message.nested_type:
        yield from messages(name, nested)


def type_name(field: FieldDescriptorProto) -> str:
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def values(enum: EnumDescriptorProto) -> dict[str, int]:
    return {value.name: value.number for value in enum.value}


def rpcs(service: ServiceDescriptorProto) -> dict[str, object]:
    return {
        rpc.name: [
            rpc.input_type.removeprefix("."),
            rpc.output_type.removeprefix("."),
            rpc.client_streaming,
            rpc.server_streaming,
        ]
        for rpc in service.method
    }


def all_described() -> dict[str, object]:
    return {name: entry for file in FILES for name, entry in described(file).items()}


@pytest.mark.parametrize("name", CONTRACT)
def test_what_the_contract_has_is_generated_as_it_says(name: str) -> None:
    assert all_described().get(name) == CONTRACT[name]


def test_nothing_is_generated_that_the_contract_does_not_have() -> None:
    assert sorted(all_described().keys() - CONTRACT.keys()) == []


def test_every_proto_of_ours_is_compared() -> None:
    protos = {str(path.relative_to(ROOT / "protos")) for path in ROOT.glob("protos/**/*.proto")}

    assert {file.name for file in FILES} == protos


def test_a_moved_module_keeps_the_name_that_its_file_has_on_the_wire() -> None:
    name = tck_eventsourced_pb2.DESCRIPTOR.name

    assert name == "cloudstate/tck/model/eventsourced.proto"
    assert descriptor_pool.Default().FindFileByName(name) is tck_eventsourced_pb2.DESCRIPTOR
    assert tck_eventsourced_pb2.Request.__module__ == "cloudstate_tck.model.eventsourced_pb2"


CHANGES = {
    "a field's number": lambda file: setattr(file.message_type[0].field[0], "number", 99),
    "a field's type": lambda file: setattr(
        file.message_type[0].field[0], "type", FieldDescriptorProto.TYPE_SFIXED64
    ),
    "a field's label": lambda file: setattr(
        file.message_type[0].field[0], "label", FieldDescriptorProto.LABEL_REQUIRED
    ),
    "a field's oneof": lambda file: file.message_type[0].field[0].ClearField("oneof_index"),
    "a field more": lambda file: file.message_type[0].field.add(name="new", number=99, type=8),
    "a field less": lambda file: file.message_type[0].field.pop(),
    "an enum's value": lambda file: setattr(file.enum_type[0].value[0], "number", 99),
    "an rpc's shape": lambda file: setattr(file.service[0].method[0], "server_streaming", False),
    "an rpc's name": lambda file: setattr(file.service[0].method[0], "name", "Handle"),
    "the package": lambda file: setattr(file, "package", "cloudstate"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_comparison_sees(change) -> None:
    file = generated_file(crdt_pb2)
    assert file.message_type[0].field[0].HasField("oneof_index")
    assert described(file).items() <= CONTRACT.items()

    change(file)

    assert not described(file).items() <= CONTRACT.items()


HTTP_PATHS = {
    "cloudstate.tck.model.EventSourcedTckModel.Process": "/tck/model/eventsourced/{id}",
    "cloudstate.tck.model.valueentity.ValueEntityTckModel.Process": "/tck/model/entity/{id}",
    "cloudstate.tck.model.action.ActionTckModel.ProcessUnary": "/tck/model/action/unary",
    "cloudstate.tck.model.crdt.CrdtTckModel.Process": "/tck/model/crdt/{id}",
}
ENTITY_KEYS = {
    "cloudstate.tck.model.Request.id",
    "cloudstate.tck.model.crdt.Request.id",
    "cloudstate.tck.model.crdt.StreamedRequest.id",
    "cloudstate.tck.model.eventlogeventing.EmitEventRequest.id",
    "cloudstate.tck.model.eventlogeventing.JsonEvent.id",
    "cloudstate.tck.model.valueentity.Request.id",
}
EVENT_LOGS = {
    "ProcessEventOne": "eventlogeventing-one",
    "ProcessEventTwo": "eventlogeventing-one",
    "ProcessAnyEvent": "eventlogeventing-two",
}


def methods() -> Iterator[MethodDescriptor]:
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def test_the_model_services_have_the_http_paths_that_other_suites_call() -> None:
    rules = {
        method.full_name: method.GetOptions().Extensions[http]
        for method in methods()
        if method.GetOptions().HasExtension(http)
    }

    assert {name: rule.post for name, rule in rules.items()} == HTTP_PATHS
    assert {rule.body for rule in rules.values()} == {"*"}


def test_the_model_requests_mark_their_entity_key() -> None:
    marked = {
        field.full_name
        for module in MODULES
        for message in module.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.GetOptions().Extensions[entity_key_pb2.entity_key]
    }

    assert marked == ENTITY_KEYS


def test_the_model_subscriber_names_the_event_logs_it_consumes() -> None:
    logs = {
        method.name: getattr(method.GetOptions().Extensions[eventing_pb2.eventing], "in").event_log
        for method in methods()
        if method.GetOptions().HasExtension(eventing_pb2.eventing)
    }

    assert logs == EVENT_LOGS
