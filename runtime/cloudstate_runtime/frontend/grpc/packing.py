"""Large messages on their way to clients that accept them packed."""

from __future__ import annotations

import asyncio
import zlib

from cloudstate_runtime.frontend.grpc.call import Call
from cloudstate_runtime.frontend.grpc.wire import PREFIX_BYTES, message_frame

__all__ = ["announce_packing", "packed_frame"]

_GZIP_HEADER = (b"grpc-encoding", b"gzip")

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header, and the largest window

#: Higher levels take several times as long for the last tenth.
_LEVEL = 1

#: Packed without a pause; other calls have their turns in between.
_CHUNK_BYTES = 64 * 1024

#: A message whose beginning does not become smaller than this share of it is sent as it is.
_WORTH_IT = 0.9


def announce_packing(call: Call) -> None:
    """Say in the headers, which are not out yet, that messages may be packed.

    Says nothing if the client does not accept that.
    """
    if _accepts_gzip(call) and _GZIP_HEADER not in call.reply_headers:
        call.reply_headers.append(_GZIP_HEADER)


async def packed_frame(call: Call, payload: bytes) -> bytes:
    """Return a message as it is sent: packed, if that was announced and makes it smaller."""
    if _GZIP_HEADER not in call.reply_headers:
        return message_frame(payload)
    packed = await _packed(payload)
    if packed is None or len(packed) >= len(payload):
        return message_frame(payload)
    return b"\x01" + len(packed).to_bytes(PREFIX_BYTES - 1, "big") + packed


def _accepts_gzip(call: Call) -> bool:
    return any(
        name == b"grpc-accept-encoding"
        and any(each.strip() == b"gzip" for each in value.split(b","))
        for name, value in call.headers
    )


async def _packed(payload: bytes) -> bytes | None:
    """Return a gzip stream; None if it is not worth it."""
    packer, view = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP), memoryview(payload)
    first = view[:_CHUNK_BYTES]
    parts = [packer.compress(first) + packer.flush(zlib.Z_SYNC_FLUSH)]
    if len(parts[0]) > len(first) * _WORTH_IT:
        return None
    for start in range(_CHUNK_BYTES, len(view), _CHUNK_BYTES):
        await asyncio.sleep(0)
        parts.append(packer.compress(view[start : start + _CHUNK_BYTES]))
    parts.append(packer.flush())
    return b"".join(parts)
