"""What a user function makes of the deltas that it receives, written down independently."""

from __future__ import annotations

from typing import Any as AnyType

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.translation.translation import View

_NOTHING: dict[str, AnyType] = {
    "gcounter": 0,
    "pncounter": 0,
    "gset": frozenset(),
    "orset": frozenset(),
    "lwwregister": Segment("", b""),
    "flag": False,
    "ormap": {},
    "vote": (False, 0, 1),
}


def received(had: View | None, delta: CrdtDelta | None) -> View:
    """Return what a user function has after a delta."""
    if delta is None:
        assert had is not None
        return had
    name = delta.WhichOneof("delta")
    assert name is not None
    assert had is None or had.type_name == name
    content = _NOTHING[name] if had is None else had.content
    return View(name, _content(name, content, getattr(delta, name)))


def _content(name: str, had: AnyType, delta: AnyType) -> AnyType:
    match name:
        case "gcounter":
            return had + delta.increment
        case "pncounter":
            return had + delta.change
        case "gset":
            return had | set(map(Segment.of, delta.added))
        case "orset":
            kept = set() if delta.cleared else set(had)
            kept -= set(map(Segment.of, delta.removed))
            return frozenset(kept | set(map(Segment.of, delta.added)))
        case "lwwregister":
            return Segment.of(delta.value)
        case "flag":
            return had or delta.value
        case "vote":
            return (delta.self_vote, delta.votes_for, delta.total_voters)
        case _:
            return _entries(had, delta)


def _entries(had: AnyType, delta: AnyType) -> AnyType:
    entries = {} if delta.cleared else dict(had)
    for key in delta.removed:
        entries.pop(Segment.of(key), None)
    for entry in delta.updated:
        entries[Segment.of(entry.key)] = received(entries[Segment.of(entry.key)], entry.delta)
    for entry in delta.added:
        entries[Segment.of(entry.key)] = received(None, entry.delta)
    return entries
