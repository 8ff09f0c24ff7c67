"""The eight replicated types: what the models are asked, what they reply, and what is replicated.

Three words for each type: an update asks the model for a change, a state is what it replies, and a
delta is what proxy and user function tell each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import (
    CrdtClock,
    CrdtDelta,
    FlagDelta,
    GCounterDelta,
    GSetDelta,
    LWWRegisterDelta,
    ORMapDelta,
    ORMapEntryDelta,
    ORSetDelta,
    PNCounterDelta,
    VoteDelta,
)
from cloudstate_core.anys import encode
from cloudstate_tck.model.crdt_pb2 import (
    FlagUpdate,
    FlagValue,
    GCounterUpdate,
    GCounterValue,
    GSetUpdate,
    GSetValue,
    LWWRegisterClock,
    LWWRegisterUpdate,
    LWWRegisterValue,
    ORMapEntryUpdate,
    ORMapEntryValue,
    ORMapUpdate,
    ORMapValue,
    ORSetUpdate,
    ORSetValue,
    PNCounterUpdate,
    PNCounterValue,
    State,
    Update,
    VoteUpdate,
    VoteValue,
)

__all__ = [
    "flag_delta",
    "flag_state",
    "flag_update",
    "gcounter_delta",
    "gcounter_state",
    "gcounter_update",
    "gset_delta",
    "gset_state",
    "gset_update",
    "in_order",
    "ormap_add",
    "ormap_clear",
    "ormap_delta",
    "ormap_remove",
    "ormap_state",
    "ormap_update",
    "orset_add",
    "orset_clear",
    "orset_delta",
    "orset_remove",
    "orset_state",
    "pncounter_delta",
    "pncounter_state",
    "pncounter_update",
    "register_delta",
    "register_state",
    "register_update",
    "vote_delta",
    "vote_state",
    "vote_update",
]


# --- Counters -----------------------------------------------------------------------------


def gcounter_update(increment: int) -> Update:
    return Update(gcounter=GCounterUpdate(increment=increment))


def gcounter_state(value: int) -> State:
    return State(gcounter=GCounterValue(value=value))


def gcounter_delta(increment: int) -> CrdtDelta:
    return CrdtDelta(gcounter=GCounterDelta(increment=increment))


def pncounter_update(change: int) -> Update:
    return Update(pncounter=PNCounterUpdate(change=change))


def pncounter_state(value: int) -> State:
    return State(pncounter=PNCounterValue(value=value))


def pncounter_delta(change: int) -> CrdtDelta:
    return CrdtDelta(pncounter=PNCounterDelta(change=change))


# --- Sets ---------------------------------------------------------------------------------


def gset_update(element: str) -> Update:
    return Update(gset=GSetUpdate(add=element))


def gset_state(elements: Iterable[str] = ()) -> State:
    return State(gset=GSetValue(elements=sorted(elements)))


def gset_delta(elements: Iterable[str] = ()) -> CrdtDelta:
    return CrdtDelta(gset=GSetDelta(added=map(encode, elements)))


def orset_add(element: str) -> Update:
    return Update(orset=ORSetUpdate(add=element))


def orset_remove(element: str) -> Update:
    return Update(orset=ORSetUpdate(remove=element))


def orset_clear() -> Update:
    return Update(orset=ORSetUpdate(clear=True))


def orset_state(elements: Iterable[str] = ()) -> State:
    return State(orset=ORSetValue(elements=sorted(elements)))


def orset_delta(
    *, added: Iterable[str] = (), removed: Iterable[str] = (), cleared: bool = False
) -> CrdtDelta:
    delta = ORSetDelta(cleared=cleared, removed=map(encode, removed), added=map(encode, added))
    return CrdtDelta(orset=delta)


# --- Single values ------------------------------------------------------------------------


def register_update(value: str, clock: CrdtClock | None = None, custom: int = 0) -> Update:
    """Ask for a value; without a clock, with the clock left out."""
    update = LWWRegisterUpdate(value=value)
    if clock is not None:
        # The two enumerations have the same numbers.
        asked = LWWRegisterClock(customClockValue=custom)
        asked.clockType = int(clock)  # type: ignore[assignment]
        update.clock.CopyFrom(asked)
    return Update(lwwregister=update)


def register_state(value: str) -> State:
    return State(lwwregister=LWWRegisterValue(value=value))


def register_delta(value: str, clock: CrdtClock | None = None, custom: int = 0) -> CrdtDelta:
    delta = LWWRegisterDelta(value=encode(value), clock=clock, custom_clock_value=custom)
    return CrdtDelta(lwwregister=delta)


def flag_update() -> Update:
    return Update(flag=FlagUpdate())


def flag_state(value: bool) -> State:  # noqa: FBT001 - it is the whole value
    return State(flag=FlagValue(value=value))


def flag_delta(value: bool) -> CrdtDelta:  # noqa: FBT001
    return CrdtDelta(flag=FlagDelta(value=value))


def vote_update(self_vote: bool) -> Update:  # noqa: FBT001
    return Update(vote=VoteUpdate(self_vote=self_vote))


def vote_state(self_vote: bool, votes_for: int, total: int) -> State:  # noqa: FBT001
    value = VoteValue(self_vote=self_vote, votes_for=votes_for, total_voters=total)
    return State(vote=value)


def vote_delta(self_vote: bool, votes_for: int = 0, total: int = 0) -> CrdtDelta:  # noqa: FBT001
    """Tell of a vote; a user function tells of its own alone."""
    delta = VoteDelta(self_vote=self_vote, votes_for=votes_for, total_voters=total)
    return CrdtDelta(vote=delta)


# --- Maps ---------------------------------------------------------------------------------


def ormap_add(key: str) -> Update:
    return Update(ormap=ORMapUpdate(add=key))


def ormap_update(key: str, update: Update) -> Update:
    return Update(ormap=ORMapUpdate(update=ORMapEntryUpdate(key=key, update=update)))


def ormap_remove(key: str) -> Update:
    return Update(ormap=ORMapUpdate(remove=key))


def ormap_clear() -> Update:
    return Update(ormap=ORMapUpdate(clear=True))


def ormap_state(entries: Mapping[str, State] | None = None) -> State:
    ordered = sorted((entries or {}).items())
    value = ORMapValue(entries=[ORMapEntryValue(key=key, value=state) for key, state in ordered])
    return State(ormap=value)


def ormap_delta(
    *,
    added: Mapping[str, CrdtDelta] | None = None,
    updated: Mapping[str, CrdtDelta] | None = None,
    removed: Iterable[str] = (),
    cleared: bool = False,
) -> CrdtDelta:
    delta = ORMapDelta(
        cleared=cleared,
        removed=map(encode, removed),
        updated=_entries(updated),
        added=_entries(added),
    )
    return CrdtDelta(ormap=delta)


def _entries(entries: Mapping[str, CrdtDelta] | None) -> list[ORMapEntryDelta]:
    return [ORMapEntryDelta(key=encode(key), delta=delta) for key, delta in (entries or {}).items()]


# --- Comparing ----------------------------------------------------------------------------


def in_order(delta: CrdtDelta) -> None:
    """Sort what may come in any order: elements and entries, at every depth."""
    match delta.WhichOneof("delta"):
        case "gset":
            delta.gset.added.sort(key=_bytes_of)
        case "orset":
            delta.orset.added.sort(key=_bytes_of)
            delta.orset.removed.sort(key=_bytes_of)
        case "ormap":
            delta.ormap.removed.sort(key=_bytes_of)
            for entries in (delta.ormap.updated, delta.ormap.added):
                entries.sort(key=_key_of)
                for entry in entries:
                    in_order(entry.delta)


def _bytes_of(element: Any) -> tuple[str, bytes]:
    return element.type_url, element.value


def _key_of(entry: ORMapEntryDelta) -> tuple[str, bytes]:
    return _bytes_of(entry.key)
