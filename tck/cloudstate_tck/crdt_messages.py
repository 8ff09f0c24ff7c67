"""Messages between a proxy and the model CRDT entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import TypeVar

from google.protobuf.any_pb2 import Any

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
    CrdtWriteConsistency,
)
from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect, StreamCancelled
from cloudstate.entity_pb2 import Forward as ProtocolForward
from cloudstate.entity_pb2 import Reply as ProtocolReply
from cloudstate_core.anys import pack_message
from cloudstate_tck.crdt_values import in_order
from cloudstate_tck.expectations import expect_equal
from cloudstate_tck.model.crdt_pb2 import (
    Delete,
    Effect,
    Fail,
    Forward,
    Request,
    RequestAction,
    Response,
    State,
    StreamedRequest,
    Update,
)

__all__ = [
    "CONFIGURED",
    "MODEL",
    "TWO",
    "Answer",
    "accepts",
    "cancel",
    "cancelled",
    "command",
    "command_in",
    "delete",
    "deleted",
    "effect",
    "expect_same",
    "fail",
    "fails",
    "forward",
    "forwards",
    "init",
    "pushed",
    "replicated",
    "replies",
    "request",
    "side_effect",
    "updates",
    "with_consistency",
]

MODEL = "cloudstate.tck.model.crdt.CrdtTckModel"
TWO = "cloudstate.tck.model.crdt.CrdtTwo"
CONFIGURED = "cloudstate.tck.model.crdt.CrdtConfigured"

#: What a user function should say to a command, once the command's id is known.
Answer = Callable[[int], CrdtStreamOut]

Said = TypeVar("Said", CrdtStreamIn, CrdtStreamOut)


# --- What the model is asked to do --------------------------------------------------------


def updates(*asked: Update) -> tuple[RequestAction, ...]:
    return tuple(RequestAction(update=update) for update in asked)


def with_consistency(update: Update, consistency: CrdtWriteConsistency) -> RequestAction:
    asked = Update()
    asked.CopyFrom(update)
    # The two enumerations have the same numbers.
    asked.write_consistency = int(consistency)  # type: ignore[assignment]
    return RequestAction(update=asked)


def delete() -> RequestAction:
    return RequestAction(delete=Delete())


def forward(entity_id: str) -> RequestAction:
    return RequestAction(forward=Forward(id=entity_id))


def effect(entity_id: str, *, synchronous: bool = False) -> RequestAction:
    return RequestAction(effect=Effect(id=entity_id, synchronous=synchronous))


def fail(message: str) -> RequestAction:
    return RequestAction(fail=Fail(message=message))


def request(entity_id: str, *actions: RequestAction) -> Request:
    return Request(id=entity_id, actions=actions)


# --- From the proxy -----------------------------------------------------------------------


def init(service: str, entity_id: str, delta: CrdtDelta | None = None) -> CrdtStreamIn:
    """Start a stream, with the whole state as a delta; without it if there is no state."""
    return CrdtStreamIn(init=CrdtInit(service_name=service, entity_id=entity_id, delta=delta))


def replicated(delta: CrdtDelta) -> CrdtStreamIn:
    """Tell of a change from elsewhere."""
    return CrdtStreamIn(delta=delta)


def deleted() -> CrdtStreamIn:
    """Tell of a deletion elsewhere."""
    return CrdtStreamIn(delete=CrdtDelete())


def command(
    entity_id: str,
    command_id: int,
    payload: Request | StreamedRequest,
    name: str = "Process",
) -> CrdtStreamIn:
    # `metadata` stays unset (Cloudstate protocol, CRDT commands).
    streamed = isinstance(payload, StreamedRequest)
    packed = pack_message(payload)
    return CrdtStreamIn(
        command=Command(
            entity_id=entity_id, id=command_id, name=name, payload=packed, streamed=streamed
        )
    )


def command_in(entity_id: str, command_id: int, *actions: RequestAction) -> CrdtStreamIn:
    """Ask the model entity to carry out actions."""
    return command(entity_id, command_id, request(entity_id, *actions))


def cancel(entity_id: str, command_id: int) -> CrdtStreamIn:
    """Tell that the client of a streamed command has left."""
    return CrdtStreamIn(stream_cancelled=StreamCancelled(entity_id=entity_id, id=command_id))


# --- From the user function ---------------------------------------------------------------


def side_effect(entity_id: str, *, synchronous: bool = False) -> SideEffect:
    return SideEffect(
        service_name=TWO, command_name="Call", payload=_other(entity_id), synchronous=synchronous
    )


def replies(
    state: State | None,
    delta: CrdtDelta | None = None,
    *,
    deletes: bool = False,
    effects: Iterable[SideEffect] = (),
    consistency: CrdtWriteConsistency | None = None,
    streamed: bool = False,
) -> Answer:
    """Reply with the state, and change or delete what is replicated."""
    reply = CrdtReply(client_action=_state_reply(state), side_effects=effects, streamed=streamed)
    _change(reply, delta, deletes=deletes)
    if consistency is not None:
        reply.state_action.write_consistency = consistency
    return _answers(reply)


def accepts(delta: CrdtDelta | None = None) -> Answer:
    """Accept a streamed command without a first element."""
    reply = CrdtReply(streamed=True)
    _change(reply, delta)
    return _answers(reply)


def forwards(
    entity_id: str, delta: CrdtDelta | None = None, *, effects: Iterable[SideEffect] = ()
) -> Answer:
    """Forward to the second entity."""
    target = ProtocolForward(service_name=TWO, command_name="Call", payload=_other(entity_id))
    reply = CrdtReply(client_action=ClientAction(forward=target), side_effects=effects)
    _change(reply, delta)
    return _answers(reply)


def fails(description: str) -> Answer:
    """Fail the command, and nothing else."""

    def answer(command_id: int) -> CrdtStreamOut:
        action = ClientAction(failure=Failure(command_id=command_id, description=description))
        return CrdtStreamOut(reply=CrdtReply(command_id=command_id, client_action=action))

    return answer


def pushed(
    command_id: int,
    state: State | None,
    *,
    effects: Iterable[SideEffect] = (),
    ends: bool = False,
) -> CrdtStreamOut:
    """Send another element of a streamed command; without a state, none."""
    message = CrdtStreamedMessage(command_id=command_id, side_effects=effects, end_stream=ends)
    if state is not None:
        message.client_action.CopyFrom(_state_reply(state))
    return CrdtStreamOut(streamed_message=message)


def cancelled(command_id: int, delta: CrdtDelta | None = None) -> CrdtStreamOut:
    """Answer to the leaving of a client."""
    response = CrdtStreamCancelledResponse(command_id=command_id)
    _change(response, delta)
    return CrdtStreamOut(stream_cancelled_response=response)


def _other(entity_id: str) -> Any:
    return pack_message(Request(id=entity_id))


def _state_reply(state: State | None) -> ClientAction:
    return ClientAction(reply=ProtocolReply(payload=pack_message(Response(state=state))))


def _change(
    said: CrdtReply | CrdtStreamCancelledResponse,
    delta: CrdtDelta | None,
    *,
    deletes: bool = False,
) -> None:
    if deletes:
        said.state_action.CopyFrom(CrdtStateAction(delete=CrdtDelete()))
    elif delta is not None:
        said.state_action.CopyFrom(CrdtStateAction(update=delta))


def _answers(reply: CrdtReply) -> Answer:
    def answer(command_id: int) -> CrdtStreamOut:
        answered = CrdtStreamOut(reply=reply)
        answered.reply.command_id = command_id
        return answered

    return answer


# --- Comparing ----------------------------------------------------------------------------


def expect_same(what: str, expected: Said, found: Said) -> None:
    """Compare two messages but for the order of elements and of entries, which is free.

    Raises:
        Mismatch: If they differ.
    """
    expect_equal(what, _ordered(expected), _ordered(found))


def _ordered(message: Said) -> Said:
    ordered = deepcopy(message)
    delta = _delta_in(ordered)
    if delta is not None:
        in_order(delta)
    return ordered


def _delta_in(message: CrdtStreamIn | CrdtStreamOut) -> CrdtDelta | None:
    # A field that is not there must not be looked into: that would make it be there.
    if isinstance(message, CrdtStreamIn):
        match message.WhichOneof("message"):
            case "init" if message.init.HasField("delta"):
                return message.init.delta
            case "delta":
                return message.delta
            case _:
                return None
    match message.WhichOneof("message"):
        case "reply":
            action = message.reply.state_action
        case "stream_cancelled_response":
            action = message.stream_cancelled_response.state_action
        case _:
            return None
    return action.update if action.HasField("update") else None
