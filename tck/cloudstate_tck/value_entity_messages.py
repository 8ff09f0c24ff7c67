"""Messages between a proxy and the model value entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudstate.entity_pb2 import ClientAction, Command, Failure, SideEffect
from cloudstate.entity_pb2 import Forward as ProtocolForward
from cloudstate.entity_pb2 import Reply as ProtocolReply
from cloudstate.value_entity_pb2 import (
    ValueEntityInit,
    ValueEntityInitState,
    ValueEntityReply,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
)
from cloudstate_core.anys import pack_message
from cloudstate_tck.model.valueentity_pb2 import (
    Delete,
    Effect,
    Fail,
    Forward,
    Persisted,
    Request,
    RequestAction,
    Response,
    Update,
)

__all__ = [
    "CONFIGURED",
    "MODEL",
    "TWO",
    "Answer",
    "command",
    "command_in",
    "delete",
    "effect",
    "fail",
    "fails",
    "forward",
    "forwards",
    "init",
    "replies",
    "request",
    "side_effect",
    "update",
]

MODEL = "cloudstate.tck.model.valueentity.ValueEntityTckModel"
TWO = "cloudstate.tck.model.valueentity.ValueEntityTwo"
CONFIGURED = "cloudstate.tck.model.valueentity.ValueEntityConfigured"

#: What a user function should say to a command, once the command's id is known.
Answer = Callable[[int], ValueEntityStreamOut]


# --- What the model is asked to do --------------------------------------------------------


def update(value: str) -> RequestAction:
    return RequestAction(update=Update(value=value))


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


def init(service: str, entity_id: str, value: str | None = None) -> ValueEntityStreamIn:
    """Start a stream; the state is always there, and empty if there is no value."""
    state = ValueEntityInitState()
    if value is not None:
        state.value.CopyFrom(pack_message(Persisted(value=value)))
    return ValueEntityStreamIn(
        init=ValueEntityInit(service_name=service, entity_id=entity_id, state=state)
    )


def command(
    entity_id: str, command_id: int, payload: Request, name: str = "Process"
) -> ValueEntityStreamIn:
    # `streamed` and `metadata` stay unset (Cloudstate protocol, value entity commands).
    return ValueEntityStreamIn(
        command=Command(
            entity_id=entity_id, id=command_id, name=name, payload=pack_message(payload)
        )
    )


def command_in(entity_id: str, command_id: int, *actions: RequestAction) -> ValueEntityStreamIn:
    """Ask the model entity to carry out actions."""
    return command(entity_id, command_id, request(entity_id, *actions))


# --- From the user function ---------------------------------------------------------------


def side_effect(entity_id: str, *, synchronous: bool = False) -> SideEffect:
    return SideEffect(
        service_name=TWO,
        command_name="Call",
        payload=pack_message(Request(id=entity_id)),
        synchronous=synchronous,
    )


def replies(
    state: str,
    *,
    updates: str | None = None,
    deletes: bool = False,
    effects: Iterable[SideEffect] = (),
) -> Answer:
    """Reply with the state, and update or delete what is stored."""
    action = ClientAction(reply=ProtocolReply(payload=pack_message(Response(message=state))))
    return _answers(action, updates, effects, deletes=deletes)


def forwards(
    entity_id: str, *, updates: str | None = None, effects: Iterable[SideEffect] = ()
) -> Answer:
    """Forward to the second entity."""
    target = ProtocolForward(
        service_name=TWO, command_name="Call", payload=pack_message(Request(id=entity_id))
    )
    return _answers(ClientAction(forward=target), updates, effects)


def fails(description: str) -> Answer:
    """Fail the command, and nothing else."""

    def answer(command_id: int) -> ValueEntityStreamOut:
        action = ClientAction(failure=Failure(command_id=command_id, description=description))
        return ValueEntityStreamOut(
            reply=ValueEntityReply(command_id=command_id, client_action=action)
        )

    return answer


def _answers(
    action: ClientAction,
    updates: str | None,
    effects: Iterable[SideEffect],
    *,
    deletes: bool = False,
) -> Answer:
    reply = ValueEntityReply(client_action=action, side_effects=effects)
    if updates is not None:
        packed = pack_message(Persisted(value=updates))
        reply.state_action.update.value.CopyFrom(packed)
    elif deletes:
        reply.state_action.delete.SetInParent()

    def answer(command_id: int) -> ValueEntityStreamOut:
        answered = ValueEntityStreamOut(reply=reply)
        answered.reply.command_id = command_id
        return answered

    return answer
