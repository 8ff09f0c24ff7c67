"""The parts of gRPC over HTTP/2 that are only bytes: messages, timeouts, headers. No I/O.

A message is one byte that says whether it is packed, its length in four, and its bytes. Text in
`grpc-message` is percent-encoded; a header whose name ends in `-bin` is base64.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable

from cloudstate_core.errors import LimitExceeded, MalformedRequest
from cloudstate_core.metadata import Metadata
from cloudstate_core.waiting import WAITING_HEADER, waiting_of
from cloudstate_runtime.frontend.headers import CONDITION_HEADERS, is_passed_on

__all__ = [
    "PREFIX_BYTES",
    "MessageReader",
    "condition_headers",
    "encoded_text",
    "message_frame",
    "metadata_of",
    "timeout_s",
]

Headers = Iterable[tuple[bytes, bytes]]

PREFIX_BYTES = 5

_WAITING_HEADER = WAITING_HEADER.encode()
_CONDITION_HEADERS = frozenset(name.encode() for name in CONDITION_HEADERS)

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header, and the largest window
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_ILLEGAL_IN_NAME = re.compile(rb"[^!#-'*+.^_`a-z|~0-9:-]|^\Z")
_ILLEGAL_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TO_ENCODE = re.compile(rb"[^\x20-\x24\x26-\x7e]")


def message_frame(payload: bytes) -> bytes:
    """Return a message as it is sent, not packed."""
    return b"\x00" + len(payload).to_bytes(4, "big") + payload


class MessageReader:
    """Puts the messages of one call together.

    Args:
        encoding: How packed messages are packed: "gzip", or "identity" for not at all.
        max_bytes: The largest message, unpacked or not.
    """

    __slots__ = ("_buffer", "_encoding", "_max_bytes")

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete with this data.

        Raises:
            LimitExceeded: A message is, or says that it will be, too large.
            MalformedRequest: A message is not packed as it says.
        """
        self._buffer += data
        messages = []
        while (message := self.next_message()) is not None:
            messages.append(message)
        return messages

    def append(self, data: bytes) -> None:
        """Keep data until `next_message` asks for it."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next message and forget it; None if it is not complete.

        Raises:
            LimitExceeded: The message is, or says that it will be, too large.
            MalformedRequest: The message is not packed as it says.
        """
        buffer = self._buffer
        if len(buffer) < PREFIX_BYTES:
            return None
        size = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
        if size > self._max_bytes:
            raise self._too_large(f"{size} bytes")
        end = PREFIX_BYTES + size
        if end > len(buffer):
            return None
        payload, is_packed = bytes(buffer[PREFIX_BYTES:end]), buffer[0]
        del buffer[:end]
        return self._unpacked(payload) if is_packed else payload

    def held_bytes(self) -> int:
        """Return how much of what came is in no message yet that was taken."""
        return len(self._buffer)

    def is_within_a_message(self) -> bool:
        """Return whether more data has to come before the last message is complete."""
        return bool(self._buffer)

    def _unpacked(self, payload: bytes) -> bytes:
        if self._encoding != "gzip":
            raise MalformedRequest("a message is packed, but no grpc-encoding says how")
        unpacker = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacker.decompress(payload, self._max_bytes + 1)
        except zlib.error as error:
            raise MalformedRequest(f"a message is not gzip: {error}") from error
        if len(unpacked) > self._max_bytes:
            raise self._too_large("more when unpacked")
        if not unpacker.eof or unpacker.unused_data:
            raise MalformedRequest("a message is not one whole gzip stream")
        return unpacked

    def _too_large(self, found: str) -> LimitExceeded:
        return LimitExceeded(
            f"expected a message of at most {self._max_bytes} bytes, found {found}"
        )


def timeout_s(value: bytes) -> float:
    """Return what the header `grpc-timeout` says, in seconds.

    Raises:
        MalformedRequest: If it does not say a time.
    """
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        raise MalformedRequest(f"expected a grpc-timeout such as '10S', found {value[:80]!r}")
    return int(found[1]) * _UNITS_S[found[2]]


def encoded_text(text: str) -> bytes:
    """Return text as the value of `grpc-message`."""
    return _TO_ENCODE.sub(lambda found: b"%%%02X" % found[0][0], text.encode(errors="replace"))


def metadata_of(headers: Headers) -> Metadata:
    """Return the headers of a client that are passed on; binary ones decoded.

    Raises:
        MalformedRequest: If a binary header is not base64, or a name or value holds characters
            that HTTP does not allow there.
    """
    entries: list[tuple[str, str | bytes]] = []
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if _ILLEGAL_IN_NAME.search(raw_name) or _ILLEGAL_IN_VALUE.search(raw_value):
            raise MalformedRequest(f"illegal characters in header {name[:80]!r}")
        if is_passed_on(name):
            if name.endswith("-bin"):
                entries += [(name, _from_base64(name, part)) for part in raw_value.split(b",")]
            else:
                entries.append((name, raw_value.decode("latin-1")))
    return Metadata(entries)


def condition_headers(headers: Headers) -> list[tuple[str, str]]:
    """Return the headers of a client that are conditions."""
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name in _CONDITION_HEADERS
    ]


def waiting_headers(headers: Headers) -> tuple[str, ...]:
    """Return who waits for the answer, if the client is a handler that asks."""
    values = [value.decode("latin-1") for name, value in headers if name == _WAITING_HEADER]
    return waiting_of(Metadata((WAITING_HEADER, value) for value in values)) if values else ()


def _from_base64(name: str, value: bytes) -> bytes:
    digits = value.strip().rstrip(b"=")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        raise MalformedRequest(f"header {name[:80]!r} is not base64") from None
