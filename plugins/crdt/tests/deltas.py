"""Deltas of the protocol, written shortly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloudstate.crdt_pb2 import (
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

__all__ = ["flag", "gcounter", "gset", "ormap", "orset", "pncounter", "register", "vote"]

Entries = Mapping[str, CrdtDelta]


def gcounter(increment: int) -> CrdtDelta:
    return CrdtDelta(gcounter=GCounterDelta(increment=increment))


def pncounter(change: int) -> CrdtDelta:
    return CrdtDelta(pncounter=PNCounterDelta(change=change))


def gset(added: Iterable[object] = ()) -> CrdtDelta:
    return CrdtDelta(gset=GSetDelta(added=map(encode, added)))


def orset(
    added: Iterable[object] = (), removed: Iterable[object] = (), *, cleared: bool = False
) -> CrdtDelta:
    return CrdtDelta(
        orset=ORSetDelta(cleared=cleared, removed=map(encode, removed), added=map(encode, added))
    )


def register(value: object, clock: int = 0, custom_clock: int = 0) -> CrdtDelta:
    return CrdtDelta(
        lwwregister=LWWRegisterDelta(
            value=encode(value),
            clock=clock,  # type: ignore[arg-type]
            custom_clock_value=custom_clock,
        )
    )


def flag(value: bool) -> CrdtDelta:
    return CrdtDelta(flag=FlagDelta(value=value))


def vote(self_vote: bool, votes_for: int = 0, total_voters: int = 0) -> CrdtDelta:
    return CrdtDelta(
        vote=VoteDelta(self_vote=self_vote, votes_for=votes_for, total_voters=total_voters)
    )


def ormap(
    added: Entries | None = None,
    updated: Entries | None = None,
    removed: Iterable[object] = (),
    *,
    cleared: bool = False,
) -> CrdtDelta:
    return CrdtDelta(
        ormap=ORMapDelta(
            cleared=cleared,
            removed=map(encode, removed),
            updated=_entries(updated or {}),
            added=_entries(added or {}),
        )
    )


def _entries(entries: Entries) -> list[ORMapEntryDelta]:
    return [ORMapEntryDelta(key=encode(key), delta=delta) for key, delta in entries.items()]
