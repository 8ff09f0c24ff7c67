"""Event sourced entities: cases of our own, which the original suite does not have.

The snapshot rule where events go beyond a multiple, and what a user function says to a proxy that
breaks the protocol: a failure message, and the end of the stream with success. The texts are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import Command
from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate_core.anys import MESSAGE_PREFIX, pack_message
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.cases.event_sourced_model import activated, emits
from cloudstate_tck.event_sourced_messages import MODEL, command_in, event, init, replies, request
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.protocol import EVENT_SOURCED

__all__ = ["CASES"]

ENTITY_ID = "broken"
COMMAND_ID = 7


@dataclass(frozen=True, slots=True)
class Fault:
    """What a proxy sends that breaks the protocol, and the command that the failure is about."""

    id: str
    title: str
    messages: Sequence[EventSourcedStreamIn]
    command_id: int = 0


def _command(
    payload: Any | None, *, entity_id: str = ENTITY_ID, name: str = "Process"
) -> EventSourcedStreamIn:
    sent = Command(entity_id=entity_id, id=COMMAND_ID, name=name, payload=payload)
    return EventSourcedStreamIn(command=sent)


INIT = init(MODEL, ENTITY_ID)
PAYLOAD = pack_message(request(ENTITY_ID))
UNKNOWN_EVENT = event(1, "")
UNKNOWN_EVENT.event.payload.CopyFrom(Any(type_url=MESSAGE_PREFIX + "no.such.Event"))

FAULTS = (
    Fault("EX4", "a command before init fails the stream", [command_in(ENTITY_ID, 1)]),
    Fault("EX5", "an event before init fails the stream", [event(1, "A")]),
    Fault("EX6", "an unknown service fails the stream", [init("no.such.Service", ENTITY_ID)]),
    Fault("EX7", "a second init fails the stream", [INIT, INIT]),
    Fault("EX8", "an empty message fails the stream", [INIT, EventSourcedStreamIn()]),
    Fault("EX9", "an event of an unknown type fails the stream", [INIT, UNKNOWN_EVENT]),
    Fault(
        "EX10",
        "a command for another entity fails the stream",
        [INIT, _command(PAYLOAD, entity_id="another")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "EX11",
        "a command without a payload fails the stream",
        [INIT, _command(None)],
        command_id=COMMAND_ID,
    ),
    Fault(
        "EX12",
        "an unknown command fails the stream",
        [INIT, _command(PAYLOAD, name="NoSuchCommand")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "EX13",
        "a payload that cannot be read fails the stream",
        [INIT, _command(Any(type_url=PAYLOAD.type_url, value=b"\xff\xff"))],
        command_id=COMMAND_ID,
    ),
)


async def run_fault(fault: Fault, examination: Examination) -> None:
    """Break the protocol; expect a failure message and the end."""
    async with examination.the_function().stream(EVENT_SOURCED) as stream:
        await stream.send(*fault.messages)
        what = "the answer to a proxy that breaks the protocol"
        found = await stream.receive(what, "a failure of the stream")
        if not found.HasField("failure"):
            raise Mismatch(what, expected="a failure of the stream", found=found)
        expect_equal("the command id in the failure", fault.command_id, found.failure.command_id)
        await stream.expect_end("the end of the stream after the failure")


async def snapshot_beyond_the_multiple(examination: Examination) -> None:
    async with activated(examination, examination.new_entity_id()) as entity:
        await entity.expect(*emits("ABCD"), gives=replies("ABCD", events="ABCD"))
        await entity.expect(
            *emits("EFG"), gives=replies("ABCDEFG", events="EFG", snapshot="ABCDEFG")
        )
        await entity.expect(*emits("HI"), gives=replies("ABCDEFGHI", events="HI"))
        await entity.expect(
            *emits("J"), gives=replies("ABCDEFGHIJ", events="J", snapshot="ABCDEFGHIJ")
        )


async def snapshot_counts_what_is_stored(examination: Examination) -> None:
    complete = replies("ABCDEFGHIJ", events="J", snapshot="ABCDEFGHIJ")
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id, (7, "ABCDEFG")) as entity:
        await entity.expect(*emits("HI"), gives=replies("ABCDEFGHI", events="HI"))
        await entity.expect(*emits("J"), gives=complete)
    async with activated(examination, entity_id, (7, "ABCDEFG"), [(8, "H")]) as entity:
        await entity.expect(*emits("I"), gives=replies("ABCDEFGHI", events="I"))
        await entity.expect(*emits("J"), gives=complete)


async def streams_are_apart(examination: Examination) -> None:
    """Interleave the commands of two entities."""
    first, second = examination.new_entity_id(), examination.new_entity_id()
    async with activated(examination, first) as one, activated(examination, second) as two:
        await one.expect(*emits("A"), gives=replies("A", events="A"))
        await two.expect(*emits("1"), gives=replies("1", events="1"))
        await one.expect(*emits("B"), gives=replies("AB", events="B"))
        await two.expect(*emits("2"), gives=replies("12", events="2"))


case = partial(Case, kind="eventsourced", phase=Phase.MODEL, needs=frozenset({MODEL}))

CASES = (
    case(
        "EX1",
        "a snapshot covers the events beyond the multiple",
        run=snapshot_beyond_the_multiple,
    ),
    case(
        "EX2",
        "snapshots count the events that were stored before",
        run=snapshot_counts_what_is_stored,
    ),
    case("EX3", "two entities keep apart", run=streams_are_apart),
    *(case(fault.id, fault.title, run=partial(run_fault, fault)) for fault in FAULTS),
)
