"""Value entities: cases of our own, which the original suite does not have.

What a failure does to a value that was changed before it, and what a user function says to a proxy
that breaks the protocol: a failure message, and the end of the stream with success. The texts are
free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf.any_pb2 import Any

from cloudstate.entity_pb2 import Command
from cloudstate.value_entity_pb2 import ValueEntityStreamIn
from cloudstate_core.anys import pack_message
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.cases.value_entity_model import activated, updates
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.protocol import VALUE_ENTITY
from cloudstate_tck.value_entity_messages import (
    MODEL,
    command_in,
    delete,
    fail,
    fails,
    init,
    replies,
    request,
    update,
)

__all__ = ["CASES"]

ENTITY_ID = "broken"
COMMAND_ID = 7


@dataclass(frozen=True, slots=True)
class Fault:
    """What a proxy sends that breaks the protocol, and the command that the failure is about."""

    id: str
    title: str
    messages: Sequence[ValueEntityStreamIn]
    command_id: int = 0


def _command(
    payload: Any | None, *, entity_id: str = ENTITY_ID, name: str = "Process"
) -> ValueEntityStreamIn:
    sent = Command(entity_id=entity_id, id=COMMAND_ID, name=name, payload=payload)
    return ValueEntityStreamIn(command=sent)


INIT = init(MODEL, ENTITY_ID)
PAYLOAD = pack_message(request(ENTITY_ID))

FAULTS = (
    Fault("VX5", "a command before init fails the stream", [command_in(ENTITY_ID, 1)]),
    Fault("VX6", "an unknown service fails the stream", [init("no.such.Service", ENTITY_ID)]),
    Fault("VX7", "a second init fails the stream", [INIT, INIT]),
    Fault("VX8", "an empty message fails the stream", [INIT, ValueEntityStreamIn()]),
    Fault(
        "VX9",
        "a command for another entity fails the stream",
        [INIT, _command(PAYLOAD, entity_id="another")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "VX10",
        "a command without a payload fails the stream",
        [INIT, _command(None)],
        command_id=COMMAND_ID,
    ),
    Fault(
        "VX11",
        "an unknown command fails the stream",
        [INIT, _command(PAYLOAD, name="NoSuchCommand")],
        command_id=COMMAND_ID,
    ),
    Fault(
        "VX12",
        "a payload that cannot be read fails the stream",
        [INIT, _command(Any(type_url=PAYLOAD.type_url, value=b"\xff\xff"))],
        command_id=COMMAND_ID,
    ),
)


async def run_fault(fault: Fault, examination: Examination) -> None:
    """Break the protocol; expect a failure message and the end."""
    async with examination.the_function().stream(VALUE_ENTITY) as stream:
        await stream.send(*fault.messages)
        what = "the answer to a proxy that breaks the protocol"
        found = await stream.receive(what, "a failure of the stream")
        if not found.HasField("failure"):
            raise Mismatch(what, expected="a failure of the stream", found=found)
        expect_equal("the command id in the failure", fault.command_id, found.failure.command_id)
        await stream.expect_end("the end of the stream after the failure")


async def failure_puts_the_value_back(examination: Examination) -> None:
    async with activated(examination, examination.new_entity_id()) as entity:
        await entity.expect(update("A"), gives=replies("A", updates="A"))
        await entity.expect(*updates("BC"), fail("no"), update("D"), gives=fails("no"))
        await entity.expect(gives=replies("A"))
        await entity.expect(delete(), fail("no"), gives=fails("no"))
        await entity.expect(gives=replies("A"))


async def failure_leaves_nothing(examination: Examination) -> None:
    async with activated(examination, examination.new_entity_id()) as entity:
        await entity.expect(update("A"), fail("no"), gives=fails("no"))
        await entity.expect(gives=replies(""))


async def streams_are_apart(examination: Examination) -> None:
    """Interleave the commands of two entities."""
    first, second = examination.new_entity_id(), examination.new_entity_id()
    async with activated(examination, first) as one, activated(examination, second) as two:
        await one.expect(update("A"), gives=replies("A", updates="A"))
        await two.expect(gives=replies(""))
        await two.expect(update("1"), gives=replies("1", updates="1"))
        await one.expect(gives=replies("A"))


async def stored_value_is_the_state(examination: Examination) -> None:
    entity_id = examination.new_entity_id()
    async with activated(examination, entity_id, "stored") as entity:
        await entity.expect(gives=replies("stored"))
        await entity.expect(delete(), gives=replies("", deletes=True))
        await entity.expect(gives=replies(""))
    async with activated(examination, entity_id, "") as entity:
        await entity.expect(gives=replies(""))


async def init_without_a_state(examination: Examination) -> None:
    """Leave the state out, which says the same as one without a value."""
    entity_id = examination.new_entity_id()
    async with examination.the_function().stream(VALUE_ENTITY) as stream:
        start = init(MODEL, entity_id)
        start.init.ClearField("state")
        await stream.send(start, command_in(entity_id, 1))
        await stream.expect("the answer to command 1", replies("")(1))
        await stream.complete()


case = partial(Case, kind="kv", phase=Phase.MODEL, needs=frozenset({MODEL}))

CASES = (
    case("VX1", "a failure puts the value back", run=failure_puts_the_value_back),
    case("VX2", "a failure leaves no value where there was none", run=failure_leaves_nothing),
    case("VX3", "two entities keep apart", run=streams_are_apart),
    case("VX4", "an init without a state is one without a value", run=init_without_a_state),
    case("VX13", "a value that is stored is the state", run=stored_value_is_the_state),
    *(case(fault.id, fault.title, run=partial(run_fault, fault)) for fault in FAULTS),
)
