"""From a command to the entity that it is for."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from cloudstate_core.addressing import Addressing
from cloudstate_core.anys import pack_message
from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.errors import CallCycle, MalformedRequest, UnknownService
from cloudstate_core.handler import Request
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.waiting import entity_name, with_waiting

HEADERS = Metadata([("tenant", "a")])
JOE = Request("shop.Cart", "Get", pack_message(StringValue(value="joe")))


def method(name: str, *, key: bool = True, streamed: bool = False) -> DeployedMethod:
    return DeployedMethod(
        name=name,
        descriptor=None,  # type: ignore[arg-type]  # an address does not depend on it
        input_class=StringValue,
        output_class=StringValue,
        input_type_url="x/y",
        output_type_url="x/y",
        key_fields=("value",) if key else (),
        server_streaming=streamed,
    )


def addressing(*, passes_metadata: bool = False) -> Addressing:
    methods = [method("Get"), method("Watch", streamed=True), method("Keyless", key=False)]
    entity = DeployedEntity(
        entity_type="test.Kind",
        service_name="shop.Cart",
        persistence_id="cart",
        passivation_timeout_s=None,
        methods={each.name: each for each in methods},
        file="shop.proto",
    )
    return Addressing(entity, passes_metadata=passes_metadata)


def test_a_command_is_for_the_entity_in_its_key_field() -> None:
    assert addressing().read(JOE) == ("joe", JOE)

    watch = replace(JOE, command="Watch")
    assert addressing().read(watch, streamed=True) == ("joe", watch)


@pytest.mark.parametrize(
    ("command", "streamed", "words"),
    [
        ("Dance", False, "service shop.Cart has no method 'Dance' with an entity key"),
        ("Keyless", False, "service shop.Cart has no method 'Keyless' with an entity key"),
        ("Watch", False, "service shop.Cart has no method 'Watch' with an entity key"),
        ("Get", True, "service shop.Cart has no streamed method 'Get' with an entity key"),
    ],
)
def test_what_is_no_command_of_the_service_is_refused_by_name(
    command: str, streamed: bool, words: str
) -> None:
    with pytest.raises(UnknownService, match=re.escape(words)):
        addressing().read(replace(JOE, command=command), streamed=streamed)


def test_a_command_without_an_id_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        addressing().read(replace(JOE, payload=pack_message(StringValue())))


def test_an_entity_does_not_wait_for_itself() -> None:
    waiting = (entity_name("shop.Cart", "joe"), entity_name("shop.Till", "1"))

    with pytest.raises(CallCycle, match="asked by the entity that waits") as caught:
        addressing().read(replace(JOE, waiting=waiting))
    assert caught.value.detail == "shop.Cart/joe asks shop.Till/1 asks shop.Cart/joe"

    entity_id, _ = addressing().read(replace(JOE, waiting=(entity_name("shop.Cart", "ann"),)))
    assert entity_id == "joe"


@pytest.mark.parametrize("waiting", [(), (entity_name("shop.Cart", "ann"),)])
def test_headers_of_clients_are_for_entities_that_are_to_see_them(waiting: tuple[str, ...]) -> None:
    request = replace(JOE, metadata=with_waiting(HEADERS, waiting), waiting=waiting)

    assert addressing(passes_metadata=True).read(request) == ("joe", request)

    _, without = addressing().read(request)
    # Who waits is nobody's secret, and has to be known further on.
    assert without == replace(request, metadata=with_waiting(EMPTY_METADATA, waiting))
