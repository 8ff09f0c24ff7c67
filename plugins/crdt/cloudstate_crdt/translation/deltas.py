"""Translating states of any type.

`view_of`, `whole` and `difference` lead from this node's state to what a user function is told;
`after` and `write` lead from what a user function says to what it has, and to the state.

Whoever keeps in mind what a user function has, uses `advance` and `catch_up`: they do not make a
new view of a large state for a small change of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any as AnyType

from cloudstate.crdt_pb2 import CrdtDelta
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.translation.counters import GCounterTranslation, PNCounterTranslation
from cloudstate_crdt.translation.faults import BadDelta, Incompatible
from cloudstate_crdt.translation.maps import ORMapTranslation
from cloudstate_crdt.translation.sets import GSetTranslation, ORSetTranslation
from cloudstate_crdt.translation.single_values import (
    FlagTranslation,
    LWWRegisterTranslation,
    VoteTranslation,
)
from cloudstate_crdt.translation.translation import (
    KeyedTranslation,
    Portion,
    Translation,
    View,
    Viewpoint,
    Writer,
)

__all__ = [
    "advance",
    "after",
    "catch_up",
    "difference",
    "is_foreseen",
    "portion_of",
    "state_type_of",
    "view_of",
    "whole",
    "write",
]


class _AnyType:
    """How values of all types are translated."""

    def __init__(self) -> None:
        self._by_name: dict[str, Translation[AnyType, AnyType, AnyType]] = {
            each.state_type.type_name: each
            for each in (
                GCounterTranslation(),
                PNCounterTranslation(),
                GSetTranslation(),
                ORSetTranslation(),
                LWWRegisterTranslation(),
                FlagTranslation(),
                ORMapTranslation(self),
                VoteTranslation(),
            )
        }

    def view(self, state: Lattice, viewpoint: Viewpoint) -> View:
        translation = self._by_name.get(state.type_name)
        if translation is None:
            raise Incompatible(f"expected a type of the protocol, found {state.type_name!r}")
        return View(state.type_name, translation.content(state, viewpoint))

    def portion(self, state: Lattice, keys: Iterable[Segment], viewpoint: Viewpoint) -> Portion:
        keyed = self._keyed(state.type_name)
        return Portion(state.type_name, keyed.places(state, keys, viewpoint))

    def catch_up(self, had: View | None, has: View | Portion) -> tuple[View, CrdtDelta | None]:
        if isinstance(has, View):
            return has, self.difference(had, has)
        if had is None or had.type_name != has.type_name:
            raise Incompatible(f"expected to know a {has.type_name!r} whose part is seen")
        keyed = self._keyed(has.type_name)
        inner = keyed.difference_in(had.content, has.places)
        keyed.put(had.content, has.places)
        return had, None if inner is None else _packed(has.type_name, inner)

    def whole(self, view: View) -> CrdtDelta:
        return _packed(view.type_name, self._by_name[view.type_name].whole(view.content))

    def difference(self, had: View | None, has: View) -> CrdtDelta | None:
        if had is None:
            return self.whole(has)
        if had.type_name != has.type_name:
            raise Incompatible(f"expected type {had.type_name!r}, found {has.type_name!r}")
        inner = self._by_name[has.type_name].difference(had.content, has.content)
        return None if inner is None else _packed(has.type_name, inner)

    def after(self, had: View | None, delta: CrdtDelta) -> View:
        name = _type_name(delta)
        if had is not None and had.type_name != name:
            raise Incompatible(f"expected a delta of type {had.type_name!r}, found {name!r}")
        inner = getattr(delta, name)
        return View(name, self._by_name[name].after(had and had.content, inner))

    def advance(self, had: View | None, delta: CrdtDelta) -> View:
        return self.advance_foreseeing(had, delta)[0]

    def advance_foreseeing(self, had: View | None, delta: CrdtDelta) -> tuple[View, bool]:
        name = _type_name(delta)
        if had is not None and had.type_name != name:
            raise Incompatible(f"expected a delta of type {had.type_name!r}, found {name!r}")
        translation, content, inner = self._by_name[name], had and had.content, getattr(delta, name)
        foreseen = translation.is_foreseen(content, inner)
        return View(name, translation.advance(content, inner)), foreseen

    def is_foreseen(self, had: View | None, delta: CrdtDelta) -> bool:
        name = _type_name(delta)
        content = had.content if had is not None and had.type_name == name else None
        return self._by_name[name].is_foreseen(content, getattr(delta, name))

    def state_type(self, delta: CrdtDelta) -> type[Lattice]:
        return self._by_name[_type_name(delta)].state_type

    def write(self, state: Lattice, delta: CrdtDelta, writer: Writer) -> Lattice:
        name = _type_name(delta)
        if state.type_name != name:
            raise Incompatible(f"expected a delta of type {state.type_name!r}, found {name!r}")
        written: Lattice = self._by_name[name].write(state, getattr(delta, name), writer)
        return written

    def _keyed(self, name: str) -> KeyedTranslation[AnyType, AnyType, AnyType, AnyType]:
        translation = self._by_name[name]
        assert isinstance(translation, KeyedTranslation), "only these are looked at in part"
        return translation


def _type_name(delta: CrdtDelta) -> str:
    name: str | None = delta.WhichOneof("delta")
    if name is None:
        raise BadDelta("expected a delta of some type, found one of none")
    return name


def _packed(name: str, inner: AnyType) -> CrdtDelta:
    return CrdtDelta(**{name: inner})


_ANY_TYPE = _AnyType()


def view_of(state: Lattice, viewpoint: Viewpoint) -> View:
    """Return what a user function can know of a state.

    Raises:
        Incompatible: The state is of a type that the protocol does not have.
    """
    return _ANY_TYPE.view(state, viewpoint)


def portion_of(state: Lattice, keys: Iterable[Segment], viewpoint: Viewpoint) -> Portion:
    """Return what a user function can know of a map or a set, in some places only.

    Args:
        state: An `ORMap`, `ORSet` or `GSet`.
        keys: Keys or elements; they need not be there.
        viewpoint: From where it is looked at.
    """
    return _ANY_TYPE.portion(state, keys, viewpoint)


def whole(view: View) -> CrdtDelta:
    """Return the delta that brings a user function from nothing to a view."""
    return _ANY_TYPE.whole(view)


def difference(had: View | None, has: View) -> CrdtDelta | None:
    """Return the delta that brings a user function from one view to another; None if none is due.

    Raises:
        Incompatible: No delta does.
    """
    return _ANY_TYPE.difference(had, has)


def after(had: View | None, delta: CrdtDelta) -> View:
    """Return what a user function has that has sent a delta.

    Raises:
        BadDelta: It may not send such a delta.
        Incompatible: The delta is of another type than what it had.
    """
    return _ANY_TYPE.after(had, delta)


def advance(had: View | None, delta: CrdtDelta) -> tuple[View, bool]:
    """Take note of a delta that a user function has sent.

    Args:
        had: What it had, which must not be used further; None if it had nothing.
        delta: What it sent.

    Returns:
        What `after` and what `is_foreseen` would return.

    Raises:
        TranslationFault: As `after` says. What it has now is not known.
    """
    return _ANY_TYPE.advance_foreseeing(had, delta)


def catch_up(had: View | None, has: View | Portion) -> tuple[View, CrdtDelta | None]:
    """Take note of what has become of a state, at the cost of that.

    Args:
        had: What the user function had, which must not be used further; None if it had nothing.
        has: How the state looks; or how it looks in all places that can have changed since it
            looked as `had`.

    Returns:
        How the state looks, and what `difference` would return for that.

    Raises:
        Incompatible: No delta leads there.
    """
    return _ANY_TYPE.catch_up(had, has)


def is_foreseen(had: View | None, delta: CrdtDelta) -> bool:
    """Return whether a state that looks so comes to what `after` says, if nobody else changes it.

    Args:
        had: How it looks before; None if there is none.
        delta: What is applied to it.
    """
    return _ANY_TYPE.is_foreseen(had, delta)


def state_type_of(delta: CrdtDelta) -> type[Lattice]:
    """Return the type of state that a delta is for.

    Raises:
        BadDelta: It is for none.
    """
    return _ANY_TYPE.state_type(delta)


def write(state: Lattice, delta: CrdtDelta, writer: Writer) -> Lattice:
    """Apply a user function's delta to a state, and return what changed, of the same type.

    Raises:
        Incompatible: The delta is of another type. Nothing was changed.
        BadDelta: The state cannot take it. It may have taken a part, and is to be thrown away.
        StateRefused: Likewise.
    """
    return _ANY_TYPE.write(state, delta, writer)
