"""The model CRDT entities, written as an application would."""

from __future__ import annotations

from collections.abc import Callable

from cloudstate.crdt_entity import (
    Clock,
    Crdt,
    CrdtChangeContext,
    CrdtCommandContext,
    CrdtEntity,
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Vote,
    WriteConsistency,
)
from cloudstate_tck.model.crdt_pb2 import (
    _CRDTCONFIGURED,
    _CRDTTCKMODEL,
    _CRDTTWO,
    DESCRIPTOR,
    FlagValue,
    GCounterValue,
    GSetValue,
    LWWRegisterUpdate,
    LWWRegisterValue,
    ORMapEntryValue,
    ORMapUpdate,
    ORMapValue,
    ORSetUpdate,
    ORSetValue,
    PNCounterValue,
    Request,
    Response,
    State,
    StreamedRequest,
    Update,
    VoteValue,
)

__all__ = ["ENTITIES"]

TYPES = {each.__name__: each for each in (GCounter, PNCounter, GSet, ORSet, Flag, ORMap, Vote)}


def maker_of(name: str) -> Callable[[], Crdt]:
    """Return what makes a CRDT of the type that an id or a key names before its first hyphen."""
    type_ = name.partition("-")[0]
    return (lambda: LWWRegister("")) if type_ == "LWWRegister" else TYPES[type_]


model = CrdtEntity(
    _CRDTTCKMODEL,
    [DESCRIPTOR],
    lambda entity_id: maker_of(entity_id)(),
    persistence_id="crdt-tck-model",
)
two = CrdtEntity(_CRDTTWO, [DESCRIPTOR], GCounter, persistence_id="crdt-tck-model-two")
configured = CrdtEntity(
    _CRDTCONFIGURED, [DESCRIPTOR], persistence_id="crdt-configured", passivation_timeout_s=0.1
)

ENTITIES = (model, two, configured)


@model.command_handler("Process")
def process(crdt: Crdt, request: Request, ctx: CrdtCommandContext) -> Response | None:
    is_forwarded = False
    for action in request.actions:
        match action.WhichOneof("action"):
            case "update":
                change(crdt, action.update)
                ctx.write_consistency = WriteConsistency(action.update.write_consistency)
            case "delete":
                ctx.delete()
            case "forward":
                ctx.forward(_CRDTTWO, "Call", Request(id=action.forward.id))
                is_forwarded = True
            case "effect":
                target = Request(id=action.effect.id)
                ctx.effect(_CRDTTWO, "Call", target, synchronous=action.effect.synchronous)
            case "fail":
                ctx.fail(action.fail.message)
    return None if is_forwarded else Response(state=state_of(crdt))


@model.command_handler("ProcessStreamed")
def process_streamed(
    crdt: Crdt, request: StreamedRequest, ctx: CrdtCommandContext
) -> Response | None:
    def changed(change: CrdtChangeContext) -> Response | None:
        for effect in request.effects:
            target = Request(id=effect.id)
            change.effect(_CRDTTWO, "Call", target, synchronous=effect.synchronous)
        if request.HasField("end_state") and request.end_state == state_of(crdt):
            change.end()
        return response()

    def response() -> Response | None:
        return None if request.empty else Response(state=state_of(crdt))

    ctx.on_change(changed)
    if request.HasField("cancel_update"):
        ctx.on_cancel(lambda _left: change(crdt, request.cancel_update))
    if request.HasField("initial_update"):
        change(crdt, request.initial_update)
    return response()


@two.command_handler("Call")
def call_two(request: Request, ctx: CrdtCommandContext) -> Response:
    if any(action.HasField("delete") for action in request.actions):
        ctx.delete()
    return Response()


@configured.command_handler("Call")
def call_configured(request: Request) -> Response:
    del request
    return Response()


def change(crdt: Crdt, update: Update) -> None:
    match crdt:
        case GCounter():
            crdt.increment(update.gcounter.increment)
        case PNCounter():
            crdt.increment(update.pncounter.change)
        case GSet():
            crdt.add(update.gset.add)
        case ORSet():
            change_set(crdt, update.orset)
        case LWWRegister():
            write(crdt, update.lwwregister)
        case Flag():
            crdt.enable()
        case ORMap():
            change_map(crdt, update.ormap)
        case Vote():
            crdt.vote(update.vote.self_vote)


def change_set(elements: ORSet, update: ORSetUpdate) -> None:
    match update.WhichOneof("action"):
        case "add":
            elements.add(update.add)
        case "remove":
            elements.discard(update.remove)
        case "clear":
            elements.clear()


def write(register: LWWRegister, update: LWWRegisterUpdate) -> None:
    clock = Clock(update.clock.clockType)
    is_custom = clock in (Clock.CUSTOM, Clock.CUSTOM_AUTO_INCREMENT)
    custom_clock = update.clock.customClockValue if is_custom else None
    register.set(update.value, clock=clock, custom_clock=custom_clock)


def change_map(entries: ORMap, update: ORMapUpdate) -> None:
    match update.WhichOneof("action"):
        case "add":
            entries.get_or_create(update.add, maker_of(update.add))
        case "update":
            key = update.update.key
            change(entries.get_or_create(key, maker_of(key)), update.update.update)
        case "remove":
            entries.discard(update.remove)
        case "clear":
            entries.clear()


def state_of(crdt: Crdt) -> State:
    match crdt:
        case GCounter():
            return State(gcounter=GCounterValue(value=crdt.value))
        case PNCounter():
            return State(pncounter=PNCounterValue(value=crdt.value))
        case GSet():
            return State(gset=GSetValue(elements=sorted(crdt)))
        case ORSet():
            return State(orset=ORSetValue(elements=sorted(crdt)))
        case LWWRegister():
            return State(lwwregister=LWWRegisterValue(value=crdt.value))
        case Flag():
            return State(flag=FlagValue(value=crdt.enabled))
        case ORMap():
            entries = [
                ORMapEntryValue(key=key, value=state_of(value))
                for key, value in sorted(crdt.items())
            ]
            return State(ormap=ORMapValue(entries=entries))
        case Vote():
            value = VoteValue(
                self_vote=crdt.self_vote,
                votes_for=crdt.votes_for,
                total_voters=crdt.total_voters,
            )
            return State(vote=value)
        case _:
            raise TypeError(f"expected a CRDT, found {crdt!r}")
