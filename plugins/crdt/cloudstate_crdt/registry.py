"""The types that are known: the built-in ones, and those that somebody adds.

    types = standard_types().with_types(MaxLevel)
    data = types.write(level)
    same = types.read(data)

A registry does not change; whoever composes a process makes one and passes it on. All nodes know
the same types: a state that holds another is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstate_crdt.errors import MalformedState, StateTooLarge, UnknownType
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.lattices_pb2 import TypedState
from cloudstate_crdt.types.flag import Flag
from cloudstate_crdt.types.gcounter import GCounter
from cloudstate_crdt.types.gset import GSet
from cloudstate_crdt.types.lwwregister import LWWRegister
from cloudstate_crdt.types.ormap import ORMap
from cloudstate_crdt.types.orset import ORSet
from cloudstate_crdt.types.pncounter import PNCounter
from cloudstate_crdt.types.vote import Vote
from cloudstate_crdt.wire import message_from, to_bytes

__all__ = ["DEFAULT_MAX_STATE_BYTES", "Registry", "standard_types"]

#: A state is read as a whole, so this bounds the memory that one can ask for.
DEFAULT_MAX_STATE_BYTES = 16 * 2**20

_BUILT_IN: tuple[type[Lattice], ...] = (
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    ORMap,
    ORSet,
    PNCounter,
    Vote,
)


class Registry:
    """Types by name."""

    def __init__(self, types: Iterable[type[Lattice]]) -> None:
        """Keep the types.

        Raises:
            ValueError: Two have the same name, or one has none.
        """
        self._types: dict[str, type[Lattice]] = {}
        for each in types:
            name = each.type_name
            if not name:
                raise ValueError(f"{each.__qualname__} has no type name: set `type_name`")
            if name in self._types:
                known = self._types[name].__qualname__
                raise ValueError(
                    f"{each.__qualname__} and {known} are both named {name!r}: rename one"
                )
            self._types[name] = each
        self._names = tuple(sorted(self._types))

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def named(self, type_name: str, /) -> type[Lattice]:
        found = self._types.get(type_name)
        if found is None:
            known = ", ".join(self._names)
            raise UnknownType(f"expected one of the types {known}, found {type_name!r}")
        return found

    def with_types(self, *types: type[Lattice]) -> Registry:
        """Return a registry that knows these as well.

        Raises:
            ValueError: One has the name of a type that is there.
        """
        return Registry([*self._types.values(), *types])

    def write(self, state: Lattice) -> bytes:
        """Return a state or a delta as bytes that say what type it is of."""
        return to_bytes(TypedState(type=state.type_name, state=state.serialize()))

    def read(self, data: bytes, *, max_state_bytes: int = DEFAULT_MAX_STATE_BYTES) -> Lattice:
        """Return what `write` was given.

        Raises:
            StateRefused: No replica writes these bytes, or there are too many of them, or the type
                is not known.
        """
        if len(data) > max_state_bytes:
            raise StateTooLarge(f"expected at most {max_state_bytes} bytes, found {len(data)}")
        message = message_from(TypedState, data)
        if to_bytes(TypedState(type=message.type, state=message.state)) != data:
            raise MalformedState("expected a type and a state, found something else beside them")
        return self.named(message.type).parse(message.state, self)


def standard_types() -> Registry:
    """Return a registry of the built-in types."""
    return Registry(_BUILT_IN)
