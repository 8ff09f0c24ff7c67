"""The eight replicated types as a user function has them, each in the fewest lines.

A value collects what an update has changed until somebody takes it, and takes in what is replicated
from elsewhere. Elements, keys and registers are strings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_core.anys import AnyError, decode
from cloudstate_tck import crdt_values as values
from cloudstate_tck.model.crdt_pb2 import State, Update

__all__ = ["Value", "new_value"]


class Value(ABC):
    """One value of one type."""

    @abstractmethod
    def state(self) -> State:
        """Return what the model replies."""

    @abstractmethod
    def whole(self) -> CrdtDelta:
        """Return the whole value as a delta."""

    @abstractmethod
    def update(self, update: Update) -> None:
        """Change it, as a command asks."""

    @abstractmethod
    def apply(self, delta: CrdtDelta) -> None:
        """Change it, as it was changed elsewhere."""

    @abstractmethod
    def take(self) -> CrdtDelta | None:
        """Return what has changed since this was called last; None if nothing has."""


class GCounter(Value):
    """A counter that only grows."""

    def __init__(self) -> None:
        self.total = self.change = 0

    def state(self) -> State:
        return values.gcounter_state(self.total)

    def whole(self) -> CrdtDelta:
        return values.gcounter_delta(self.total)

    def update(self, update: Update) -> None:
        self.total += update.gcounter.increment
        self.change += update.gcounter.increment

    def apply(self, delta: CrdtDelta) -> None:
        self.total += delta.gcounter.increment

    def take(self) -> CrdtDelta | None:
        change, self.change = self.change, 0
        return values.gcounter_delta(change) if change else None


class PNCounter(Value):
    """A counter that goes both ways."""

    def __init__(self) -> None:
        self.total = self.change = 0

    def state(self) -> State:
        return values.pncounter_state(self.total)

    def whole(self) -> CrdtDelta:
        return values.pncounter_delta(self.total)

    def update(self, update: Update) -> None:
        self.total += update.pncounter.change
        self.change += update.pncounter.change

    def apply(self, delta: CrdtDelta) -> None:
        self.total += delta.pncounter.change

    def take(self) -> CrdtDelta | None:
        change, self.change = self.change, 0
        return values.pncounter_delta(change) if change else None


class GSet(Value):
    """A set that only grows."""

    def __init__(self) -> None:
        self.elements: set[str] = set()
        self.added: set[str] = set()

    def state(self) -> State:
        return values.gset_state(self.elements)

    def whole(self) -> CrdtDelta:
        return values.gset_delta(self.elements)

    def update(self, update: Update) -> None:
        self.added |= {update.gset.add} - self.elements
        self.elements.add(update.gset.add)

    def apply(self, delta: CrdtDelta) -> None:
        self.elements |= _texts(delta.gset.added)

    def take(self) -> CrdtDelta | None:
        added, self.added = self.added, set()
        return values.gset_delta(added) if added else None


class ORSet(Value):
    """A set that elements are taken out of again."""

    def __init__(self) -> None:
        self.elements: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Collect anew."""
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.cleared = False

    def state(self) -> State:
        return values.orset_state(self.elements)

    def whole(self) -> CrdtDelta:
        return values.orset_delta(added=self.elements)

    def update(self, update: Update) -> None:
        match update.orset.WhichOneof("action"):
            case "add":
                self.add(update.orset.add)
            case "remove":
                self.remove(update.orset.remove)
            case _:
                self.clear()

    def add(self, element: str) -> None:
        if element not in self.elements:
            self.elements.add(element)
            if element in self.removed:
                self.removed.discard(element)
            else:
                self.added.add(element)

    def remove(self, element: str) -> None:
        if element in self.elements:
            self.elements.discard(element)
            if element in self.added:
                self.added.discard(element)
            else:
                self.removed.add(element)

    def clear(self) -> None:
        self.elements.clear()
        self.forget()
        # Also of an empty set (Cloudstate protocol, ORSet).
        self.cleared = True

    def apply(self, delta: CrdtDelta) -> None:
        if delta.orset.cleared:
            self.elements.clear()
        self.elements -= _texts(delta.orset.removed)
        self.elements |= _texts(delta.orset.added)

    def take(self) -> CrdtDelta | None:
        delta = values.orset_delta(added=self.added, removed=self.removed, cleared=self.cleared)
        has_changed = bool(self.added or self.removed or self.cleared)
        self.forget()
        return delta if has_changed else None


