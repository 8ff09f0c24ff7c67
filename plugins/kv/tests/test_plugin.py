from __future__ import annotations

from dataclasses import replace

import pytest
from pinboard.pinboard_pb2 import _PINBOARD, Text, Texts

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_kv.plugin import ValueKind, cloudstate_register_kinds

PIN = DeployedMethod(
    name="Pin",
    descriptor=_PINBOARD.methods_by_name["Pin"],
    input_class=Texts,
    output_class=Text,
    input_type_url="type.googleapis.com/pinboard.Texts",
    output_type_url="type.googleapis.com/pinboard.Text",
    key_fields=("id",),
)


def deployed(method: DeployedMethod) -> DeployedEntity:
    return DeployedEntity(
        entity_type=ValueKind.entity_type,
        service_name="pinboard.Pinboard",
        persistence_id="boards",
        passivation_timeout_s=None,
        methods={method.name: method},
        file="pinboard/pinboard.proto",
    )


def test_the_kind_is_registered_under_its_protocol_service() -> None:
    (kind,) = cloudstate_register_kinds()

    assert (kind.name, kind.entity_type) == (
        "kv",
        "cloudstate.valueentity.ValueEntity",
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (PIN, []),
        (replace(PIN, client_streaming=True), ["cannot have streamed methods"]),
        (replace(PIN, server_streaming=True), ["cannot have streamed methods"]),
        (replace(PIN, key_fields=()), ["the request of every method needs a field with"]),
        (
            replace(PIN, key_fields=(), client_streaming=True),
            ["cannot have streamed methods", "the request of every method needs a field with"],
        ),
    ],
    ids=["none", "client streams", "server streams", "no key", "both"],
)
def test_a_service_of_a_foreign_user_function_is_refused_for_what_cannot_work(
    method: DeployedMethod, expected: list[str]
) -> None:
    faults = list(ValueKind().faults(deployed(method)))

    assert len(faults) == len(expected)
    for fault, words in zip(faults, expected, strict=True):
        assert words in fault
        assert fault.endswith("Pin")
