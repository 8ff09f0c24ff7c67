"""CRDTs: what a proxy does, seen by a client and between proxy and function.

Where nobody can listen between the two, the cases look at what the client sees. Cases whose id
begins with CPX are our own; the original suite does not have them.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial

from google.protobuf.json_format import MessageToDict

from cloudstate.crdt_pb2 import CrdtDelta, CrdtStreamIn, CrdtStreamOut
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.crdt_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    Answer,
    accepts,
    cancel,
    cancelled,
    command,
    delete,
    effect,
    expect_same,
    fail,
    fails,
    forward,
    forwards,
    init,
    pushed,
    replies,
    request,
    side_effect,
    updates,
)
from cloudstate_tck.crdt_values import (
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_delta,
    gset_state,
    gset_update,
    pncounter_delta,
    pncounter_state,
    pncounter_update,
    vote_delta,
    vote_state,
    vote_update,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.crdt_pb2 import Request, RequestAction, Response, State, StreamedRequest
from cloudstate_tck.protocol import CRDT
from cloudstate_tck.recorder import Connection

__all__ = ["CASES"]

#: An entity with a timeout of 100 ms has to be gone by then.
PASSIVATED_WITHIN_S = 2.0

#: How long a client is looked at that must not get anything.
SILENCE_S = 0.1

CONCURRENT_COMMANDS = 8

EXPECTED_FAILURE = "expected failure"

MODEL_PATH = "tck/model/crdt"


class Wire:
    """One activation as it is seen between proxy and function; sees nothing without a recorder."""

    def __init__(self, examination: Examination, service: str, entity_id: str) -> None:
        self._recorder = examination.recorder
        self._service = service
        self._entity_id = entity_id
        self._method = "Process" if service == MODEL else "Call"
        self._connection: Connection | None = None
        self._command_id = 0

    async def expect_start(self, delta: CrdtDelta | None = None) -> None:
        """Expect a new connection for the entity, with its state.

        Raises:
            Mismatch: If there is none, or it starts with anything else.
        """
        if self._recorder is not None:
            self._connection = await self._recorder.expect_connection(CRDT.path)
            self._command_id = 0
            await self.expect_incoming(init(self._service, self._entity_id, delta))

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Expect the next command on the connection, and its answer.

        Raises:
            Mismatch: If either differs or is missing.
        """
        payload = request(self._entity_id, *actions)
        self._command_id += 1
        await self.expect_incoming(
            command(self._entity_id, self._command_id, payload, self._method)
        )
        await self.expect_outgoing(gives(self._command_id))

    async def expect_stream(self, payload: StreamedRequest, *, gives: Answer) -> None:
        """Expect the next command on the connection, which is a streamed one, and its answer.

        Raises:
            Mismatch: If either differs or is missing.
        """
        self._command_id += 1
        await self.expect_incoming(
            command(self._entity_id, self._command_id, payload, "ProcessStreamed")
        )
        await self.expect_outgoing(gives(self._command_id))

    async def expect_cancelled(self, command_id: int, gives: CrdtStreamOut) -> None:
        """Expect the proxy to tell that a client has left, and the answer.

        Raises:
            Mismatch: If either differs or is missing.
        """
        await self.expect_incoming(cancel(self._entity_id, command_id))
        await self.expect_outgoing(gives)

    async def expect_incoming(self, expected: CrdtStreamIn) -> None:
        """Expect the proxy's next message.

        Raises:
            Mismatch: If it differs or is missing.
        """
        if self._connection is not None:
            found = await self._connection.next_incoming(expected)
            what = "the next message from the proxy"
            if not isinstance(found, CrdtStreamIn):
                raise Mismatch(what, expected=expected, found=str(found))
            expect_same(what, expected, found)

    async def expect_outgoing(self, expected: CrdtStreamOut) -> None:
        """Expect the user function's next message.

        Raises:
            Mismatch: If it differs or is missing.
        """
        if self._connection is not None:
            found = await self._connection.next_outgoing(expected)
            what = "the next message from the user function"
            if not isinstance(found, CrdtStreamOut):
                raise Mismatch(what, expected=expected, found=str(found))
            expect_same(what, expected, found)

    async def expect_exchanges(self, number: int) -> None:
        """Expect as many messages in both directions, whatever they are.

        Raises:
            Mismatch: If there are fewer.
        """
        if self._connection is not None:
            for _ in range(number):
                await self._connection.next_incoming("a command")
                await self._connection.next_outgoing("an answer")

    async def expect_completed(self, within_s: float | None = None) -> None:
        """Expect both sides of the connection to finish.

        Raises:
            Mismatch: If one does not.
        """
        if self._connection is not None:
            await self._connection.expect_completed(within_s)


