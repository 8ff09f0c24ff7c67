"""A map from keys to replicated values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any as AnyType
from typing import ClassVar, Generic, cast, overload

from typing_extensions import TypeVar

from cloudstate.crdt_pb2 import CrdtDelta, ORMapDelta, ORMapEntryDelta
from cloudstate_core.anys import AnyError
from cloudstate_crdt.data.crdt import Crdt, crdt_from, fresh
from cloudstate_crdt.data.elements import Element

__all__ = ["ORMap"]

# With defaults, since who names no type gets `Any`, and no error in strict mode.
K = TypeVar("K", default=AnyType)
V = TypeVar("V", bound=Crdt, default=AnyType)
C = TypeVar("C", bound=Crdt)
D = TypeVar("D")


class ORMap(Crdt, Generic[K, V]):
    """A map from keys to replicated values of any type, each changed in place.

    Keys behave as the elements of an `ORSet`, and values as what they are: what two nodes do under
    one key at the same time is merged, and a change wins over a removal that did not know of it.
    One key should have the same type on all nodes.

    `ORMap[str, GCounter]` says what is in it, to type checkers; `ORMap[str, Crdt]` that it is
    various types.
    """

    delta_name: ClassVar[str] = "ormap"

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._entries: dict[Element, V] = {}
        self._cleared = False
        self._removed: dict[Element, None] = {}
        # Entries of this command's own, and those before it that may have changed.
        self._new: dict[Element, None] = {}
        self._touched: dict[Element, None] = {}

    @overload
    def get_or_create(self: ORMap[K, Crdt], key: K, make: Callable[[], C]) -> C: ...

    @overload
    def get_or_create(self, key: K, make: Callable[[], V]) -> V: ...

    def get_or_create(self, key: K, make: Callable[[], AnyType]) -> AnyType:
        """Return the value under a key, which is made and put there if there is none.

        Args:
            key: A message, str, bytes, int, float, bool or `Json`. Values of different types are
                different keys, even if Python holds them to be equal.
            make: The type of the value, such as `GCounter`, or a function that returns a new one.

        Raises:
            AnyError: The key cannot be packed. Nothing was changed.
            TypeError: There is a value of another type, or `make` makes none. Nothing was changed.
        """
        element = Element.of(key)
        present = self._entries.get(element)
        if present is not None:
            expected = make if isinstance(make, type) else type(fresh(make))
            if type(present) is not expected:
                raise TypeError(
                    f"key {key!r}: expected a value of type {expected.__name__}, found a "
                    f"{type(present).__name__}"
                )
            return present
        made = fresh(make)
        self._before_change()
        self._put(element, cast("V", made))
        self._new[element] = None
        return made

    def __getitem__(self, key: K) -> V:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    @overload
    def get(self, key: K, /) -> V | None: ...

    @overload
    def get(self, key: K, default: D, /) -> V | D: ...

    def get(self, key: K, default: object = None, /) -> object:
        """Return the value under a key, or the default if there is none."""
        element = _element(key)
        return default if element is None else self._entries.get(element, default)

    def __contains__(self, key: object) -> bool:
        return _element(key) in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return (element.value() for element in self._entries)

    def keys(self) -> list[K]:
        """Return the keys that there are now."""
        return list(self)

    def values(self) -> list[V]:
        """Return the values that there are now, each itself and not a copy."""
        return list(self._entries.values())

    def items(self) -> list[tuple[K, V]]:
        """Return the keys that there are now, with their values."""
        return [(element.value(), value) for element, value in self._entries.items()]

    def __delitem__(self, key: K) -> None:
        element = _element(key)
        if element not in self._entries:
            raise KeyError(key)
        self._before_change()
        self._drop(element)
        # What this command has put there itself was never anywhere else.
        if element in self._new:
            del self._new[element]
        else:
            self._removed[element] = None

    def remove(self, key: K) -> None:
        """Take a key out, with its value, which must not be changed any more.

        Raises:
            KeyError: It is not there.
        """
        del self[key]

    def discard(self, key: K) -> None:
        """Take a key out, with its value; nothing happens if it is not there."""
        if key in self:
            del self[key]

    def clear(self) -> None:
        """Take everything out, also what was added elsewhere and has just arrived at the runtime.

        It is a change even if the map is empty.
        """
        self._before_change()
        self._cleared = True
        self._drop_all()
        self._removed.clear()
        self._new.clear()

    def __repr__(self) -> str:
        shown = {(e.type_url, e.data): value for e, value in self._entries.items()}
        return f"ORMap({shown!r})"

    # What follows is called by the session, the map that this one is in, and what is in this one.

    def admit_change(self, place: object, /) -> None:
        """Take note that a value is about to change; see `Holder`."""
        self._before_change()
        self._touched[cast("Element", place)] = None

    def pending(self) -> CrdtDelta | None:
        changes = ((key, self._entries[key].pending()) for key in self._touched_before())
        updated = [_entry(key, delta) for key, delta in changes if delta is not None]
        if not (self._cleared or self._removed or self._new or updated):
            return None
        # A new entry is told with all of its value, even if that is what it began with.
        added = [
            _entry(key, self._entries[key].pending() or self._entries[key].whole())
            for key in self._new
        ]
        removed = [key.to_wire() for key in self._removed]
        return CrdtDelta(
            ormap=ORMapDelta(cleared=self._cleared, removed=removed, updated=updated, added=added)
        )

    def forget_pending(self) -> None:
        for key in (*self._touched_before(), *self._new):
            self._entries[key].forget_pending()
        self._cleared = False
        for keys in (self._removed, self._new, self._touched):
            keys.clear()

    def whole(self) -> CrdtDelta:
        added = [_entry(key, value.whole()) for key, value in self._entries.items()]
        return CrdtDelta(ormap=ORMapDelta(added=added))

    def _touched_before(self) -> list[Element]:
        return [key for key in self._touched if key not in self._new]

    def _apply(self, inner: ORMapDelta) -> None:
        if inner.cleared:
            self._drop_all()
        for removed in inner.removed:
            self._drop(Element.from_wire(removed))
        for entry in inner.updated:
            # Another node may have taken it out meanwhile.
            present = self._entries.get(Element.from_wire(entry.key))
            if present is not None:
                present.apply(entry.delta)
        for entry in inner.added:
            key = Element.from_wire(entry.key)
            self._drop(key)
            self._put(key, cast("V", crdt_from(entry.delta)))

    def _put(self, key: Element, value: V) -> None:
        value.belong(self, key)
        self._entries[key] = value

    def _drop(self, key: object) -> None:
        element = cast("Element", key)
        value = self._entries.pop(element, None)
        if value is not None:
            value.leave()
            self._touched.pop(element, None)

    def _drop_all(self) -> None:
        for key in list(self._entries):
            self._drop(key)


def _element(key: object) -> Element | None:
    try:
        return Element.of(key)
    except AnyError:
        return None


def _entry(key: Element, delta: CrdtDelta) -> ORMapEntryDelta:
    return ORMapEntryDelta(key=key.to_wire(), delta=delta)