class LWWRegister(Value):
    """A value of which the last one counts."""

    def __init__(self) -> None:
        # A register always has a value, so that a new one is a change.
        self.delta = values.register_delta("")
        self.has_changed = True

    def state(self) -> State:
        return values.register_state(_text(self.delta.lwwregister.value))

    def whole(self) -> CrdtDelta:
        return self.delta

    def update(self, update: Update) -> None:
        asked = update.lwwregister
        delta = values.register_delta(asked.value)
        delta.lwwregister.clock = int(asked.clock.clockType)  # type: ignore[assignment]
        delta.lwwregister.custom_clock_value = asked.clock.customClockValue
        self.has_changed |= delta != self.delta
        self.delta = delta

    def apply(self, delta: CrdtDelta) -> None:
        self.delta, self.has_changed = delta, False

    def take(self) -> CrdtDelta | None:
        has_changed, self.has_changed = self.has_changed, False
        return self.delta if has_changed else None


class Flag(Value):
    """Off, until it is on for ever."""

    def __init__(self) -> None:
        self.value = self.has_changed = False

    def state(self) -> State:
        return values.flag_state(self.value)

    def whole(self) -> CrdtDelta:
        return values.flag_delta(self.value)

    def update(self, update: Update) -> None:
        self.has_changed |= not self.value
        self.value = True

    def apply(self, delta: CrdtDelta) -> None:
        self.value |= delta.flag.value

    def take(self) -> CrdtDelta | None:
        has_changed, self.has_changed = self.has_changed, False
        return values.flag_delta(True) if has_changed else None


class Vote(Value):
    """The votes of all nodes, of which one's own can be changed."""

    def __init__(self) -> None:
        self.self_vote = self.told = False
        self.votes_for, self.total = 0, 1

    def state(self) -> State:
        return values.vote_state(self.self_vote, self.votes_for, self.total)

    def whole(self) -> CrdtDelta:
        return values.vote_delta(self.self_vote, self.votes_for, self.total)

    def update(self, update: Update) -> None:
        self.votes_for += update.vote.self_vote - self.self_vote
        self.self_vote = update.vote.self_vote

    def apply(self, delta: CrdtDelta) -> None:
        self.self_vote = self.told = delta.vote.self_vote
        self.votes_for, self.total = delta.vote.votes_for, delta.vote.total_voters

    def take(self) -> CrdtDelta | None:
        has_changed, self.told = self.told != self.self_vote, self.self_vote
        return values.vote_delta(self.self_vote) if has_changed else None


class ORMap(Value):
    """Values by key; the key names the type."""

    def __init__(self) -> None:
        self.entries: dict[str, Value] = {}
        self.forget()

    def forget(self) -> None:
        """Collect anew."""
        self.added: set[str] = set()
        self.removed: set[str] = set()
        self.cleared = False

    def state(self) -> State:
        return values.ormap_state({key: value.state() for key, value in self.entries.items()})

    def whole(self) -> CrdtDelta:
        return values.ormap_delta(added={key: each.whole() for key, each in self.entries.items()})

    def update(self, update: Update) -> None:
        match update.ormap.WhichOneof("action"):
            case "add":
                self.entry(update.ormap.add)
            case "update":
                self.entry(update.ormap.update.key).update(update.ormap.update.update)
            case "remove":
                self.remove(update.ormap.remove)
            case _:
                self.entries.clear()
                self.forget()
                self.cleared = True

    def entry(self, key: str) -> Value:
        """Return the value of a key, which is added if it is not there."""
        if key not in self.entries:
            self.entries[key] = new_value(key)
            self.added.add(key)
        return self.entries[key]

    def remove(self, key: str) -> None:
        if self.entries.pop(key, None) is None:
            return
        if key in self.added:
            self.added.discard(key)
        else:
            self.removed.add(key)

    def apply(self, delta: CrdtDelta) -> None:
        if delta.ormap.cleared:
            self.entries.clear()
        for key in _texts(delta.ormap.removed):
            self.entries.pop(key, None)
        for entry in delta.ormap.updated:
            known = self.entries.get(_text(entry.key))
            if known is not None:
                known.apply(entry.delta)
        for entry in delta.ormap.added:
            added = self.entries[_text(entry.key)] = new_value(_text(entry.key))
            added.apply(entry.delta)

    def take(self) -> CrdtDelta | None:
        changed = {key: each.take() for key, each in self.entries.items()}
        delta = values.ormap_delta(
            added={key: self.entries[key].whole() for key in self.added},
            updated={key: each for key, each in changed.items() if each and key not in self.added},
            removed=self.removed,
            cleared=self.cleared,
        )
        self.forget()
        return delta if delta.ormap.ByteSize() else None


_TYPES: dict[str, type[Value]] = {
    each.__name__: each for each in (GCounter, PNCounter, GSet, ORSet, LWWRegister, Flag, Vote)
} | {"ORMap": ORMap}


def new_value(name: str) -> Value:
    """Return a value of the type that an id or a key names before its first hyphen."""
    return _TYPES[name.partition("-")[0]]()


def _text(packed: Any) -> str:
    try:
        return str(decode(packed))
    except AnyError:
        return packed.value.hex()  # it is somebody else's, and stays what it is


def _texts(packed: Iterable[Any]) -> set[str]:
    return {_text(each) for each in packed}
