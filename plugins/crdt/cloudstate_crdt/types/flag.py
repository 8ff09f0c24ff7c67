"""A switch that can only be turned on."""

from __future__ import annotations

from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import FlagState
from cloudstate_crdt.wire import expect_canonical, message_from, to_bytes

__all__ = ["Flag"]


class Flag(Lattice):
    """A switch that can only be turned on.

    Inside a map, the removal of its key turns it off again; enabling it at the same time wins.
    """

    __slots__ = ("enabled",)

    type_name = "flag"

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled

    def enable(self) -> Flag:
        """Turn it on and return the delta; also if it is on, so that it wins over a removal."""
        self.enabled = True
        return Flag(enabled=True)

    @classmethod
    def bottom(cls, types: Types) -> Flag:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> Flag:
        flag = cls(enabled=message_from(FlagState, data).enabled)
        expect_canonical(flag, data)
        return flag

    def join(self, other: Flag) -> bool:
        self.expect_same_type(other)
        grows = other.enabled and not self.enabled
        self.enabled |= other.enabled
        return grows

    def covers(self, other: Flag) -> bool:
        return self.enabled or not other.enabled

    def serialize(self) -> bytes:
        return to_bytes(FlagState(enabled=self.enabled))

    def copy(self) -> Flag:
        return Flag(enabled=self.enabled)

    def is_bottom(self) -> bool:
        return not self.enabled

    def __eq__(self, other: object) -> bool:
        return self.enabled == other.enabled if isinstance(other, Flag) else NotImplemented

    __hash__ = None
