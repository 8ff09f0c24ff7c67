"""What a replicated type is.

A lattice is a value that only ever grows by `join`, and a join does not care in what order it is
given things, nor how often. So replicas that have seen the same changes are equal, whatever the
network did to them on the way.

A type is one class. `Lattice` says what it must do. Its mutations are methods of its own choosing;
each changes the value and returns the change as a small value *of the same type*, its delta:

    class MaxLevel(Lattice):
        type_name = "example.com/max-level"

        def __init__(self, level: int = 0) -> None:
            self.level = level

        def rise(self, level: int) -> MaxLevel:
            delta = MaxLevel(level)
            self.join(delta)
            return delta

        @classmethod
        def bottom(cls, types: Types) -> MaxLevel:
            return cls()

        @classmethod
        def parse(cls, data: bytes, types: Types) -> MaxLevel:
            if len(data) != 8:
                raise MalformedState(f"expected 8 bytes, found {len(data)}")
            return cls(int.from_bytes(data))

        def join(self, other: MaxLevel) -> bool:
            grows = other.level > self.level
            self.level = max(self.level, other.level)
            return grows

        def serialize(self) -> bytes:
            return self.level.to_bytes(8)

        def copy(self) -> MaxLevel:
            return MaxLevel(self.level)

`Registry.with_types(MaxLevel)` makes it known, also as the type of values in an `ORMap`, and
`cloudstate_crdt.testing.LatticeLaws` finds out whether it keeps the laws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar, Protocol, Self

from cloudstate_crdt.departed import Departed
from cloudstate_crdt.errors import WrongType
from cloudstate_crdt.replica import Replica

__all__ = ["Lattice", "Types"]

_DIGEST_BYTES = 16


class Types(Protocol):
    """The types that are known, by name."""

    @property
    def names(self) -> Sequence[str]:
        """All names, sorted."""
        ...

    def named(self, type_name: str, /) -> type[Lattice]:
        """Return the type.

        Raises:
            UnknownType: None has that name.
        """
        ...


class Lattice(ABC):
    """A value of which every node has a replica, and which replicas join to converge.

    A state and a delta are of the same type; what `join` is given may be either.

    Attributes:
        type_name: What replicas call the type; the same on all nodes, for ever.
        shares_dots: Whether a value inside a map has its dots in the map's store. Only types made
            of dotted leaves do.
    """

    __slots__ = ()

    type_name: ClassVar[str]
    shares_dots: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def bottom(cls, types: Types) -> Self:
        """Return the value that nobody has changed yet; joining it changes nothing.

        Args:
            types: The types that values inside this one may have.
        """

    @classmethod
    @abstractmethod
    def parse(cls, data: bytes, types: Types) -> Self:
        """Return what `serialize` wrote.

        Raises:
            StateRefused: `serialize` would not have written exactly these bytes.
        """

    @abstractmethod
    def join(self, other: Self) -> bool:
        """Take in a state or a delta; return whether anything changed.

        `other` is left as it is and shares nothing with this value afterwards. The cost grows with
        `other`, not with this value.

        Raises:
            StateRefused: The two cannot have come from one value. Nothing was changed.
        """

    @abstractmethod
    def serialize(self) -> bytes:
        """Return the value as bytes: equal values give equal bytes."""

    @abstractmethod
    def copy(self) -> Self:
        """Return an equal value that shares nothing with this one."""

    def covers(self, other: Self) -> bool:
        """Return whether joining `other` would change nothing."""
        return not self.copy().join(other)

    def is_bottom(self) -> bool:
        """Return whether the value is one that nobody has changed yet."""
        return not self.serialize()

    def digest(self) -> bytes:
        """Return 16 bytes that are equal for equal values, and for no others by any likelihood."""
        hashed = blake2b(self.type_name.encode(), digest_size=_DIGEST_BYTES)
        hashed.update(b"\0")
        hashed.update(self.serialize())
        return hashed.digest()

    # --- Writers that have departed --------------------------------------------------
    #
    # For types that keep something for each writer, only in order to tell one's changes from
    # another's. A type that keeps nothing of the sort leaves these as they are; one that overrides
    # any overrides `trace_of` and `retire`, and if leaving them out would take something away from
    # users, `must_adopt` and `adopt`. `LatticeLaws` examines what is said here.

    def trace_of(self, departed: Departed) -> bytes:
        """Return what is here of some departed writers, as bytes to compare with other replicas'.

        Replicas with equal traces have seen the same of their writing; then, and when there is
        nothing to adopt, they can forget it (`retire`). So a trace has in it whatever joining
        another replica's share of their writing could still change, and whatever `retire` adds to.
        What others write changes it only where that undoes something of theirs.

        Empty if `retire` would find nothing to forget, and only then.
        """
        return b""

    def must_adopt(self, departed: Departed) -> bool:
        """Return whether users see something here that goes when the departed are forgotten."""
        return False

    def adopt(self, replica: Replica, departed: Departed) -> Self:
        """Let a replica stand in for what users see of departed writers, and return the delta.

        The value stays what it is for its users. It is a change like others, so it converges at
        any time, also if two replicas do it at once; and a removal that has not seen it removes
        what it stands in for, and with that itself. But what a departed writer has added that the
        replica has not seen is not taken over: so it is done where traces are equal. Afterwards
        `must_adopt` says no.

        The delta adds nothing if there is nothing to take over.
        """
        return self.copy()

    def retire(self, departed: Departed, *, into: Replica | None) -> bool:
        """Forget what is here of departed writers; return whether there was anything.

        This is no join. With `into` the value stays what it is for its users, unless there was
        something to adopt, and replicas whose traces were equal can do it at different moments:
        what they have afterwards, and what they join of each other from then on, is what they would
        have had without. A replica that has not done it must not be joined with one that has; what
        it sent is joined after a `retire` of its own, without `into`.

        Without `into` what is here of them goes, whatever users see of it: what is to stay comes
        from a replica that has folded.

        Doing it again changes nothing.

        Args:
            departed: Who.
            into: By whom what they have added counts as written, as one for all of them: for a
                whole copy `RETIRED`; for a part of a value in a map, by whom that part is written,
                which keeps it as it is if that cannot be. None: by nobody, it goes.
        """
        return False

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.serialize() == other.serialize()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        # Without what it holds: a payload has no place in a log.
        return f"<{self.type_name} {self.digest().hex()[:8]}>"

    def expect_same_type(self, other: object) -> None:
        """Refuse to be joined with something else.

        Raises:
            WrongType: `other` is of another type.
        """
        if type(other) is not type(self):
            found = other.type_name if isinstance(other, Lattice) else type(other).__name__
            raise WrongType(f"expected a state of type {self.type_name!r}, found one of {found!r}")
