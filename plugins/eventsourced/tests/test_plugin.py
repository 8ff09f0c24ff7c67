from __future__ import annotations

from dataclasses import replace

import pytest
from notebook.notebook_pb2 import _NOTEBOOK, Lines, Text

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_eventsourced.plugin import EventSourcedKind, cloudstate_register_kinds

WRITE = DeployedMethod(
    name="Write",
    descriptor=_NOTEBOOK.methods_by_name["Write"],
    input_class=Lines,
    output_class=Text,
    input_type_url="type.googleapis.com/notebook.Lines",
    output_type_url="type.googleapis.com/notebook.Text",
    key_fields=("id",),
)


def deployed(method: DeployedMethod) -> DeployedEntity:
    return DeployedEntity(
        entity_type=EventSourcedKind.entity_type,
        service_name="notebook.Notebook",
        persistence_id="notebook",
        passivation_timeout_s=None,
        methods={method.name: method},
        file="notebook/notebook.proto",
    )


def test_the_kind_is_registered_under_its_protocol_service() -> None:
    (kind,) = cloudstate_register_kinds()

    assert (kind.name, kind.entity_type) == (
        "eventsourced",
        "cloudstate.eventsourced.EventSourced",
    )


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (WRITE, []),
        (replace(WRITE, client_streaming=True), ["cannot have streamed methods"]),
        (replace(WRITE, server_streaming=True), ["cannot have streamed methods"]),
        (replace(WRITE, key_fields=()), ["the request of every method needs a field with"]),
        (
            replace(WRITE, key_fields=(), client_streaming=True),
            ["cannot have streamed methods", "the request of every method needs a field with"],
        ),
    ],
    ids=["none", "client streams", "server streams", "no key", "both"],
)
def test_a_service_of_a_foreign_user_function_is_refused_for_what_cannot_work(
    method: DeployedMethod, expected: list[str]
) -> None:
    faults = list(EventSourcedKind().faults(deployed(method)))

    assert len(faults) == len(expected)
    for fault, words in zip(faults, expected, strict=True):
        assert words in fault
        assert fault.endswith("Write")
