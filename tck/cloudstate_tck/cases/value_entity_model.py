"""Value entities: what a user function does, with the suite in a proxy's place.

Every case starts streams for ids of its own and ends each by a half-close, as passivation does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from cloudstate.entity_pb2 import Entity
from cloudstate.value_entity_pb2 import ValueEntityStreamIn, ValueEntityStreamOut
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import expect_equal
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.valueentity_pb2 import RequestAction
from cloudstate_tck.protocol import VALUE_ENTITY
from cloudstate_tck.value_entity_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    Answer,
    command_in,
    delete,
    effect,
    fail,
    fails,
    forward,
    forwards,
    init,
    replies,
    side_effect,
    update,
)

__all__ = ["CASES", "activated"]


@dataclass(frozen=True, slots=True)
class Step:
    """One command and its answer."""

    actions: tuple[RequestAction, ...]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Script:
    """A case that is one stream of commands with their answers."""

    id: str
    title: str
    steps: tuple[Step, ...]


def step(*actions: RequestAction, gives: Answer) -> Step:
    return Step(actions, gives)


def updates(values: Iterable[str]) -> tuple[RequestAction, ...]:
    return tuple(update(value) for value in values)


#: Where forwards and effects of a script go; nobody carries them out.
OTHER = "another-entity"

EXPECTED_FAILURE = "expected failure"
EFFECTS = tuple(effect(entity_id) for entity_id in "123")
SIDE_EFFECTS = tuple(side_effect(entity_id) for entity_id in "123")

UPDATED_A = step(update("A"), gives=replies("A", updates="A"))
STILL_A = step(gives=replies("A"))
STILL_EMPTY = step(gives=replies(""))

SCRIPTS = (
    Script("V3", "a new entity has no state", (STILL_EMPTY,)),
    Script("V4", "an update is the state and is returned", (UPDATED_A, STILL_A)),
    Script(
        "V5",
        "a delete leaves no state",
        (UPDATED_A, step(delete(), gives=replies("", deletes=True)), STILL_EMPTY),
    ),
    Script(
        "V6",
        "of several updates the last one counts",
        (step(*updates("ABC"), gives=replies("C", updates="C")), step(gives=replies("C"))),
    ),
    Script(
        "V7",
        "a delete after updates counts",
        (step(*updates("AB"), delete(), gives=replies("", deletes=True)), STILL_EMPTY),
    ),
    Script(
        "V8",
        "an update after a delete counts",
        (
            step(update("A"), delete(), update("B"), gives=replies("B", updates="B")),
            step(gives=replies("B")),
        ),
    ),
    Script(
        "V10",
        "several side effects keep their order",
        (step(*EFFECTS, gives=replies("", effects=SIDE_EFFECTS)),),
    ),
    Script(
        "V11",
        "a side effect comes with the reply",
        (
            UPDATED_A,
            step(effect(OTHER), gives=replies("A", effects=[side_effect(OTHER)])),
            STILL_A,
        ),
    ),
    Script(
        "V12",
        "an update and side effects come in one reply",
        (
            step(
                *updates("ABCDE"),
                *EFFECTS,
                gives=replies("E", updates="E", effects=SIDE_EFFECTS),
            ),
        ),
    ),
    Script(
        "V13",
        "a synchronous side effect says so",
        (
            step(
                effect(OTHER, synchronous=True),
                gives=replies("", effects=[side_effect(OTHER, synchronous=True)]),
            ),
        ),
    ),
    Script(
        "V14",
        "a forward takes the place of the reply",
        (UPDATED_A, step(forward(OTHER), gives=forwards(OTHER)), STILL_A),
    ),
    Script(
        "V15",
        "a forward comes with the update",
        (step(update("A"), forward(OTHER), gives=forwards(OTHER, updates="A")),),
    ),
    Script(
        "V16",
        "a side effect comes with a forward",
        (
            step(
                effect(OTHER),
                forward(OTHER),
                gives=forwards(OTHER, effects=[side_effect(OTHER)]),
            ),
        ),
    ),
    Script(
        "V17",
        "a failure is answered in a reply",
        (step(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)),),
    ),
    Script(
        "V18",
        "an entity goes on after a failure",
        (UPDATED_A, step(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)), STILL_A),
    ),
    Script(
        "V19",
        "a failure drops side effects",
        (step(effect(OTHER), fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)),),
    ),
)


class Activation:
    """One stream of the model entity, with its command ids counted from 1."""

    def __init__(
        self, stream: ProtocolStream[ValueEntityStreamIn, ValueEntityStreamOut], entity_id: str
    ) -> None:
        self._stream = stream
        self._entity_id = entity_id
        self.command_id = 0

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Send the next command and compare its answer.

        Raises:
            Mismatch: If the answer differs or is missing.
        """
        self.command_id += 1
        await self._stream.send(command_in(self._entity_id, self.command_id, *actions))
        await self._stream.expect(
            f"the answer to command {self.command_id}", gives(self.command_id)
        )


@asynccontextmanager
async def activated(
    examination: Examination, entity_id: str, value: str | None = None
) -> AsyncIterator[Activation]:
    """Open a stream for an entity with what is stored of it; passivate it at the end.

    Raises:
        Mismatch: If the user function does not end the stream in order.
    """
    async with examination.the_function().stream(VALUE_ENTITY) as stream:
        await stream.send(init(MODEL, entity_id, value))
        yield Activation(stream, entity_id)
        await stream.complete()


async def run_script(script: Script, examination: Examination) -> None:
    async with activated(examination, examination.new_entity_id()) as entity:
        for one in script.steps:
            await entity.expect(*one.actions, gives=one.answer)


async def discovered(examination: Examination) -> None:
    expect_value_entity(examination, MODEL, "value-entity-tck-model")
    expect_value_entity(examination, TWO, "value-entity-tck-model-two")


async def configured(examination: Examination) -> None:
    entity = expect_value_entity(examination, CONFIGURED, "value-entity-configured")
    timeout_ms = entity.passivation_strategy.timeout.timeout
    expect_equal(f"the passivation timeout of {CONFIGURED}", 100, timeout_ms)


def expect_value_entity(examination: Examination, service: str, persistence_id: str) -> Entity:
    """Return what is announced of a service.

    Raises:
        Mismatch: If it is of another kind or persistence id.
    """
    entity = next(e for e in examination.spec.entities if e.service_name == service)
    expect_equal(f"the entity type of {service}", VALUE_ENTITY.service, entity.entity_type)
    what = f"the persistence id of {service}"
    expect_equal(what, persistence_id, entity.persistence_id)
    return entity


async def rehydration(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id) as entity:
        for value in "ABCD":
            await entity.expect(update(value), gives=replies(value, updates=value))
    async with activated(examination, entity_id, "D") as entity:
        await entity.expect(update("E"), gives=replies("E", updates="E"))
        await entity.expect(gives=replies("E"))


case = partial(Case, kind="kv", phase=Phase.MODEL)

CASES = (
    case("V1", "the model entities are announced", needs=frozenset({MODEL, TWO}), run=discovered),
    case("V2", "the options are announced", needs=frozenset({CONFIGURED}), run=configured),
    case("V9", "an entity comes back as it was", needs=frozenset({MODEL}), run=rehydration),
    *(
        case(script.id, script.title, needs=frozenset({MODEL}), run=partial(run_script, script))
        for script in SCRIPTS
    ),
)
