"""The model value entities, written as an application would."""

from __future__ import annotations

from cloudstate.value_entity import ValueEntity, ValueEntityCommandContext
from cloudstate_tck.model.valueentity_pb2 import (
    _VALUEENTITYCONFIGURED,
    _VALUEENTITYTCKMODEL,
    _VALUEENTITYTWO,
    DESCRIPTOR,
    Persisted,
    Request,
    Response,
)

__all__ = ["ENTITIES"]

#: Where forwards and side effects go.
TWO = "cloudstate.tck.model.valueentity.ValueEntityTwo"

model = ValueEntity(
    _VALUEENTITYTCKMODEL,
    [DESCRIPTOR],
    persistence_id="value-entity-tck-model",
    state_type=Persisted,
)

two = ValueEntity(
    _VALUEENTITYTWO,
    [DESCRIPTOR],
    persistence_id="value-entity-tck-model-two",
    state_type=Persisted,
)

configured = ValueEntity(
    _VALUEENTITYCONFIGURED,
    [DESCRIPTOR],
    persistence_id="value-entity-configured",
    state_type=Persisted,
    passivation_timeout_s=0.1,
)

ENTITIES = (model, two, configured)


@model.command_handler("Process")
def process(request: Request, ctx: ValueEntityCommandContext) -> Response | None:
    is_forwarded = False
    for action in request.actions:
        match action.WhichOneof("action"):
            case "update":
                ctx.update(Persisted(value=action.update.value))
            case "delete":
                ctx.delete()
            case "forward":
                ctx.forward(TWO, "Call", Request(id=action.forward.id))
                is_forwarded = True
            case "effect":
                target = Request(id=action.effect.id)
                ctx.effect(TWO, "Call", target, synchronous=action.effect.synchronous)
            case "fail":
                ctx.fail(action.fail.message)
    if is_forwarded:
        return None
    return Response(message="" if ctx.state is None else ctx.state.value)


@two.command_handler("Call")
@configured.command_handler("Call")
def call(request: Request) -> Response:
    del request
    return Response()
