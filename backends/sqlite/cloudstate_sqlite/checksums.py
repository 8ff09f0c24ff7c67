"""Checksums of what is stored: over the bytes, and over whose bytes they are."""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from cloudstate_core.store import EntityKey

__all__ = ["amendment_checksum", "checksum", "event_checksum", "event_head", "key_checksum"]

#: Returns what the checksum of an event begins with: its number, its time, the length of its type's
#: URL and of its payload, in bytes. The type's URL and the metadata follow, and then the payload.
event_head = Struct(">qdqq").pack


def key_checksum(key: EntityKey) -> int:
    """Return the checksum that those of all rows of an entity start from."""
    return checksum(0, 0, key.persistence_id.encode(), key.entity_id.encode())


def checksum(start: int, number: int, *parts: bytes) -> int:
    """Return the checksum of a number and of parts, each with its length."""
    lengths = b"".join(len(part).to_bytes(8, "big") for part in parts)
    total = crc32(number.to_bytes(8, "big") + lengths, start)
    for part in parts:
        total = crc32(part, total)
    return total


def amendment_checksum(
    start: int, number: int, revision: int, type_url: str, payload: bytes
) -> int:
    """Return the checksum of an amendment; `start` is that of its entity's key."""
    return checksum(start, revision, number.to_bytes(8, "big"), type_url.encode(), payload)


def event_checksum(
    start: int, sequence: int, unix_time_s: float, type_url: str, payload: bytes, metadata: str
) -> int:
    """Return the checksum of an event; `start` is that of its entity's key."""
    url = type_url.encode()
    head = event_head(sequence, unix_time_s, len(url), len(payload))
    return crc32(payload, crc32(head + url + metadata.encode(), start))
