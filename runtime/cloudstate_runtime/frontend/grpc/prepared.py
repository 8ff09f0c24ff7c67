"""Header blocks that are the same in every answer, encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpack import Encoder

from cloudstate_runtime.frontend.grpc.status import ETAG, OK_TRAILERS, RESPONSE_HEADERS

__all__ = ["PreparedEncoder"]

_STATUS_200 = b"\x88"  # entry 8 of the static table (RFC 7541, appendix A)


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header that leaves the decoder's table as it is (RFC 7541, section 6.2.2)."""
    assert max(len(name), len(value)) < 0x7F  # one byte holds the length, not coded as Huffman
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


_RESPONSE = tuple(RESPONSE_HEADERS)
_PREPARED = {
    _RESPONSE: _STATUS_200 + _literal(*RESPONSE_HEADERS[1]),
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
