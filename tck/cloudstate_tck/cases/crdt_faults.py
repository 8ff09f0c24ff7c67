"""CRDTs: cases of our own, which the original suite does not have.

Streams that see what is changed elsewhere, several streams at once, and what a user function says
to a proxy that breaks the protocol: a failure message, and the end of the stream with success. The
texts are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import CrdtDelta, CrdtStreamIn
from cloudstate.entity_pb2 import Command
from cloudstate_core.anys import pack_message
from cloudstate_tck.crdt_messages import (
    MODEL,
    accepts,
    cancelled,
    command_in,
    init,
    pushed,
    replicated,
    replies,
    request,
    updates,
)
from cloudstate_tck.crdt_scripts import Activation, activated, case
from cloudstate_tck.crdt_values import (
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_delta,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.model.crdt_pb2 import StreamedRequest
from cloudstate_tck.protocol import CRDT

__all__ = ["CASES"]

ENTITY_ID = "GCounter-broken"
COMMAND_ID = 7


@dataclass(frozen=True, slots=True)
class Fault:
    """What a proxy sends that breaks the protocol, and the command that the failure is about."""

    id: str
    title: str
    messages: Sequence[CrdtStreamIn]
    command_id: int = 0


def _command(
    payload: Any | None, *, entity_id: str = ENTITY_ID, name: str = "Process"
) -> CrdtStreamIn:
    return CrdtStreamIn(
        command=Command(entity_id=entity_id, id=COMMAND_ID, name=name, payload=payload)
    )


INIT = init(MODEL, ENTITY_ID)
PAYLOAD = pack_message(request(ENTITY_ID))

FAULTS = (
    Fault("CX7", "a command before init fails the stream", [command_in(ENTITY_ID, 1)]),
    Fault("CX8", "a delta before init fails the stream", [replicated(gcounter_delta(1))]),
    Fault("CX9", "an unknown service fails the stream", [init("no.such.Service", ENTITY_ID)]),
    Fault("CX10", "a second init fails the stream", [INIT, INIT]),
    Fault("CX11", "an empty message fails the stream", [INIT, CrdtStreamIn()]),
    Fault(
        "CX12",
        "a command for another entity fails the stream",
        [INIT, _command(PAYLOAD, entity_id="another")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "CX13",
        "a command without a payload fails the stream",
        [INIT, _command(None)],
        command_id=COMMAND_ID,
    ),
    Fault(
        "CX14",
        "an unknown command fails the stream",
        [INIT, _command(PAYLOAD, name="NoSuchCommand")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "CX15",
        "a payload that cannot be read fails the stream",
        [INIT, _command(Any(type_url=PAYLOAD.type_url, value=b"\xff\xff"))],
        command_id=COMMAND_ID,
    ),
    Fault(
        "CX16",
        "a delta of another type fails the stream",
        [init(MODEL, ENTITY_ID, gcounter_delta(1)), replicated(gset_delta("a"))],
    ),
    Fault(
        "CX17",
        "a delta of no type fails the stream",
        [init(MODEL, ENTITY_ID, gcounter_delta(1)), replicated(CrdtDelta())],
    ),
)


async def run_fault(fault: Fault, examination: Examination) -> None:
    """Break the protocol; expect a failure message and the end."""
    async with examination.the_function().stream(CRDT) as stream:
        await stream.send(*fault.messages)
        what = "the answer to a proxy that breaks the protocol"
        found = await stream.receive(what, "a failure of the stream")
        if not found.HasField("failure"):
            raise Mismatch(what, expected="a failure of the stream", found=found)
        expect_equal("the command id in the failure", fault.command_id, found.failure.command_id)
        await stream.expect_end("the end of the stream after the failure")


async def streams_are_apart(examination: Examination) -> None:
    """Interleave the commands of two entities."""
    first, second = (examination.new_entity_id("GCounter") for _ in range(2))
    async with activated(examination, first) as one, activated(examination, second) as two:
        await expect_count(one, 1, 1)
        await two.expect(gives=replies(gcounter_state(0)))
        await two.tell(gcounter_delta(10))
        await expect_count(two, 2, 12)
        await one.expect(gives=replies(gcounter_state(1)))


async def expect_count(entity: Activation, by: int, total: int) -> None:
    """Increment a GCounter and compare the answer.

    Raises:
        Mismatch: If it differs.
    """
    answer = replies(gcounter_state(total), gcounter_delta(by))
    await entity.expect(*updates(gcounter_update(by)), gives=answer)


async def streamed_from_elsewhere(examination: Examination) -> None:
    """Watch a counter that is changed elsewhere, until it is three."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        until = StreamedRequest(end_state=gcounter_state(3))
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(until, gives=first)
        await entity.tell(gcounter_delta(1))
        await entity.expect_pushed(pushed(watcher, gcounter_state(1)))
        await entity.tell(gcounter_delta(2))
        await entity.expect_pushed(pushed(watcher, gcounter_state(3), ends=True))
        await entity.tell(gcounter_delta(4))
        await entity.expect(gives=replies(gcounter_state(7)))


