"""Refusing calls by their bytes, before they are read. No I/O.

Of what a refused call costs, nearly all is reading its frames and headers. So while there is no
room for calls, their frames are taken out of what a client sends, and answered, without anybody
else having seen them. A call may be taken out if its headers leave the table of the decoder as it
is (RFC 7541, sections 6.1, 6.2.2 and 6.2.3), so that later ones can be decoded without these: most
libraries send such ones after their first call with the same headers. Any other call is passed on,
and refused by whoever comes to it, at the usual cost.
"""

from __future__ import annotations

from collections.abc import Callable

from h2.connection import H2Connection
from hpack import HPACKError
from hpack.hpack import decode_integer

from cloudstate_core.value import value
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.prepared import literal_block
from cloudstate_runtime.frontend.grpc.status import RESPONSE_HEADERS, trailers

__all__ = ["Sifted", "Sifter"]

Headers = list[tuple[bytes, bytes]]

_FRAME_HEAD_BYTES = 9
_DATA, _HEADERS, _RST_STREAM = 0x0, 0x1, 0x3
_PRIORITY_FRAME, _WINDOW_UPDATE = 0x2, 0x8
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20
_PRIORITY_BYTES = 5

#: What is dropped of a call that was taken out. Anything else is nothing a client should send.
_OF_TAKEN = frozenset((_DATA, _RST_STREAM, _PRIORITY_FRAME, _WINDOW_UPDATE))

#: What resets a stream, up to its number: a frame of four bytes, which say that all is well.
_RESET = b"\x00\x00\x04\x03\x00"

#: The largest frame a client may send (RFC 9113, section 4.2); what is larger is not sifted.
_MAX_FRAME_BYTES = 16_384

#: Blocks that are known by heart.
_MAX_BLOCKS = 64

#: Calls that were taken out and have not ended.
_MAX_TAKEN = 256


@value
class Sifted:
    """What has become of some data.

    Attributes:
        passed: What is to be read; ends with a whole frame.
        answers: What is to be sent to the client.
        refused: How many calls were taken out.
        expected: How many calls were not, for which there was room.
    """

    passed: bytes
    answers: bytes
    refused: int
    expected: int