class Client:
    """A client of one model entity."""

    def __init__(self, examination: Examination, entity_id: str) -> None:
        self._proxy = examination.the_proxy()
        self._entity_id = entity_id

    async def expect(self, *actions: RequestAction, state: State) -> None:
        await self._proxy.expect(
            MODEL, "Process", request(self._entity_id, *actions), Response(state=state)
        )

    async def expect_failure(self, *actions: RequestAction, description: str) -> None:
        await self._proxy.expect_failure(
            MODEL, "Process", request(self._entity_id, *actions), Response, description
        )

    async def expect_json(self, *actions: RequestAction, state: object) -> None:
        path = f"{MODEL_PATH}/{self._entity_id}"
        await self._proxy.expect_json(path, _body(actions), {"state": state})

    async def expect_http_failure(self, *actions: RequestAction, text: str) -> None:
        path = f"{MODEL_PATH}/{self._entity_id}"
        await self._proxy.expect_http_failure(path, _body(actions), text)

    def stream(self) -> AbstractAsyncContextManager[ProtocolStream[StreamedRequest, Response]]:
        return self._proxy.stream(MODEL, "ProcessStreamed", StreamedRequest, Response)


def _body(actions: tuple[RequestAction, ...]) -> object:
    return MessageToDict(Request(actions=actions))


def _sides(examination: Examination, type_: str) -> tuple[str, Client, Wire]:
    entity_id = examination.new_entity_id(type_)
    return entity_id, Client(examination, entity_id), Wire(examination, MODEL, entity_id)


async def _delete(client: Client, wire: Wire, state: State) -> None:
    """Delete an entity; its connection must be over."""
    await client.expect(delete(), state=state)
    await wire.expect(delete(), gives=replies(state, deletes=True))
    await wire.expect_completed()


async def state_changes(examination: Examination) -> None:
    _, client, wire = _sides(examination, "PNCounter")

    await client.expect(state=pncounter_state(0))
    await wire.expect_start()
    await wire.expect(gives=replies(pncounter_state(0)))
    for changes, total, delta in (((1, -2, 3), 2, 2), ((4, -5, 6), 7, 5)):
        asked = updates(*map(pncounter_update, changes))
        await client.expect(*asked, state=pncounter_state(total))
        answer = replies(pncounter_state(total), pncounter_delta(delta))
        await wire.expect(*asked, gives=answer)
    await _delete(client, wire, pncounter_state(7))


async def forward_and_effect(examination: Examination) -> None:
    entity_id, client, wire = _sides(examination, "GSet")
    other = Wire(examination, TWO, entity_id)
    one = gset_state(["one"])

    await client.expect(*updates(gset_update("one")), state=one)
    await wire.expect_start()
    await wire.expect(*updates(gset_update("one")), gives=replies(one, gset_delta(["one"])))

    proxy = examination.the_proxy()
    await proxy.expect(MODEL, "Process", request(entity_id, forward(entity_id)), Response())
    await wire.expect(forward(entity_id), gives=forwards(entity_id))
    await other.expect_start()
    await other.expect(gives=replies(None))

    await client.expect(effect(entity_id), state=one)
    await wire.expect(effect(entity_id), gives=replies(one, effects=[side_effect(entity_id)]))
    await other.expect(gives=replies(None))

    await _delete(client, wire, one)
    await proxy.expect(TWO, "Call", request(entity_id, delete()), Response())
    await other.expect(delete(), gives=replies(None, deletes=True))
    await other.expect_completed()


