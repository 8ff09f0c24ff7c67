"""The parts of an HTTP request that do not depend on where it goes, with no I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import lru_cache

from cloudstate_core.errors import LimitExceeded, MalformedRequest
from cloudstate_core.metadata import Metadata
from cloudstate_runtime.frontend.headers import CONDITION_HEADERS, is_passed_on

__all__ = ["Headers", "decompressed"]

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header, and the largest window

#: Clients send the same few names again and again; values are never kept.
_KNOWN_NAMES = 256


class Headers:
    """The headers of one request.

    Attributes:
        metadata: Those that are passed on, names as they were sent.
        content_type: What the body is, if the client says so.
        content_encoding: How the body is packed, in lower case, if it is.
        content_length: How long the body is, if the client says so.
        expects_continue: Whether the client waits to be told to send its body.
        conditions: Name in lower case and value of those that are conditions.
    """

    __slots__ = (
        "conditions",
        "content_encoding",
        "content_length",
        "content_type",
        "expects_continue",
        "metadata",
    )

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """Read headers as ASGI gives them; names in any case."""
        self.content_type: str | None = None
        self.content_encoding = ""
        self.content_length: int | None = None
        self.expects_continue = False
        self.conditions: tuple[tuple[str, str], ...] = ()
        entries = []
        for raw_name, raw_value in raw:
            name, lower, passes = _known(raw_name)
            value = raw_value.decode("latin-1")
            if lower == "content-type":
                self.content_type = value
            elif lower == "content-encoding":
                self.content_encoding = value.strip().lower()
            elif lower == "content-length":
                self.content_length = int(value)  # the server has checked it
            elif lower == "expect":
                self.expects_continue = True
            if passes:
                entries.append((name, value))
            elif lower in CONDITION_HEADERS:
                self.conditions += ((lower, value),)
        self.metadata = Metadata(entries)


@lru_cache(maxsize=_KNOWN_NAMES)
def _known(raw_name: bytes) -> tuple[str, str, bool]:
    """Return a header's name as text, that in lower case, and whether it is passed on."""
    name = raw_name.decode("latin-1")
    lower = name.lower()
    return name, lower, is_passed_on(lower)


def decompressed(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body as it was before it was packed.

    Args:
        body: As it was sent.
        encoding: What the client says it is packed with; empty for nothing.
        max_bytes: The most that may come out.

    Raises:
        MalformedRequest: If it is packed in another way, or not what it says.
        LimitExceeded: If more would come out; no more than that was unpacked.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise MalformedRequest(f"expected content-encoding 'gzip' or none, found {encoding[:80]!r}")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the body is not gzip: {error}") from error
    if len(unpacked) > max_bytes:
        raise LimitExceeded(f"expected at most {max_bytes} bytes of body, found more")
    if not unpacker.eof or unpacker.unused_data:
        raise MalformedRequest("the body is not one whole gzip stream")
    return unpacked
