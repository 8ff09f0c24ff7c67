"""One session of a CRDT entity, and the messages to and from it, written shortly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any as AnyType

from puppet.puppet_pb2 import Order, Word

from cloudstate.crdt_pb2 import (
    CrdtDelete,
    CrdtDelta,
    CrdtInit,
    CrdtReply,
    CrdtStateAction,
    CrdtStreamCancelledResponse,
    CrdtStreamedMessage,
    CrdtStreamIn,
    CrdtStreamOut,
)
from cloudstate.entity_pb2 import (
    ClientAction,
    Command,
    Failure,
    Reply,
    SideEffect,
    StreamCancelled,
)
from cloudstate_core.anys import encode
from cloudstate_core.metadata import EMPTY_METADATA
from cloudstate_crdt.context import Subscription
from cloudstate_crdt.data import Crdt, GCounter
from cloudstate_crdt.session import (
    CallHandler,
    CrdtSession,
    End,
    Instruction,
    Returned,
    Send,
)

SERVICE = "puppet.Puppet"
REPLY = ClientAction(reply=Reply(payload=encode(Word(text="ok"))))
FAILED = ClientAction(failure=Failure(description="no"))
EFFECT = SideEffect(service_name="other", command_name="Do")


def nothing(_: object) -> None:
    """Listen to nothing."""


def init(delta: CrdtDelta | None = None, **fields: AnyType) -> CrdtStreamIn:
    return CrdtStreamIn(
        init=CrdtInit(**{"service_name": SERVICE, "entity_id": "e", "delta": delta, **fields})
    )


def command(id_: int = 1, **fields: AnyType) -> Command:
    payload = encode(Order(id="e"))
    return Command(**{"entity_id": "e", "id": id_, "name": "Do", "payload": payload, **fields})


def sent(id_: int = 1, **fields: AnyType) -> CrdtStreamIn:
    return CrdtStreamIn(command=command(id_, **fields))


def elsewhere(delta: CrdtDelta) -> CrdtStreamIn:
    return CrdtStreamIn(delta=delta)


def left(id_: int, entity_id: str = "e") -> CrdtStreamIn:
    return CrdtStreamIn(stream_cancelled=StreamCancelled(entity_id=entity_id, id=id_))


def subscription(id_: int = 1, **listeners: AnyType) -> Subscription:
    on = {"on_change": nothing, "on_cancel": nothing, **listeners}
    return Subscription(id_, "Watch", EMPTY_METADATA, on["on_change"], on["on_cancel"])


def reply(
    id_: int = 1,
    change: CrdtDelta | CrdtDelete | None = None,
    *,
    client_action: ClientAction | None = REPLY,
    **fields: AnyType,
) -> Send:
    message = CrdtReply(
        command_id=id_, client_action=client_action, state_action=action(change), **fields
    )
    return Send(CrdtStreamOut(reply=message))


def pushed(id_: int = 1, client_action: ClientAction | None = REPLY, **fields: AnyType) -> Send:
    message = CrdtStreamedMessage(command_id=id_, client_action=client_action, **fields)
    return Send(CrdtStreamOut(streamed_message=message))


def settled(id_: int = 1, change: CrdtDelta | None = None, **fields: AnyType) -> Send:
    response = CrdtStreamCancelledResponse(command_id=id_, state_action=action(change), **fields)
    return Send(CrdtStreamOut(stream_cancelled_response=response))


def action(change: CrdtDelta | CrdtDelete | None) -> CrdtStateAction | None:
    match change:
        case None:
            return None
        case CrdtDelete():
            return CrdtStateAction(delete=change)
        case _:
            return CrdtStateAction(update=change)


class Entity:
    """One session, with handlers written where they are called."""

    def __init__(self, delta: CrdtDelta | None = None) -> None:
        self.session = CrdtSession({SERVICE})
        assert self.session.receive(init(delta)) == ()

    def ask(
        self,
        id_: int = 1,
        change: Callable[[AnyType], object] = nothing,
        returned: Returned | None = None,
    ) -> Sequence[Instruction]:
        """Send a command, whose handler changes the CRDT."""
        assert self.session.receive(sent(id_)) == (CallHandler(command(id_)),)
        change(self.counter())
        return self.session.receive(returned or Returned(REPLY))

    def watch(self, id_: int = 1, **listeners: AnyType) -> Subscription:
        """Begin a stream."""
        opened = subscription(id_, **listeners)
        answer = self.ask(id_, returned=Returned(REPLY, subscription=opened))
        assert answer == (reply(id_, streamed=True),)
        return opened

    def counter(self) -> Crdt:
        """Do what a handler's context does that is asked for the state."""
        copy = self.session.copy
        return copy.create(GCounter) if copy.crdt is None else copy.crdt

    def value(self) -> int:
        assert isinstance(self.session.copy.crdt, GCounter)
        return self.session.copy.crdt.value


def add(by: int) -> Callable[[GCounter], None]:
    return lambda counter: counter.increment(by)


def failure_of(instructions: Sequence[Instruction]) -> Failure:
    """Return the failure with which the stream ends."""
    send, end = instructions
    assert isinstance(send, Send)
    assert end == End()
    assert send.message.HasField("failure")
    return send.message.failure
