"""Value entities: what a proxy does, seen by a client and between proxy and function.

Where nobody can listen between the two, the cases look at what the client sees. Cases whose id
begins with VPX are our own; the original suite does not have them.
"""

from __future__ import annotations

import asyncio
from functools import partial

from google.protobuf.json_format import MessageToDict

from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.model.valueentity_pb2 import Request, RequestAction, Response
from cloudstate_tck.protocol import VALUE_ENTITY
from cloudstate_tck.recorder import Connection
from cloudstate_tck.value_entity_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    Answer,
    command,
    delete,
    effect,
    fail,
    fails,
    forward,
    forwards,
    init,
    replies,
    request,
    side_effect,
    update,
)

__all__ = ["CASES"]

#: An entity with a timeout of 100 ms has to be gone by then.
PASSIVATED_WITHIN_S = 2.0

CONCURRENT_COMMANDS = 8

MODEL_PATH = "tck/model/entity"


class Wire:
    """One activation as it is seen between proxy and function; sees nothing without a recorder."""

    def __init__(self, examination: Examination, service: str, entity_id: str) -> None:
        self._recorder = examination.recorder
        self._service = service
        self._entity_id = entity_id
        self._method = "Process" if service == MODEL else "Call"
        self._connection: Connection | None = None
        self._command_id = 0

    async def expect_start(self, value: str | None = None) -> None:
        """Expect a new connection for the entity, with what is stored of it.

        Raises:
            Mismatch: If there is none, or it starts with anything else.
        """
        if self._recorder is None:
            return
        self._connection = await self._recorder.expect_connection(VALUE_ENTITY.path)
        self._command_id = 0
        await self._connection.expect_incoming(init(self._service, self._entity_id, value))

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Expect the next command on the connection, and its answer.

        Raises:
            Mismatch: If either differs or is missing.
        """
        if self._connection is None:
            return
        self._command_id += 1
        payload = request(self._entity_id, *actions)
        await self._connection.expect_incoming(
            command(self._entity_id, self._command_id, payload, self._method)
        )
        await self._connection.expect_outgoing(gives(self._command_id))

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

    async def expect(self, *actions: RequestAction, state: str) -> None:
        await self._proxy.expect(
            MODEL, "Process", request(self._entity_id, *actions), Response(message=state)
        )

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
    for value in ("one", "two"):
        await client.expect(update(value), state=value)
        await wire.expect(update(value), gives=replies(value, updates=value))
    await client.expect(state="two")
    await wire.expect(gives=replies("two"))
    await client.expect(delete(), state="")
    await wire.expect(delete(), gives=replies("", deletes=True))
    await client.expect(state="")
    await wire.expect(gives=replies(""))
    await client.expect(update("foo"), state="foo")
    await wire.expect(update("foo"), gives=replies("foo", updates="foo"))
    await client.expect(delete(), state="")
    await wire.expect(delete(), gives=replies("", deletes=True))


async def forward_and_effect(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    other = Wire(examination, TWO, entity_id)

    await client.expect(update("one"), state="one")
    await wire.expect_start()
    await wire.expect(update("one"), gives=replies("one", updates="one"))

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

    await client.expect(update("one"), state="one")
    await wire.expect_start()
    await wire.expect(update("one"), gives=replies("one", updates="one"))
    await client.expect_failure(fail("expected failure"), description="expected failure")
    await wire.expect(fail("expected failure"), gives=fails("expected failure"))
    await client.expect(state="one")
    await wire.expect(gives=replies("one"))


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

    await client.expect_json(update("one"), state="one")
    await wire.expect(update("one"), gives=replies("one", updates="one"))
    await client.expect_http_failure(fail("expected failure"), text="expected failure")
    await wire.expect(fail("expected failure"), gives=fails("expected failure"))
    await client.expect_json(update("two"), state="two")
    await wire.expect(update("two"), gives=replies("two", updates="two"))
    await client.expect_json(state="two")
    await wire.expect(gives=replies("two"))


async def passivation(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    wire = Wire(examination, CONFIGURED, entity_id)

    await examination.the_proxy().expect(CONFIGURED, "Call", request(entity_id), Response())
    await wire.expect_start()
    await wire.expect(gives=replies(""))
    await wire.expect_completed(PASSIVATED_WITHIN_S)


async def failure_drops_the_update(examination: Examination) -> None:
    """Update and fail in one command: neither user function nor store may keep the value."""
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    failing = update("two"), fail("no")

    await client.expect(update("one"), state="one")
    await wire.expect_start()
    await wire.expect(update("one"), gives=replies("one", updates="one"))
    await client.expect_failure(*failing, description="no")
    await wire.expect(*failing, gives=fails("no"))
    await client.expect(state="one")
    await wire.expect(gives=replies("one"))


async def one_command_at_a_time(examination: Examination) -> None:
    """Send several commands at once; the entity must get one after the other, on one stream."""
    entity_id = examination.new_entity_id()
    client, wire = Client(examination, entity_id), Wire(examination, MODEL, entity_id)
    same = update("n")

    await asyncio.gather(*(client.expect(same, state="n") for _ in range(CONCURRENT_COMMANDS)))
    await wire.expect_start()
    for _ in range(CONCURRENT_COMMANDS):
        await wire.expect(same, gives=replies("n", updates="n"))
    await client.expect(state="n")
    await wire.expect(gives=replies("n"))


case = partial(Case, kind="kv", phase=Phase.PROXY)

CASES = (
    case("VP1", "state changes on one connection", needs=frozenset({MODEL}), run=state_changes),
    case(
        "VP2",
        "forwards and side effects reach the other entity",
        needs=frozenset({MODEL, TWO}),
        run=forward_and_effect,
    ),
    case(
        "VP3",
        "a failure reaches the client, and the entity goes on",
        needs=frozenset({MODEL}),
        run=failures,
    ),
    case("VP4", "the same over HTTP", needs=frozenset({MODEL, TWO}), run=over_http),
    case("VP5", "an idle entity is passivated", needs=frozenset({CONFIGURED}), run=passivation),
    case(
        "VPX1",
        "a failure drops the update before it",
        needs=frozenset({MODEL}),
        run=failure_drops_the_update,
    ),
    case(
        "VPX2",
        "concurrent commands reach an entity one at a time",
        needs=frozenset({MODEL}),
        run=one_command_at_a_time,
    ),
)