async def several_streams(examination: Examination) -> None:
    """Watch a counter twice; one client leaves, which is not the other's affair.

    A command that changes nothing is none of theirs either.
    """
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        leaver = await entity.expect_stream(StreamedRequest(empty=True), gives=accepts())
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(StreamedRequest(), gives=first)
        await expect_count(entity, 1, 1)
        await entity.expect_pushed(pushed(watcher, gcounter_state(1)))
        await entity.expect(gives=replies(gcounter_state(1)))
        await entity.expect_cancelled(leaver, cancelled(leaver))
        await expect_count(entity, 2, 3)
        await entity.expect_pushed(pushed(watcher, gcounter_state(3)))
        await entity.expect_cancelled(watcher, cancelled(watcher))
        await expect_count(entity, 4, 7)


async def change_by_a_stream(examination: Examination) -> None:
    """Change a counter by the beginning and the end of a stream, and watch it with another."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(StreamedRequest(), gives=first)
        changing = StreamedRequest(
            initial_update=gcounter_update(1), cancel_update=gcounter_update(2), empty=True
        )
        changer = await entity.expect_stream(changing, gives=accepts(gcounter_delta(1)))
        await entity.expect_pushed(pushed(watcher, gcounter_state(1)))
        await entity.expect_cancelled(changer, cancelled(changer, gcounter_delta(2)))
        await entity.expect_pushed(pushed(watcher, gcounter_state(3)))


async def leaves_without_a_listener(examination: Examination) -> None:
    """Leave a stream that nobody has asked anything for its end; it must be answered."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(StreamedRequest(), gives=first)
        await entity.expect_cancelled(watcher, cancelled(watcher))


async def nothing_after_a_deletion(examination: Examination) -> None:
    """Watch a counter that is deleted elsewhere: the stream ends without a word."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        first = replies(gcounter_state(0), streamed=True)
        await entity.expect_stream(StreamedRequest(), gives=first)
        await entity.tell_deleted()


async def commands_at_once(examination: Examination) -> None:
    """Send commands without waiting for answers: each must be answered, and count once."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        counts = [updates(gcounter_update(by)) for by in (1, 2, 4)]
        found = await entity.expect_all(*counts)
        increments = [reply.state_action.update.gcounter.increment for reply in found]
        expect_equal("the increments that are replicated", [1, 2, 4], increments)
        await entity.expect(gives=replies(gcounter_state(7)))


async def leaves_at_the_end(examination: Examination) -> None:
    """Leave a stream that has ended: the two have crossed, and neither side is wrong."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        until = StreamedRequest(end_state=gcounter_state(1))
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(until, gives=first)
        await expect_count(entity, 1, 1)
        await entity.expect_pushed(pushed(watcher, gcounter_state(1), ends=True))
        await entity.expect_tolerated(watcher, gives=replies(gcounter_state(1)))


CASES = (
    case("CX1", "two entities keep apart", run=streams_are_apart),
    case("CX2", "a stream has what is changed elsewhere", run=streamed_from_elsewhere),
    case("CX3", "several streams are apart", run=several_streams),
    case("CX4", "a stream changes the state when it begins and ends", run=change_by_a_stream),
    case("CX5", "the leaving of a client is answered", run=leaves_without_a_listener),
    case("CX6", "a stream says nothing of a deletion", run=nothing_after_a_deletion),
    case("CX18", "commands that come at once are all answered", run=commands_at_once),
    case("CX19", "a client may leave a stream that ends", run=leaves_at_the_end),
    *(case(fault.id, fault.title, run=partial(run_fault, fault)) for fault in FAULTS),
)
