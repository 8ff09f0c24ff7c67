"""A register of which the write with the greatest timestamp stays."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from google.protobuf.any_pb2 import Any

from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.lattices_pb2 import LWWRegisterState
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.wire import expect_canonical, message_from, replica_from, to_bytes, writer_of

__all__ = ["Clock", "LWWRegister", "Write"]

_INT64 = range(-(2**63), 2**63)


class Clock(Enum):
    """How a write is dated."""

    #: The time given, or one more than the present timestamp where that is greater: the last stays.
    DEFAULT = "default"
    #: The negated time, or one less than the present timestamp: the first stays.
    REVERSE = "reverse"
    #: The number given.
    CUSTOM = "custom"
    #: The number given, or one more than the present timestamp where that is not below it.
    CUSTOM_AUTO_INCREMENT = "custom auto-increment"


class Write(NamedTuple):
    """One write.

    Attributes:
        timestamp: What decides.
        replica: Who wrote. Of two writes with one timestamp, that of the lower node stays, and of
            one node's the later.
        sequence: Tells writes of one replica with one timestamp apart.
        value: What was written. It decides only between writes of a replica that had lost its
            state: then too all nodes keep the same.
    """

    timestamp: int
    replica: Replica
    sequence: int
    value: Segment

    def beats(self, other: Write | None) -> bool:
        """Whether this write stays where both are known."""
        if other is None:
            return True
        if self.timestamp != other.timestamp:
            return self.timestamp > other.timestamp
        if self.replica.node != other.replica.node:
            return self.replica.node < other.replica.node
        return self[1:] > other[1:]


class LWWRegister(Lattice):
    """A register of which the write with the greatest timestamp stays.

    Attributes:
        written: The write that stands; None before the first.
    """

    __slots__ = ("written",)

    type_name = "lwwregister"

    def __init__(self, written: Write | None = None) -> None:
        self.written = written

    @property
    def value(self) -> Any | None:
        return None if self.written is None else self.written.value.item()

    @property
    def timestamp(self) -> int | None:
        return None if self.written is None else self.written.timestamp

    def set(
        self, replica: Replica, value: Any, *, now: int, clock: Clock = Clock.DEFAULT
    ) -> LWWRegister:
        """Write a value and return the delta, which is empty if an earlier write beats this one.

        Args:
            replica: Who writes.
            value: What is written.
            now: The time in milliseconds since 1970, or for the custom clocks the number chosen.
            clock: How the write is dated. One register is used with one clock: a small custom
                number never beats a time.

        Raises:
            ValueError: The timestamp is out of range. Nothing was changed.
        """
        timestamp = self._timestamp(now, clock)
        if timestamp not in _INT64:
            raise ValueError(f"expected a timestamp of 64 bits, found {timestamp!r}")
        write = Write(timestamp, replica, self._sequence(timestamp, replica), Segment.of(value))
        delta = LWWRegister(write if write.beats(self.written) else None)
        self.join(delta)
        return delta

    def _timestamp(self, now: int, clock: Clock) -> int:
        present = self.timestamp
        match clock:
            case Clock.REVERSE:
                return -now if present is None else min(-now, present - 1)
            case Clock.CUSTOM:
                return now
            case _:
                return now if present is None else max(now, present + 1)

    def _sequence(self, timestamp: int, replica: Replica) -> int:
        written = self.written
        if written is None or (written.timestamp, written.replica) != (timestamp, replica):
            return 0
        return written.sequence + 1

    @classmethod
    def bottom(cls, types: Types) -> LWWRegister:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> LWWRegister:
        message = message_from(LWWRegisterState, data)
        register = cls()
        if message.HasField("writer"):
            replica, value = replica_from(message.writer), Segment.of(message.value)
            register.written = Write(message.timestamp, replica, message.sequence, value)
        expect_canonical(register, data)
        return register

    def join(self, other: LWWRegister) -> bool:
        self.expect_same_type(other)
        if other.written is None or not other.written.beats(self.written):
            return False
        self.written = other.written
        return True

    def covers(self, other: LWWRegister) -> bool:
        return other.written is None or not other.written.beats(self.written)

    def serialize(self) -> bytes:
        if self.written is None:
            return b""
        timestamp, replica, sequence, value = self.written
        return to_bytes(
            LWWRegisterState(
                writer=writer_of(replica),
                timestamp=timestamp,
                sequence=sequence,
                value=value.item(),
            )
        )

    def copy(self) -> LWWRegister:
        return LWWRegister(self.written)

    def is_bottom(self) -> bool:
        return self.written is None

    def __eq__(self, other: object) -> bool:
        return self.written == other.written if isinstance(other, LWWRegister) else NotImplemented

    __hash__ = None
