"""Messages between a proxy and the event sourced model entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cloudstate.entity_pb2 import (
    ClientAction,
    Command,
    Failure,
    SideEffect,
)
from cloudstate.entity_pb2 import Forward as ProtocolForward
from cloudstate.entity_pb2 import Reply as ProtocolReply
from cloudstate.event_sourced_pb2 import (
    EventSourcedEvent,
    EventSourcedInit,
    EventSourcedReply,
    EventSourcedSnapshot,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.anys import pack_message
from cloudstate_tck.model.eventsourced_pb2 import (
    Effect,
    Emit,
    Fail,
    Forward,
    Persisted,
    Request,
    RequestAction,
    Response,
)

__all__ = [
    "CONFIGURED",
    "MODEL",
    "TWO",
    "Answer",
    "command",
    "command_in",
    "effect",
    "emit",
    "event",
    "fail",
    "fails",
    "failure",
    "forward",
    "forwards",
    "init",
    "replies",
    "request",
    "side_effect",
]

MODEL = "cloudstate.tck.model.EventSourcedTckModel"
TWO = "cloudstate.tck.model.EventSourcedTwo"
CONFIGURED = "cloudstate.tck.model.EventSourcedConfigured"

#: What a user function should say to a command, once the command's id is known.
Answer = Callable[[int], EventSourcedStreamOut]


# --- What the model is asked to do --------------------------------------------------------


def emit(value: str) -> RequestAction:
    return RequestAction(emit=Emit(value=value))


def forward(entity_id: str) -> RequestAction:
    return RequestAction(forward=Forward(id=entity_id))


def effect(entity_id: str, *, synchronous: bool = False) -> RequestAction:
    return RequestAction(effect=Effect(id=entity_id, synchronous=synchronous))


def fail(message: str) -> RequestAction:
    return RequestAction(fail=Fail(message=message))


def request(entity_id: str, *actions: RequestAction) -> Request:
    return Request(id=entity_id, actions=actions)


# --- From the proxy -----------------------------------------------------------------------


def init(
    service: str, entity_id: str, snapshot: tuple[int, str] | None = None
) -> EventSourcedStreamIn:
    """Start a stream; a snapshot is the sequence of the last event it covers, and the state."""
    start = EventSourcedInit(service_name=service, entity_id=entity_id)
    if snapshot is not None:
        sequence, state = snapshot
        start.snapshot.CopyFrom(
            EventSourcedSnapshot(
                snapshot_sequence=sequence, snapshot=pack_message(Persisted(value=state))
            )
        )
    return EventSourcedStreamIn(init=start)


def event(sequence: int, value: str) -> EventSourcedStreamIn:
    return EventSourcedStreamIn(
        event=EventSourcedEvent(sequence=sequence, payload=pack_message(Persisted(value=value)))
    )


def command(
    entity_id: str, command_id: int, payload: Request, name: str = "Process"
) -> EventSourcedStreamIn:
    # `streamed` and `metadata` stay unset (Cloudstate protocol, event sourced commands).
    return EventSourcedStreamIn(
        command=Command(
            entity_id=entity_id, id=command_id, name=name, payload=pack_message(payload)
        )
    )


def command_in(entity_id: str, command_id: int, *actions: RequestAction) -> EventSourcedStreamIn:
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
    events: Iterable[str] = (),
    snapshot: str | None = None,
    effects: Iterable[SideEffect] = (),
) -> Answer:
    """Reply with the state."""
    action = ClientAction(reply=ProtocolReply(payload=pack_message(Response(message=state))))
    return _answers(action, events, snapshot, effects)


def forwards(
    entity_id: str,
    *,
    events: Iterable[str] = (),
    snapshot: str | None = None,
    effects: Iterable[SideEffect] = (),
) -> Answer:
    """Forward to the second entity."""
    target = ProtocolForward(
        service_name=TWO, command_name="Call", payload=pack_message(Request(id=entity_id))
    )
    return _answers(ClientAction(forward=target), events, snapshot, effects)


def fails(description: str, *, restart: bool = False) -> Answer:
    """Fail the command, and nothing else."""
    return lambda command_id: failure(command_id, description, restart=restart)


def failure(command_id: int, description: str, *, restart: bool = False) -> EventSourcedStreamOut:
    failed = Failure(command_id=command_id, description=description, restart=restart)
    return EventSourcedStreamOut(
        reply=EventSourcedReply(command_id=command_id, client_action=ClientAction(failure=failed))
    )


def _answers(
    action: ClientAction,
    events: Iterable[str],
    snapshot: str | None,
    effects: Iterable[SideEffect],
) -> Answer:
    reply = EventSourcedReply(
        client_action=action,
        side_effects=effects,
        events=[pack_message(Persisted(value=value)) for value in events],
    )
    if snapshot is not None:
        reply.snapshot.CopyFrom(pack_message(Persisted(value=snapshot)))

    def answer(command_id: int) -> EventSourcedStreamOut:
        answered = EventSourcedStreamOut(reply=reply)
        answered.reply.command_id = command_id
        return answered

    return answer
