"""Event sourced entities: what a user function does, with the suite in a proxy's place.

Every case starts streams for ids of its own and ends each by a half-close, as passivation does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from cloudstate.entity_pb2 import Entity
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn, EventSourcedStreamOut
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.event_sourced_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    Answer,
    command_in,
    effect,
    emit,
    event,
    fail,
    fails,
    failure,
    forward,
    forwards,
    init,
    replies,
    side_effect,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.eventsourced_pb2 import RequestAction
from cloudstate_tck.protocol import EVENT_SOURCED

__all__ = ["CASES"]


@dataclass(frozen=True, slots=True)
class Step:
    """One command and its answer."""

    actions: tuple[RequestAction, ...]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Script:
    """A case that is one stream: what the proxy has stored, then commands with their answers."""

    id: str
    title: str
    steps: tuple[Step, ...]
    snapshot: tuple[int, str] | None = None
    events: tuple[tuple[int, str], ...] = ()


def step(*actions: RequestAction, gives: Answer) -> Step:
    return Step(actions, gives)


def emits(values: Iterable[str]) -> tuple[RequestAction, ...]:
    return tuple(emit(value) for value in values)


def effects(*entity_ids: str) -> tuple[RequestAction, ...]:
    return tuple(effect(entity_id) for entity_id in entity_ids)


#: Where forwards and effects of a script go; nobody carries them out.
OTHER = "another-entity"

ADDED_ABC = step(*emits("ABC"), gives=replies("ABC", events="ABC"))
STILL_ABC = step(gives=replies("ABC"))
EXPECTED_FAILURE = "expected failure"

SCRIPTS = (
    Script("E3", "a new entity has an empty state", (step(gives=replies("")),)),
    Script(
        "E4",
        "an event is applied and returned",
        (step(emit("A"), gives=replies("A", events="A")), step(gives=replies("A"))),
    ),
    Script("E5", "several events are applied and returned in order", (ADDED_ABC, STILL_ABC)),
    Script(
        "E6",
        "a snapshot comes with the reply whose events contain a multiple of five",
        (
            step(emit("A"), gives=replies("A", events="A")),
            step(emit("B"), gives=replies("AB", events="B")),
            step(emit("C"), gives=replies("ABC", events="C")),
            step(emit("D"), gives=replies("ABCD", events="D")),
            step(emit("E"), gives=replies("ABCDE", events="E", snapshot="ABCDE")),
            step(*emits("FGH"), gives=replies("ABCDEFGH", events="FGH")),
            step(*emits("IJ"), gives=replies("ABCDEFGHIJ", events="IJ", snapshot="ABCDEFGHIJ")),
            step(emit("K"), gives=replies("ABCDEFGHIJK", events="K")),
            step(gives=replies("ABCDEFGHIJK")),
        ),
    ),
    Script(
        "E7",
        "an initial snapshot is the state",
        (step(gives=replies("ABCDE")),),
        snapshot=(5, "ABCDE"),
    ),
    Script(
        "E8",
        "events after an initial snapshot are applied to it",
        (step(gives=replies("ABCDEFG")),),
        snapshot=(5, "ABCDE"),
        events=((6, "F"), (7, "G")),
    ),
    Script(
        "E10",
        "a forward takes the place of the reply",
        (ADDED_ABC, step(forward(OTHER), gives=forwards(OTHER)), STILL_ABC),
    ),
    Script(
        "E11",
        "a forward comes with the events",
        (step(emit("A"), forward(OTHER), gives=forwards(OTHER, events="A")),),
    ),
    Script(
        "E12",
        "a forward comes with events and snapshot",
        (
            ADDED_ABC,
            step(
                *emits("DE"),
                forward(OTHER),
                gives=forwards(OTHER, events="DE", snapshot="ABCDE"),
            ),
        ),
    ),
    Script(
        "E13",
        "a side effect comes with the reply",
        (
            ADDED_ABC,
            step(effect(OTHER), gives=replies("ABC", effects=[side_effect(OTHER)])),
            STILL_ABC,
        ),
    ),
    Script(
        "E14",
        "a synchronous side effect says so",
        (
            step(
                effect(OTHER, synchronous=True),
                gives=replies("", effects=[side_effect(OTHER, synchronous=True)]),
            ),
        ),
    ),
    Script(
        "E15",
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
        "E16",
        "several side effects keep their order",
        (
            step(
                *effects("1", "2", "3"),
                gives=replies("", effects=[side_effect(id_) for id_ in "123"]),
            ),
        ),
    ),
    Script(
        "E17",
        "events, snapshot and side effects come in one reply",
        (
            step(
                *emits("ABCDE"),
                *effects("1", "2", "3"),
                gives=replies(
                    "ABCDE",
                    events="ABCDE",
                    snapshot="ABCDE",
                    effects=[side_effect(id_) for id_ in "123"],
                ),
            ),
        ),
    ),
    Script(
        "E18",
        "a failure is answered in a reply and asks for no restart",
        (step(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)),),
    ),
    Script(
        "E19",
        "an entity goes on after a failure",
        (
            step(emit("A"), gives=replies("A", events="A")),
            step(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)),
            step(gives=replies("A")),
        ),
    ),
    Script(
        "E21",
        "a failure drops side effects",
        (step(effect(OTHER), fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE)),),
    ),
)


class Activation:
    """One stream of the model entity, with its command ids counted from 1."""

    def __init__(
        self, stream: ProtocolStream[EventSourcedStreamIn, EventSourcedStreamOut], entity_id: str
    ) -> None:
        self._stream = stream
        self._entity_id = entity_id
        self.command_id = 0

    async def send(self, *actions: RequestAction) -> str:
        """Send the next command; return what its answer is called in a failure."""
        self.command_id += 1
        await self._stream.send(command_in(self._entity_id, self.command_id, *actions))
        return f"the answer to command {self.command_id}"

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Send the next command and compare its answer.

        Raises:
            Mismatch: If the answer differs or is missing.
        """
        what = await self.send(*actions)
        await self._stream.expect(what, gives(self.command_id))

    async def expect_failure(self, *actions: RequestAction, description: str) -> bool:
        """Send the next command, which must fail; return whether it asks for a restart.

        Raises:
            Mismatch: If it does not fail, or anything comes with the failure.
        """
        what = await self.send(*actions)
        expected = failure(self.command_id, description)
        found = await self._stream.receive(what, expected)
        restart = found.reply.client_action.failure.restart
        expect_equal(what, failure(self.command_id, description, restart=restart), found)
        return restart


