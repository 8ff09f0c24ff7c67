"""Event sourced entities: what a proxy does, seen by a client and between proxy and function.

Where nobody can listen between the two, the cases look at what the client sees. Cases whose id
begins with EPX are our own; the original suite does not have them.
"""

from __future__ import annotations

import asyncio
from functools import partial

from google.protobuf.json_format import MessageToDict

from cloudstate.event_sourced_pb2 import EventSourcedStreamOut
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.event_sourced_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    Answer,
    command,
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
    request,
    side_effect,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import expect_equal
from cloudstate_tck.model.eventsourced_pb2 import Request, RequestAction, Response
from cloudstate_tck.protocol import EVENT_SOURCED
from cloudstate_tck.recorder import Connection

__all__ = ["CASES"]

#: An entity with a timeout of 100 ms has to be gone by then.
PASSIVATED_WITHIN_S = 2.0

CONCURRENT_COMMANDS = 8

MODEL_PATH = "tck/model/eventsourced"


class Wire:
    """One activation as it is seen between proxy and function; sees nothing without a recorder."""

    def __init__(self, examination: Examination, service: str, entity_id: str) -> None:
        self._recorder = examination.recorder
        self._service = service
        self._entity_id = entity_id
        self._method = "Process" if service == MODEL else "Call"
        self._connection: Connection | None = None
        self._command_id = 0

    async def expect_start(self, *events: str, snapshot: tuple[int, str] | None = None) -> None:
        """Expect a new connection for the entity, with what is stored of it.

        Args:
            events: The events after the snapshot; all of them if there is none.
            snapshot: The sequence of the last event it covers, and the state.

        Raises:
            Mismatch: If there is none, or it starts with anything else.
        """
        if self._recorder is None:
            return
        self._connection = await self._recorder.expect_connection(EVENT_SOURCED.path)
        self._command_id = 0
        covered = 0 if snapshot is None else snapshot[0]
        await self._connection.expect_incoming(
            init(self._service, self._entity_id, snapshot),
            *(event(sequence, value) for sequence, value in enumerate(events, start=covered + 1)),
        )

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Expect the next command on the connection, and its answer.

        Raises:
            Mismatch: If either differs or is missing.
        """
        if self._connection is None:
            return
        await self._expect_command(self._connection, actions)
        await self._connection.expect_outgoing(gives(self._command_id))

    async def expect_failure(self, *actions: RequestAction, description: str) -> bool:
        """Expect the next command and its failure; return whether that asks for a restart.

        Raises:
            Mismatch: If either differs or is missing.
        """
        if self._connection is None:
            return False
        await self._expect_command(self._connection, actions)
        expected = failure(self._command_id, description)
        found = await self._connection.next_outgoing(expected)
        restart = (
            isinstance(found, EventSourcedStreamOut) and found.reply.client_action.failure.restart
        )
        expected = failure(self._command_id, description, restart=restart)
        expect_equal(f"the answer to command {self._command_id}", expected, found)
        return restart

    async def expect_restart(self, *events: str, snapshot: tuple[int, str] | None = None) -> None:
        """Expect the old connection to be completed and a new one with what is stored.

        Raises:
            Mismatch: If one does not come to pass.
        """
        await self.expect_completed()
        await self.expect_start(*events, snapshot=snapshot)

    async def expect_completed(self, within_s: float | None = None) -> None:
        """Expect both sides of the connection to finish.

        Raises:
            Mismatch: If one does not.
        """
        if self._connection is not None:
            await self._connection.expect_completed(within_s)

    async def _expect_command(
        self, connection: Connection, actions: tuple[RequestAction, ...]
    ) -> None:
        self._command_id += 1
        payload = request(self._entity_id, *actions)
        await connection.expect_incoming(
            command(self._entity_id, self._command_id, payload, self._method)
        )


class Client:
    """A client of one model entity."""

    def __init__(self, examination: Examination, entity_id: str) -> None:
        self._proxy = examination.the_proxy()
        self._entity_id = entity_id

    async def expect(self, *actions: RequestAction, state: str) -> None:
        await self._proxy.expect(
            MODEL, "Process", request(self._entity_id, *actions), Response(message=state)
        )

    async def append(self, value: str) -> None:
        """Emit an event that must be accepted, whatever the state."""
        await self._proxy.call(MODEL, "Process", request(self._entity_id, emit(value)), Response)

    async def expect_failure(self, *actions: RequestAction, description: str) -> None:
        await self._proxy.expect_failure(
            MODEL, "Process", request(self._entity_id, *actions), Response, description
        )

    async def expect_json(self, *actions: RequestAction, state: str) -> None:
        await self._proxy.expect_json(
            f"{MODEL_PATH}/{self._entity_id}", _body(actions), {"message": state}
        )

    async def expect_http_failure(self, *actions: RequestAction, text: str) -> None:
        await self._proxy.expect_http_failure(
            f"{MODEL_PATH}/{self._entity_id}", _body(actions), text
        )


def _body(actions: tuple[RequestAction, ...]) -> object:
    return MessageToDict(Request(actions=actions))


async def state_changes(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)

    await client.expect(state="")
    await wire.expect_start()
    await wire.expect(gives=replies(""))
    for values, state, snapshot in (
        ("A", "A", None),
        ("BCD", "ABCD", None),
        ("E", "ABCDE", "ABCDE"),
        ("FGHI", "ABCDEFGHI", None),
        ("JK", "ABCDEFGHIJK", "ABCDEFGHIJK"),
    ):
        actions = [emit(value) for value in values]
        await client.expect(*actions, state=state)
        await wire.expect(*actions, gives=replies(state, events=values, snapshot=snapshot))


async def forward_and_effect(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    other = Wire(examination, TWO, entity_id)

    await client.expect(emit("one"), state="one")
    await wire.expect_start()
    await wire.expect(emit("one"), gives=replies("one", events=["one"]))

    await client.expect(forward(entity_id), state="")
    await wire.expect(forward(entity_id), gives=forwards(entity_id))
    await other.expect_start()
    await other.expect(gives=replies(""))

    await client.expect(effect(entity_id), state="one")
    await wire.expect(effect(entity_id), gives=replies("one", effects=[side_effect(entity_id)]))
    await other.expect(gives=replies(""))

    await client.expect(state="one")
    await wire.expect(gives=replies("one"))


async def failures(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    one_two_three = [emit(value) for value in "123"]
    four_five = [emit(value) for value in "45"]

    await client.expect(*one_two_three, state="123")
    await wire.expect_start()
    await wire.expect(*one_two_three, gives=replies("123", events="123"))

    await client.expect_failure(fail("expected failure"), description="expected failure")
    await wire.expect(fail("expected failure"), gives=fails("expected failure"))

    await client.expect(state="123")
    await wire.expect(gives=replies("123"))

    failing = emit("4"), fail("another failure"), emit("5")
    await client.expect_failure(*failing, description="another failure")
    if await wire.expect_failure(*failing, description="another failure"):
        # The entity comes back at once, before anybody asks for it.
        await wire.expect_restart("1", "2", "3")

    await client.expect(*four_five, state="12345")
    await wire.expect(*four_five, gives=replies("12345", events="45", snapshot="12345"))


async def over_http(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    other = Wire(examination, TWO, entity_id)

    await client.expect_json(state="")
    await wire.expect_start()
    await wire.expect(gives=replies(""))

    # No rule in the descriptors: the path is that of the gRPC method.
    await examination.the_proxy().expect_json(f"{TWO}/Call", {"id": entity_id}, {"message": ""})
    await other.expect_start()
    await other.expect(gives=replies(""))

    await client.expect_json(emit("x"), state="x")
    await wire.expect(emit("x"), gives=replies("x", events="x"))

    await client.expect_http_failure(fail("just fail"), text="just fail")
    await wire.expect(fail("just fail"), gives=fails("just fail"))

    await client.expect_json(emit("y"), state="xy")
    await wire.expect(emit("y"), gives=replies("xy", events="y"))

    failing = emit("z"), fail("emit then fail")
    await client.expect_http_failure(*failing, text="emit then fail")
    if await wire.expect_failure(*failing, description="emit then fail"):
        await wire.expect_restart("x", "y")

    await client.expect_json(emit("z"), state="xyz")
    await wire.expect(emit("z"), gives=replies("xyz", events="z"))


async def passivation(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    wire = Wire(examination, CONFIGURED, entity_id)

    await examination.the_proxy().expect(CONFIGURED, "Call", request(entity_id), Response())
    await wire.expect_start()
    await wire.expect(gives=replies(""))
    await wire.expect_completed(PASSIVATED_WITHIN_S)


async def snapshot_comes_back(examination: Examination) -> None:
    """Have a restart after a snapshot, if the user function asks for restarts."""
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    six = [emit(value) for value in "ABCDEF"]
    failing = emit("x"), fail("start again")

    await client.expect(*six, state="ABCDEF")
    await wire.expect_start()
    await wire.expect(*six, gives=replies("ABCDEF", events="ABCDEF", snapshot="ABCDEF"))
    await client.expect(emit("G"), state="ABCDEFG")
    await wire.expect(emit("G"), gives=replies("ABCDEFG", events="G"))
    await client.expect_failure(*failing, description="start again")
    if await wire.expect_failure(*failing, description="start again"):
        await wire.expect_restart("G", snapshot=(6, "ABCDEF"))
    await client.expect(emit("H"), state="ABCDEFGH")
    await wire.expect(emit("H"), gives=replies("ABCDEFGH", events="H"))


async def one_command_at_a_time(examination: Examination) -> None:
    """Send several commands at once; the entity must get one after the other, on one stream."""
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)

    await asyncio.gather(*(client.append("n") for _ in range(CONCURRENT_COMMANDS)))
    await wire.expect_start()
    for count in range(1, CONCURRENT_COMMANDS + 1):
        snapshot = "n" * count if count % 5 == 0 else None
        answer = replies("n" * count, events="n", snapshot=snapshot)
        await wire.expect(emit("n"), gives=answer)
    await client.expect(state="n" * CONCURRENT_COMMANDS)
    await wire.expect(gives=replies("n" * CONCURRENT_COMMANDS))


case = partial(Case, kind="eventsourced", phase=Phase.PROXY)

CASES = (
    case("EP1", "state changes on one connection", needs=frozenset({MODEL}), run=state_changes),
    case(
        "EP2",
        "forwards and side effects reach the other entity",
        needs=frozenset({MODEL, TWO}),
        run=forward_and_effect,
    ),
    case(
        "EP3",
        "failures reach the client, and a restart brings back what is stored",
        needs=frozenset({MODEL}),
        run=failures,
    ),
    case("EP4", "the same over HTTP", needs=frozenset({MODEL, TWO}), run=over_http),
    case(
        "EPX1",
        "after a restart a snapshot comes back, and the events after it",
        needs=frozenset({MODEL}),
        run=snapshot_comes_back,
    ),
    case(
        "EPX2",
        "concurrent commands reach an entity one at a time",
        needs=frozenset({MODEL}),
        run=one_command_at_a_time,
    ),
    case("EP5", "an idle entity is passivated", needs=frozenset({CONFIGURED}), run=passivation),
)
