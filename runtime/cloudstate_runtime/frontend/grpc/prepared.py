"""Header blocks that are the same in every answer, encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpack import Encoder
from hpack.hpack import encode_integer

from cloudstate_runtime.frontend.grpc.status import ETAG, OK_TRAILERS, RESPONSE_HEADERS

__all__ = ["PreparedEncoder", "literal_block"]

_STATUS_200 = b"\x88"  # entry 8 of the static table (RFC 7541, appendix A)


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header that leaves the decoder's table as it is (RFC 7541, section 6.2.2)."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    """Return a string, not coded as Huffman (RFC 7541, section 5.2)."""
    return bytes(encode_integer(len(text), 7)) + text


def literal_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the block of headers of a response that begins with status 200."""
    first, *others = headers
    assert first == RESPONSE_HEADERS[0]
    return _STATUS_200 + b"".join(_literal(*each) for each in others)


_RESPONSE = tuple(RESPONSE_HEADERS)
_PREPARED = {
    _RESPONSE: literal_block(RESPONSE_HEADERS),
    tuple(OK_TRAILERS): _literal(*OK_TRAILERS[0]),
}


class PreparedEncoder(Encoder):
    """Encodes as ever, but knows the usual answer by heart.

    A prepared block depends on nothing that was encoded before, and nothing that is encoded after
    depends on it.
    """

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002
        headers = tuple(headers)
        if not self.table_size_changes:  # else that has to be said first
            prepared = _PREPARED.get(headers)
            if prepared is not None:
                return prepared
            if headers[-1][0] == ETAG and headers[:-1] == _RESPONSE:
                return _PREPARED[_RESPONSE] + _literal(*headers[-1])
        return super().encode(headers, huffman)
