from __future__ import annotations

from dataclasses import replace

import pytest
from puppet.puppet_pb2 import DESCRIPTOR, Order, Word

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_crdt.plugin import CrdtKind, cloudstate_register_kinds

WATCH = DeployedMethod(
    name="Watch",
    descriptor=DESCRIPTOR.services_by_name["Puppet"].methods_by_name["Watch"],
    input_class=Order,
    output_class=Word,
    input_type_url="type.googleapis.com/puppet.Order",
    output_type_url="type.googleapis.com/puppet.Word",
    key_fields=("id",),
    server_streaming=True,
)


def deployed(method: DeployedMethod) -> DeployedEntity:
    return DeployedEntity(
        entity_type=CrdtKind.entity_type,
        service_name="puppet.Puppet",
        persistence_id="puppets",
        passivation_timeout_s=None,
        methods={method.name: method},
        file="puppet/puppet.proto",
    )


def test_the_kind_is_registered_under_its_protocol_service() -> None:
    (kind,) = cloudstate_register_kinds()

    assert (kind.name, kind.entity_type) == ("crdt", "cloudstate.crdt.Crdt")


@pytest.mark.parametrize(
    ("method", "faults"),
    [
        (WATCH, []),
        (replace(WATCH, client_streaming=True), ["streamed requests, found Watch"]),
        (replace(WATCH, key_fields=()), ["missing for Watch"]),
    ],
)
def test_a_service_that_no_entity_can_have_is_found_out(
    method: DeployedMethod, faults: list[str]
) -> None:
    found = list(CrdtKind().faults(deployed(method)))

    assert len(found) == len(faults)
    for fault, expected in zip(found, faults, strict=True):
        assert expected in fault
