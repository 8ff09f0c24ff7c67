"""Whatever a user function announces, the answer is a list of faults, and others do not notice."""

from __future__ import annotations

import time

import pytest
from google.protobuf.message_factory import GetMessageClass
from runtime_doubles.hostile_specs import HOSTILE
from runtime_doubles.specs import orders_spec

from cloudstate_core.errors import InvalidSpec
from cloudstate_core.frontend import Deployment
from cloudstate_runtime.function.discovery import Discovery

#: Generous: the largest announcements take a fraction of it on a quiet machine.
MAX_TIME_S = 5.0


def works(deployment: Deployment) -> bool:
    """Whether the messages of a deployment can still be used."""
    order = GetMessageClass(deployment.pool.FindMessageTypeByName("shop.Order"))
    method = deployment.entities[0].methods["Place"]
    return (
        order.FromString(b"\x0a\x03joe\x10\x02").id == "joe"
        and method.input_class.FromString(b"\x10\x07").amount == 7
        and method.key_fields == ("id",)
    )


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_announcement_is_refused_with_a_reason_and_hurts_nobody(
    name: str, discovery: Discovery
) -> None:
    neighbour = discovery.deploy("neighbour", orders_spec())
    build, expected = HOSTILE[name]
    spec = build()
    began_s = time.perf_counter()

    with pytest.raises(InvalidSpec) as caught:
        discovery.deploy("hostile", spec)

    assert time.perf_counter() - began_s < MAX_TIME_S
    assert any(expected in fault for fault in caught.value.faults), caught.value.faults
    assert works(neighbour)
    assert works(discovery.deploy("latecomer", orders_spec()))


def test_what_the_hostile_ones_were_built_from_is_accepted(discovery: Discovery) -> None:
    assert works(discovery.deploy("honest", orders_spec()))