class Sifter:
    """Takes calls out of what one client sends.

    Args:
        connection: The server's end of the connection, by which the rest is read.
        may_refuse: Says by the headers of a call whether it may be taken out.
    """

    def __init__(self, connection: H2Connection, may_refuse: Callable[[Headers], bool]) -> None:
        self._h2 = connection
        self._may_refuse = may_refuse
        self._rest = b""
        self._blocks: dict[bytes, bool] = {}
        self._table: tuple[object, int] = (None, 0)
        self._refusal: Refusal | None = None
        self._answer = b""
        # Streams of calls that were taken out, of which more may come; whether they are answered.
        self._taken: dict[bytes, bool] = {}
        self._last_stream_id = 0
        # Filled by `sift`.
        self._answers: list[bytes] = []
        self._consumed_bytes = 0

    def begin(self, data: bytes) -> bytes:
        """Return data together with what was kept back before."""
        # Not before what came with those calls was read: earlier calls may have been among it.
        connection = self._h2
        connection.highest_inbound_stream_id = max(
            connection.highest_inbound_stream_id, self._last_stream_id
        )
        if self._rest:
            data, self._rest = self._rest + data, b""
        return data

    def has_to_sift(self) -> bool:
        """Return whether more may come of calls that were taken out."""
        return bool(self._taken)

    def can_sift(self) -> bool:
        """Return whether the next byte is the first one of a frame, and none of headers' rest."""
        # `h2` has no public name for this.
        buffer = self._h2.incoming_buffer
        return not (buffer._data or buffer._headers_buffer or buffer._preamble_len)  # noqa: SLF001

    def sift(self, data: bytes, room: int, refusal: Refusal) -> Sifted:
        """Take out the calls for which there is no room.

        Args:
            data: What came, from the first byte of a frame on. An incomplete frame at its end is
                kept for the next time.
            room: How many calls there is room for.
            refusal: What to tell the others.
        """
        self._prepare(refusal)
        passed: list[bytes] = []
        position = start = expected = refused = 0
        while (end := _frame_end(data, position)) > 0:
            kind, stream_id = data[position + 3], data[position + 5 : position + 9]
            is_out = kind in _OF_TAKEN and stream_id in self._taken
            if is_out:
                self._drop(data[position:end], stream_id)
            elif kind == _HEADERS and self._is_call(data, position, end):
                is_out = expected >= room
                if is_out:
                    self._taken[stream_id] = False
                    refused += 1
                else:
                    expected += 1
                self._last_stream_id = int.from_bytes(stream_id, "big")
            if is_out:
                passed.append(data[start:position])
                start = end
            position = end
        if end < 0:
            position = len(data)
        passed.append(data[start:position])
        self._rest = data[position:]
        return Sifted(b"".join(passed), self._said(), refused, expected)

    def _prepare(self, refusal: Refusal) -> None:
        if refusal is not self._refusal:
            self._refusal = refusal
            block = literal_block([*RESPONSE_HEADERS, *trailers(refusal)])
            head = len(block).to_bytes(3, "big") + bytes((_HEADERS, _END_HEADERS | _END_STREAM))
            self._answer = head + bytes(4) + block
        # The same bytes mean other headers once something was put into the table.
        entries = self._h2.decoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        if newest is not self._table[0] or len(entries) != self._table[1]:
            self._table = newest, len(entries)
            self._blocks.clear()

    def _said(self) -> bytes:
        """Return what is to be sent."""
        if self._consumed_bytes:
            window = self._consumed_bytes.to_bytes(4, "big")
            self._answers.append(b"\x00\x00\x04\x08\x00" + bytes(4) + window)
        said = b"".join(self._answers)
        self._answers.clear()
        self._consumed_bytes = 0
        return said

    def _drop(self, frame: bytes, stream_id: bytes) -> None:
        """Do for a call that was taken out what its reader would do."""
        kind, flags = frame[3], frame[4]
        if kind == _DATA:
            self._consumed_bytes += len(frame) - _FRAME_HEAD_BYTES
            is_answered = self._taken[stream_id]
            if not is_answered:
                self._taken[stream_id] = True
                self._answers.append(self._answer[:5] + stream_id + self._answer[9:])
            if flags & _END_STREAM:
                del self._taken[stream_id]
            elif not is_answered:
                self._answers.append(_RESET + stream_id + bytes(4))  # RFC 9113, section 8.1
        elif kind == _RST_STREAM:
            del self._taken[stream_id]

    def _is_call(self, data: bytes, position: int, end: int) -> bool:
        """Return whether headers are those of a call that may be taken out."""
        flags = data[position + 4]
        if flags & (_END_HEADERS | _END_STREAM | _PADDED) != _END_HEADERS:
            return False
        number = int.from_bytes(data[position + 5 : position + 9], "big")
        last = max(self._h2.highest_inbound_stream_id, self._last_stream_id)
        if not number & 1 or number <= last or not self._has_room():
            return False
        skipped = _FRAME_HEAD_BYTES + (_PRIORITY_BYTES if flags & _PRIORITY else 0)
        return self._is_known(data[position + skipped : end])

    def _has_room(self) -> bool:
        if len(self._taken) >= _MAX_TAKEN:
            # Who was told so sends nothing more, or what comes is refused by `h2`.
            self._taken = {stream: False for stream, told in self._taken.items() if not told}
        return len(self._taken) < _MAX_TAKEN

    def _is_known(self, block: bytes) -> bool:
        known = self._blocks.get(block)
        if known is None:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            known = self._blocks[block] = self._may_take(block)
        return known

    def _may_take(self, block: bytes) -> bool:
        try:
            if not _leaves_table(block):
                return False
            headers = self._h2.decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError):
            return False  # whoever reads it says what is wrong
        return self._may_refuse([(bytes(name), bytes(value)) for name, value in headers])


def _frame_end(data: bytes, position: int) -> int:
    """Return where the frame that begins here ends; 0 if it is not complete, -1 if too large."""
    head_end = position + _FRAME_HEAD_BYTES
    if head_end > len(data):
        return 0
    size = int.from_bytes(data[position : position + 3], "big")
    if size > _MAX_FRAME_BYTES:
        return -1
    end = head_end + size
    return end if end <= len(data) else 0


def _leaves_table(block: bytes) -> bool:
    """Return whether a block of headers only refers to the table, and changes nothing in it."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:  # an entry of the table
            position += decode_integer(block[position:], 7)[1]
        elif first & 0xE0:  # a new entry, or another size
            return False
        else:  # a value, and maybe a name, that is not to be remembered
            index, size = decode_integer(block[position:], 4)
            position += size
            for _ in range(1 if index else 2):
                length, size = decode_integer(block[position:], 7)
                position += size + length
    return position == len(block)