@asynccontextmanager
async def activated(
    examination: Examination,
    entity_id: str,
    snapshot: tuple[int, str] | None = None,
    events: Iterable[tuple[int, str]] = (),
) -> AsyncIterator[Activation]:
    """Open a stream for an entity with what is stored of it; passivate it at the end.

    Raises:
        Mismatch: If the user function does not end the stream in order.
    """
    async with examination.the_function().stream(EVENT_SOURCED) as stream:
        await stream.send(init(MODEL, entity_id, snapshot))
        await stream.send(*(event(sequence, value) for sequence, value in events))
        yield Activation(stream, entity_id)
        await stream.complete()


async def run_script(script: Script, examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id, script.snapshot, script.events) as entity:
        for one in script.steps:
            await entity.expect(*one.actions, gives=one.answer)


async def discovered(examination: Examination) -> None:
    expect_event_sourced(examination, MODEL, "event-sourced-tck-model")
    expect_event_sourced(examination, TWO)


async def configured(examination: Examination) -> None:
    entity = expect_event_sourced(examination, CONFIGURED, "event-sourced-configured")
    timeout_ms = entity.passivation_strategy.timeout.timeout
    expect_equal(f"the passivation timeout of {CONFIGURED}", 100, timeout_ms)


def expect_event_sourced(
    examination: Examination, service: str, persistence_id: str | None = None
) -> Entity:
    """Return what is announced of a service.

    Raises:
        Mismatch: If it is of another kind or persistence id.
    """
    entity = next(e for e in examination.spec.entities if e.service_name == service)
    expect_equal(f"the entity type of {service}", EVENT_SOURCED.service, entity.entity_type)
    if persistence_id is not None:
        what = f"the persistence id of {service}"
        expect_equal(what, persistence_id, entity.persistence_id)
    return entity


async def rehydration(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id) as entity:
        await entity.expect(*emits("ABC"), gives=replies("ABC", events="ABC"))
        await entity.expect(*emits("DE"), gives=replies("ABCDE", events="DE", snapshot="ABCDE"))
        await entity.expect(emit("F"), gives=replies("ABCDEF", events="F"))
        await entity.expect(emit("G"), gives=replies("ABCDEFG", events="G"))
    stored = ((6, "F"), (7, "G"))
    async with activated(examination, entity_id, (5, "ABCDE"), stored) as entity:
        await entity.expect(gives=replies("ABCDEFG"))


async def failure_drops_events(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id) as entity:
        await entity.expect(*emits("ABC"), gives=replies("ABC", events="ABC"))
        restart = await entity.expect_failure(
            *emits("45"), fail("failure 1"), description="failure 1"
        )
        if not restart:
            await _go_on_after_a_failure(entity)
            return
    stored = [(1, "A"), (2, "B"), (3, "C")]
    async with activated(examination, entity_id, events=stored) as entity:
        await entity.expect(emit("D"), gives=replies("ABCD", events="D"))
        restart = await entity.expect_failure(
            emit("6"), fail("failure 2"), emit("7"), description="failure 2"
        )
        expect_equal("whether the second failure asks for a restart", expected=True, found=restart)
    async with activated(examination, entity_id, events=[*stored, (4, "D")]) as entity:
        await entity.expect(emit("E"), gives=replies("ABCDE", events="E", snapshot="ABCDE"))


async def _go_on_after_a_failure(entity: Activation) -> None:
    await entity.expect(emit("D"), gives=replies("ABCD", events="D"))
    restart = await entity.expect_failure(
        emit("6"), fail("failure 2"), emit("7"), description="failure 2"
    )
    if restart:
        raise Mismatch(
            "the second failure", expected="no restart, like the first", found="a restart"
        )
    await entity.expect(emit("E"), gives=replies("ABCDE", events="E", snapshot="ABCDE"))


case = partial(Case, kind="eventsourced", phase=Phase.MODEL)

CASES = (
    case("E1", "the model entities are announced", needs=frozenset({MODEL, TWO}), run=discovered),
    case("E2", "the options are announced", needs=frozenset({CONFIGURED}), run=configured),
    case("E9", "an entity comes back as it was", needs=frozenset({MODEL}), run=rehydration),
    case("E20", "a failure drops events", needs=frozenset({MODEL}), run=failure_drops_events),
    *(
        case(script.id, script.title, needs=frozenset({MODEL}), run=partial(run_script, script))
        for script in SCRIPTS
    ),
)