async def failures(examination: Examination) -> None:
    _, client, wire = _sides(examination, "GCounter")
    counted = updates(gcounter_update(42))

    await client.expect(*counted, state=gcounter_state(42))
    await wire.expect_start()
    await wire.expect(*counted, gives=replies(gcounter_state(42), gcounter_delta(42)))
    await client.expect_failure(fail(EXPECTED_FAILURE), description=EXPECTED_FAILURE)
    await wire.expect(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE))
    await _delete(client, wire, gcounter_state(42))


async def connection_tracking(examination: Examination) -> None:
    """Watch who is there: a client that connects votes, and takes it back when it leaves."""
    entity_id, client, wire = _sides(examination, "Vote")
    nobody, one = vote_state(False, 0, 1), vote_state(True, 1, 1)
    watching = StreamedRequest(id=entity_id)
    connecting = StreamedRequest(
        id=entity_id,
        initial_update=vote_update(True),
        cancel_update=vote_update(False),
        empty=True,
    )
    async with client.stream() as monitor:
        await monitor.send(watching)
        await monitor.half_close()
        await monitor.expect("the monitor's first element", Response(state=nobody))
        await wire.expect_start()
        await wire.expect_stream(watching, gives=replies(nobody, streamed=True))
        async with client.stream() as connection:
            await connection.send(connecting)
            await connection.half_close()
            await connection.expect_silence("elements of the connection", SILENCE_S)
            await wire.expect_stream(connecting, gives=accepts(vote_delta(True)))
            await wire.expect_outgoing(pushed(1, one))
            await monitor.expect("the monitor's element about a vote", Response(state=one))
        await wire.expect_cancelled(2, cancelled(2, vote_delta(False)))
        await wire.expect_outgoing(pushed(1, nobody))
        await monitor.expect("the monitor's element about none", Response(state=nobody))
    await wire.expect_cancelled(1, cancelled(1))
    await _delete(client, wire, nobody)


async def over_http(examination: Examination) -> None:
    entity_id, client, wire = _sides(examination, "PNCounter")
    other = Wire(examination, TWO, entity_id)

    await client.expect_json(state=_json(0))
    await wire.expect_start()
    await wire.expect(gives=replies(pncounter_state(0)))

    # No rule in the descriptors: the path is that of the gRPC method.
    await examination.the_proxy().expect_json(f"{TWO}/Call", {"id": entity_id}, {})
    await other.expect_start()
    await other.expect(gives=replies(None))

    await _expect_change_over_http(client, wire, 42, 42)
    await client.expect_http_failure(fail(EXPECTED_FAILURE), text=EXPECTED_FAILURE)
    await wire.expect(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE))
    await _expect_change_over_http(client, wire, -123, -81)
    await client.expect_json(delete(), state=_json(-81))
    await wire.expect(delete(), gives=replies(pncounter_state(-81), deletes=True))
    await wire.expect_completed()


async def _expect_change_over_http(client: Client, wire: Wire, by: int, total: int) -> None:
    asked = updates(pncounter_update(by))
    await client.expect_json(*asked, state=_json(total))
    await wire.expect(*asked, gives=replies(pncounter_state(total), pncounter_delta(by)))


def _json(value: int) -> object:
    return {"pncounter": {"value": str(value)}}


