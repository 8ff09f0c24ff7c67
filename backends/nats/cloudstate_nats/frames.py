"""How a message looks on its way: who sent it, and which piece of a longer one it is.

A frame begins with a byte that says whether it is whole (1) or a piece (2), the length of the
sender's name, and the name. A piece goes on with the number of the process that sent it, the number
of the message, and which piece of how many it is. The rest is content.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from cloudstate_core.transport import check_node_name

__all__ = ["Assembly", "MalformedFrame", "frames_of"]

_WHOLE, _PIECE = 1, 2

_PLACE = struct.Struct(">QQII")

#: About what a piece takes in memory besides its content, so that tiny ones cannot fill it.
_BYTES_BESIDE_CONTENT = 200


class MalformedFrame(Exception):
    """What came is no frame. It is left out; nothing else is changed."""


def frames_of(
    sender: str, message: bytes, max_frame_bytes: int, *, process: int, number: int
) -> Iterator[bytes]:
    """Return the frames of a message, each of at most `max_frame_bytes`.

    Args:
        sender: Name of the node that sends it.
        message: The message.
        max_frame_bytes: What the server carries.
        process: A number that no other process of the node has.
        number: A number that no other message of the process has.
    """
    name = sender.encode()
    if 2 + len(name) + len(message) <= max_frame_bytes:
        yield bytes((_WHOLE, len(name))) + name + message
        return
    head = bytes((_PIECE, len(name))) + name
    size = max(1, max_frame_bytes - len(head) - _PLACE.size)
    count = -(-len(message) // size)
    for index in range(count):
        place = _PLACE.pack(process, number, index, count)
        yield head + place + message[index * size : (index + 1) * size]


class Assembly:
    """Puts together what was sent in pieces.

    Of several messages that are not complete and together too long, the oldest is given up.

    Attributes:
        given_up: How many messages were given up.
    """

    def __init__(self, max_message_bytes: int, max_incomplete_bytes: int) -> None:
        """Keep the bounds."""
        self.given_up = 0
        self._max_message_bytes = max_message_bytes
        self._max_incomplete_bytes = max_incomplete_bytes
        self._incomplete: OrderedDict[tuple[str, int, int], _Incomplete] = OrderedDict()
        self._bytes = 0

    def take(self, frame: bytes) -> tuple[str, bytes] | None:
        """Return sender and message if a frame completes one.

        Raises:
            MalformedFrame: It is none.
        """
        sender, rest = _sender_of(frame)
        if frame[0] == _WHOLE:
            return sender, rest
        if len(rest) <= _PLACE.size:
            raise MalformedFrame("a piece is cut off")
        process, number, index, count = _PLACE.unpack_from(rest)
        # Every piece holds at least a byte.
        if not index < count <= self._max_message_bytes:
            raise MalformedFrame(f"piece {index} of {count}")
        return self._add((sender, process, number), index, count, rest[_PLACE.size :])

    def _add(
        self, key: tuple[str, int, int], index: int, count: int, content: bytes
    ) -> tuple[str, bytes] | None:
        message = self._incomplete.setdefault(key, _Incomplete(count, {}))
        if message.count != count:
            raise MalformedFrame("pieces of one message disagree")
        if index in message.pieces:
            return None
        message.pieces[index] = content
        message.size += len(content)
        self._bytes += len(content) + _BYTES_BESIDE_CONTENT
        if message.size > self._max_message_bytes:
            self._drop(key)
            raise MalformedFrame("a message is too long")
        if len(message.pieces) == count:
            self._drop(key)
            return key[0], b"".join(message.pieces[each] for each in range(count))
        while self._bytes > self._max_incomplete_bytes and self._incomplete:
            self._drop(next(iter(self._incomplete)))
            self.given_up += 1
        return None

    def _drop(self, key: tuple[str, int, int]) -> None:
        message = self._incomplete.pop(key)
        self._bytes -= message.size + len(message.pieces) * _BYTES_BESIDE_CONTENT


@dataclass(slots=True)
class _Incomplete:
    """The pieces that have come of one message."""

    count: int
    pieces: dict[int, bytes]
    size: int = 0


def _sender_of(frame: bytes) -> tuple[str, bytes]:
    if len(frame) < 3 or frame[0] not in {_WHOLE, _PIECE}:
        raise MalformedFrame("it does not begin as one")
    end = 2 + frame[1]
    try:
        sender = frame[2:end].decode("ascii")
        check_node_name(sender)
    except ValueError as error:
        raise MalformedFrame("its sender has no name") from error
    if len(sender) != frame[1]:
        raise MalformedFrame("its sender's name is cut off")
    return sender, frame[end:]
