from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from google.protobuf.empty_pb2 import Empty

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_core.spec_checks import (
    client_streamed_methods,
    keyless_methods,
    streamed_methods,
)


def method(name: str, *, key: bool = True, sends: bool = False, gets: bool = False) -> object:
    return DeployedMethod(
        name=name,
        descriptor=None,  # type: ignore[arg-type]  # no check looks at it
        input_class=Empty,
        output_class=Empty,
        input_type_url="x/y",
        output_type_url="x/y",
        key_fields=("id",) if key else (),
        client_streaming=sends,
        server_streaming=gets,
    )


def entity(*methods: object) -> DeployedEntity:
    return DeployedEntity(
        entity_type="example.Kind",
        service_name="example.Service",
        persistence_id="example",
        passivation_timeout_s=None,
        methods={each.name: each for each in methods},  # type: ignore[attr-defined]
        file="example.proto",
    )


PLAIN = method("Plain")
UP = method("Up", sends=True)
DOWN = method("Down", gets=True)
BOTH = method("Both", sends=True, gets=True)
KEYLESS = method("Keyless", key=False)

Check = Callable[[DeployedEntity], Iterator[str]]


@pytest.mark.parametrize(
    ("check", "named", "words"),
    [
        (streamed_methods, "Up, Down, Both", "cannot have streamed methods"),
        (client_streamed_methods, "Up, Both", "cannot have methods with streamed requests"),
        (keyless_methods, "Keyless", r"option (cloudstate.entity_key) = true"),
    ],
)
def test_a_fault_names_the_service_and_every_method_that_has_it(
    check: Check, named: str, words: str
) -> None:
    (fault,) = check(entity(PLAIN, UP, DOWN, BOTH, KEYLESS))

    assert fault.startswith("service example.Service: ")
    assert words in fault
    assert fault.endswith(named)


@pytest.mark.parametrize("check", [streamed_methods, client_streamed_methods, keyless_methods])
def test_a_service_without_faults_has_none(check: Check) -> None:
    assert list(check(entity(PLAIN))) == []
    assert list(check(entity())) == []


def test_a_streamed_answer_is_no_streamed_request() -> None:
    assert list(client_streamed_methods(entity(DOWN))) == []