async def passivation(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    wire = Wire(examination, CONFIGURED, entity_id)

    await examination.the_proxy().expect(CONFIGURED, "Call", request(entity_id), Response())
    await wire.expect_start()
    await wire.expect(gives=replies(None))
    await wire.expect_completed(PASSIVATED_WITHIN_S)


async def commands_at_once(examination: Examination) -> None:
    """Send several commands at once; all must count, on one stream."""
    entity_id, client, wire = _sides(examination, "GCounter")
    proxy = examination.the_proxy()
    asked = request(entity_id, *updates(gcounter_update(1)))

    await client.expect(state=gcounter_state(0))
    await wire.expect_start()
    await wire.expect(gives=replies(gcounter_state(0)))
    found = await asyncio.gather(
        *(proxy.call(MODEL, "Process", asked, Response) for _ in range(CONCURRENT_COMMANDS))
    )
    counts = sorted(response.state.gcounter.value for response in found)
    expected = list(range(1, CONCURRENT_COMMANDS + 1))
    if counts != expected:
        raise Mismatch("the counts in the replies", expected=expected, found=counts)
    await wire.expect_exchanges(CONCURRENT_COMMANDS)
    await client.expect(state=gcounter_state(CONCURRENT_COMMANDS))
    await wire.expect_exchanges(1)


async def stream_ends(examination: Examination) -> None:
    """Watch a counter until it is three; then the client's stream must end."""
    entity_id, client, wire = _sides(examination, "GCounter")
    until = StreamedRequest(id=entity_id, end_state=gcounter_state(3))
    async with client.stream() as watcher:
        await watcher.send(until)
        await watcher.half_close()
        await watcher.expect("the first element", Response(state=gcounter_state(0)))
        await wire.expect_start()
        await wire.expect_stream(until, gives=replies(gcounter_state(0), streamed=True))
        counted = updates(gcounter_update(3))
        await client.expect(*counted, state=gcounter_state(3))
        await wire.expect(*counted, gives=replies(gcounter_state(3), gcounter_delta(3)))
        await wire.expect_outgoing(pushed(1, gcounter_state(3), ends=True))
        await watcher.expect("the last element", Response(state=gcounter_state(3)))
        await watcher.expect_end("the end of the stream")


async def deleted_for_ever(examination: Examination) -> None:
    """Delete a counter; what comes later must be refused."""
    _, client, wire = _sides(examination, "GCounter")
    counted = updates(gcounter_update(1))

    await client.expect(*counted, state=gcounter_state(1))
    await wire.expect_start()
    await wire.expect(*counted, gives=replies(gcounter_state(1), gcounter_delta(1)))
    await _delete(client, wire, gcounter_state(1))
    await client.expect_failure(*counted, description="Entity deleted")


case = partial(Case, kind="crdt", phase=Phase.PROXY)

CASES = (
    case("CP1", "state changes on one connection", needs=frozenset({MODEL}), run=state_changes),
    case(
        "CP2",
        "forwards and side effects reach the other entity",
        needs=frozenset({MODEL, TWO}),
        run=forward_and_effect,
    ),
    case(
        "CP3",
        "a failure reaches the client, and the entity goes on",
        needs=frozenset({MODEL}),
        run=failures,
    ),
    case(
        "CP4",
        "streams tell who is connected",
        needs=frozenset({MODEL}),
        run=connection_tracking,
    ),
    case("CP5", "the same over HTTP", needs=frozenset({MODEL, TWO}), run=over_http),
    case("CP6", "an idle entity is passivated", needs=frozenset({CONFIGURED}), run=passivation),
    case(
        "CPX1",
        "commands that come at once all count",
        needs=frozenset({MODEL}),
        run=commands_at_once,
    ),
    case(
        "CPX2",
        "a client's stream ends when the user function says so",
        needs=frozenset({MODEL}),
        run=stream_ends,
    ),
    case(
        "CPX3",
        "an entity that was deleted takes no commands",
        needs=frozenset({MODEL}),
        run=deleted_for_ever,
    ),
)
