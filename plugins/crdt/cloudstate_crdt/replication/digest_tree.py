"""What all copies of one node amount to, so that two nodes find where they differ.

Three levels: a digest of everything, one for each of 256 buckets of entities, one for each entity.
A changed entity changes one digest of each level, so that keeping them costs the same however many
entities there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct
from zlib import crc32

from cloudstate_crdt.errors import MalformedState

__all__ = ["BUCKETS", "DigestTree", "bucket_of"]

BUCKETS = 256

#: The bytes of one bucket's digest.
_BYTES = 8

_ALL_BUCKETS = Struct(f">{BUCKETS}Q")


def bucket_of(entity_id: str) -> int:
    """Return which bucket an entity is in: the same on all nodes."""
    return crc32(entity_id.encode()) % BUCKETS


class DigestTree:
    """Digests of the copies of this node."""

    def __init__(self) -> None:
        self._entities: list[dict[str, bytes]] = [{} for _ in range(BUCKETS)]
        self._buckets = [0] * BUCKETS
        self._root: bytes | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def set(self, entity_id: str, digest: bytes | None) -> None:
        """Take note of an entity's digest; None if there is no copy."""
        number = bucket_of(entity_id)
        entities = self._entities[number]
        old = entities.get(entity_id)
        if digest == old:
            return
        self._root = None
        if old is not None:
            self._buckets[number] ^= _weight(entity_id, old)
            self._count -= 1
            del entities[entity_id]
        if digest is not None:
            # The order in which entities come is not the same on all nodes.
            self._buckets[number] ^= _weight(entity_id, digest)
            self._count += 1
            entities[entity_id] = digest

    def root(self) -> bytes:
        """Return the digest of everything."""
        if self._root is None:
            self._root = blake2b(self.buckets(), digest_size=16).digest()
        return self._root

    def buckets(self) -> bytes:
        """Return the digests of all buckets, one after the other."""
        return _ALL_BUCKETS.pack(*self._buckets)

    def differing(self, buckets: bytes) -> Sequence[int]:
        """Return the numbers of the buckets that are not the same on another node.

        Raises:
            MalformedState: These are not the digests of all buckets.
        """
        if len(buckets) != BUCKETS * _BYTES:
            raise MalformedState(f"expected {BUCKETS * _BYTES} bytes, found {len(buckets)}")
        theirs = _ALL_BUCKETS.unpack(buckets)
        return [number for number, own in enumerate(self._buckets) if own != theirs[number]]

    def entities(self, number: int) -> Mapping[str, bytes]:
        """Return the digests of the entities in a bucket, by id; to be looked at only."""
        return self._entities[number]


def _weight(entity_id: str, digest: bytes) -> int:
    hashed = blake2b(digest, digest_size=_BYTES)
    hashed.update(entity_id.encode())
    return int.from_bytes(hashed.digest())
