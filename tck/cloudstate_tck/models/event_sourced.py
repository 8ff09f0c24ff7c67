"""The event sourced model entities, written as an application would."""

from __future__ import annotations

from dataclasses import dataclass

from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from cloudstate_tck.model.eventsourced_pb2 import (
    _EVENTSOURCEDCONFIGURED,
    _EVENTSOURCEDTCKMODEL,
    _EVENTSOURCEDTWO,
    DESCRIPTOR,
    Persisted,
    Request,
    Response,
)

__all__ = ["ENTITIES"]

#: Where forwards and side effects go.
TWO = "cloudstate.tck.model.EventSourcedTwo"


@dataclass(slots=True)
class Text:
    """The state: what the events have added up to."""

    value: str = ""


def empty() -> Text:
    return Text()


model = EventSourcedEntity(
    _EVENTSOURCEDTCKMODEL,
    [DESCRIPTOR],
    empty,
    persistence_id="event-sourced-tck-model",
    snapshot_every=5,
)

two = EventSourcedEntity(
    _EVENTSOURCEDTWO, [DESCRIPTOR], empty, persistence_id="event-sourced-tck-model-two"
)

configured = EventSourcedEntity(
    _EVENTSOURCEDCONFIGURED,
    [DESCRIPTOR],
    empty,
    persistence_id="event-sourced-configured",
    passivation_timeout_s=0.1,
)

ENTITIES = (model, two, configured)


@model.command_handler("Process")
def process(state: Text, request: Request, ctx: EventSourcedCommandContext) -> Response | None:
    is_forwarded = False
    for action in request.actions:
        match action.WhichOneof("action"):
            case "emit":
                ctx.emit(Persisted(value=action.emit.value))
            case "forward":
                ctx.forward(TWO, "Call", Request(id=action.forward.id))
                is_forwarded = True
            case "effect":
                target = Request(id=action.effect.id)
                ctx.effect(TWO, "Call", target, synchronous=action.effect.synchronous)
            case "fail":
                ctx.fail(action.fail.message)
    return None if is_forwarded else Response(message=state.value)


@model.event_handler(Persisted)
def persisted(state: Text, event: Persisted) -> None:
    state.value += event.value


@model.snapshot()
def snapshot(state: Text) -> Persisted:
    return Persisted(value=state.value)


@model.snapshot_handler()
def restore(state: Text, stored: Persisted) -> None:
    state.value = stored.value


@two.command_handler("Call")
@configured.command_handler("Call")
def call(request: Request) -> Response:
    del request
    return Response()
