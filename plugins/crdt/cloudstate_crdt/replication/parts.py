"""Messages that are longer than the transport carries travel in parts.

If one part is lost the message is, as any other may be. A node keeps one unfinished message of each
other node, so that nobody can fill its memory with beginnings.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudstate_crdt.errors import MalformedState, StateTooLarge
from cloudstate_crdt.replication_pb2 import Part

__all__ = ["Reassembly", "split"]

#: What one part holds at least, unless it is the last.
_MIN_PART_BYTES = 256


def split(message: bytes, number: int, part_bytes: int) -> Iterator[Part]:
    """Cut a message into parts.

    Args:
        message: What is cut.
        number: What tells this message from the others of this process.
        part_bytes: How much of the message goes into one part; not too little.
    """
    count = -(-len(message) // part_bytes)
    for index in range(count):
        data = message[index * part_bytes : (index + 1) * part_bytes]
        yield Part(number=number, index=index, count=count, data=data)


class Reassembly:
    """The message of one node of which not all parts have come."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        # Each takes some room beside what is in it.
        self._max_parts = -(-max_bytes // _MIN_PART_BYTES)
        self._which: tuple[int, int, int] | None = None
        self._parts: dict[int, bytes] = {}
        self._bytes = 0

    def receive(self, process: int, part: Part) -> bytes | None:
        """Take in a part; return the message if it was the last that was missing.

        A part of another message than the last one begins anew.

        Raises:
            MalformedState: It is no part. What was there is kept.
            StateTooLarge: The parts are longer than allowed. They are forgotten.
        """
        if part.index >= part.count or not part.data:
            raise MalformedState(
                f"expected a part of {part.count}, found number {part.index} of"
                f" {len(part.data)} bytes"
            )
        if part.count > self._max_parts:
            raise StateTooLarge(f"expected at most {self._max_parts} parts, found {part.count}")
        which = (process, part.number, part.count)
        if which != self._which:
            self._begin(which)
        if part.index not in self._parts:
            self._parts[part.index] = part.data
            self._bytes += len(part.data)
        if self._bytes > self._max_bytes:
            found = self._bytes
            self._begin(None)
            raise StateTooLarge(f"expected at most {self._max_bytes} bytes, found {found}")
        if len(self._parts) < part.count:
            return None
        whole = b"".join(self._parts[index] for index in range(part.count))
        self._begin(None)
        return whole

    def _begin(self, which: tuple[int, int, int] | None) -> None:
        self._which = which
        self._parts = {}
        self._bytes = 0
