"""How a node's copy of an entity is kept in its store: as one value, for deleted ones too.

A small change of a large copy is stored as an amendment to the value: the delta, as it is sent to
other nodes. Once the amendments are as long as the value, the copy is put as a whole again. So what
is written for a change grows with the change, and what is read of a copy with the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CorruptState
from cloudstate_core.store import MAX_AMENDMENTS, AmendValue, PutValue, StoredValue
from cloudstate_crdt.errors import StateRefused, StateTooLarge
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.lattices_pb2 import TypedState
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replicas import DELETED, Change, Deleted, digest_of
from cloudstate_crdt.wire import message_from

__all__ = ["AMENDED_FROM_BYTES", "Extent", "StoredForm"]

_STATE = "type.googleapis.com/cloudstate_crdt.TypedState"
_TOMBSTONE = "type.cloudstate.io/cloudstate_crdt.Deleted"

#: A copy that is shorter is always put as a whole: that takes no longer, and is read at once.
AMENDED_FROM_BYTES = 1024


class Extent(NamedTuple):
    """How much is stored of one copy.

    Attributes:
        whole_bytes: The value, as it was put last.
        amended_bytes: Its amendments.
        amendments: How many they are.
    """

    whole_bytes: int
    amended_bytes: int = 0
    amendments: int = 0

    @property
    def total_bytes(self) -> int:
        """The most that the copy takes when it is put as a whole."""
        return self.whole_bytes + self.amended_bytes

    @property
    def may_be_amended(self) -> bool:
        """Whether the value is long enough, and takes one more amendment."""
        return self.whole_bytes >= AMENDED_FROM_BYTES and self.amendments < MAX_AMENDMENTS

    @property
    def is_worthwhile(self) -> bool:
        """Whether the amendments are no longer than what putting the whole again would write."""
        return self.amended_bytes <= self.whole_bytes

    def amended_by(self, amendment_bytes: int) -> Extent:
        """Return what there is with another amendment."""
        return Extent(self.whole_bytes, self.amended_bytes + amendment_bytes, self.amendments + 1)


class StoredForm:
    """Writes and reads copies.

    Attributes:
        types: The types that are known.
        max_state_bytes: How large a copy may be, as it is written.
        max_grown_bytes: How large the commands of this node may make one. It is less, so that what
            two nodes have made of an entity while they were apart still fits when it is joined.
    """

    def __init__(
        self, types: Registry, max_state_bytes: int, max_grown_bytes: int | None = None
    ) -> None:
        """Keep the parts; without `max_grown_bytes`, commands may fill a copy to the limit."""
        self.types = types
        self.max_state_bytes = max_state_bytes
        self.max_grown_bytes = max_grown_bytes or max_state_bytes

    # --- Writing ---------------------------------------------------------------------

    def write_grown(
        self, copy: Change, change: Change, before: Extent | None, revision: int
    ) -> tuple[PutValue | AmendValue, Extent]:
        """Return what stores a copy that a command of this node has changed, and its new extent.

        Args:
            copy: The copy, with the change.
            change: What it has grown by.
            before: What is stored of it; None if the whole is to be put.
            revision: What the store calls that.

        Raises:
            StateTooLarge: It is larger than commands may make it, and larger than it was.
        """
        limit = self.max_grown_bytes
        if before is not None and before.total_bytes > limit:
            # Others have made it so large. What makes it no larger is taken.
            limit = min(before.total_bytes, self.max_state_bytes)
        return self._write(copy, [change], before, revision, limit)

    def write_joined(
        self, copy: Change, changes: Sequence[Change], before: Extent | None, revision: int
    ) -> tuple[PutValue | AmendValue, Extent]:
        """Return what stores a copy that has taken in what other nodes have sent.

        Raises:
            StateTooLarge: It is larger than a copy may be.
        """
        return self._write(copy, changes, before, revision, self.max_state_bytes)

    def _write(
        self,
        copy: Change,
        changes: Sequence[Change],
        before: Extent | None,
        revision: int,
        limit: int,
    ) -> tuple[PutValue | AmendValue, Extent]:
        if before is not None and before.may_be_amended:
            amendment = self._amendment(changes)
            after = before.amended_by(len(amendment))
            if amendment and after.is_worthwhile and after.total_bytes <= limit:
                return AmendValue(revision, Any(type_url=_STATE, value=amendment)), after
        whole = self.write(copy, limit)
        return PutValue(revision, whole), Extent(len(whole.value))

    def _amendment(self, changes: Sequence[Change]) -> bytes:
        """Return changes as one; nothing if they are none that a copy could be amended by."""
        joined: Lattice | None = None
        for change in changes:
            if isinstance(change, Deleted):
                return b""
            if joined is None:
                joined = change if len(changes) == 1 else change.copy()
            else:
                joined.join(change)
        return b"" if joined is None else self.types.write(joined)

    def write(self, copy: Change, limit: int | None = None) -> Any:
        """Return a copy as a whole.

        Raises:
            StateTooLarge: It is longer than `limit`, or than a copy may be.
        """
        if isinstance(copy, Deleted):
            return Any(type_url=_TOMBSTONE)
        data = self.types.write(copy)
        limit = self.max_state_bytes if limit is None else limit
        if len(data) > limit:
            raise StateTooLarge(f"expected a state of at most {limit} bytes, found {len(data)}")
        return Any(type_url=_STATE, value=data)

    # --- Reading ---------------------------------------------------------------------

    def read(self, entity_id: str, stored: StoredValue) -> tuple[Change | None, Extent | None]:
        """Return the copy that was stored, and how much of it there is; None if there is none.

        Raises:
            CorruptState: It is none, or of a type that is not known.
        """
        whole = stored.value
        if whole is None:
            return None, None
        if whole.type_url == _TOMBSTONE and not stored.amendments:
            return DELETED, None
        state = self._part(entity_id, whole)
        extent = Extent(len(whole.value))
        for amendment in stored.amendments:
            change = self._part(entity_id, amendment)
            try:
                state.expect_same_type(change)
                state.join(change)
            except StateRefused as error:
                raise CorruptState(f"entity {entity_id!r}: {error}") from error
            extent = extent.amended_by(len(amendment.value))
        return state, extent

    def _part(self, entity_id: str, stored: Any) -> Lattice:
        if stored.type_url != _STATE:
            raise CorruptState(
                f"entity {entity_id!r}: expected a replicated state in the store, found "
                f"{stored.type_url!r}"
            )
        try:
            return self.types.read(stored.value, max_state_bytes=len(stored.value))
        except StateRefused as error:
            raise CorruptState(f"entity {entity_id!r}: {error}") from error

    def digest(self, entity_id: str, stored: StoredValue) -> bytes | None:
        """Return what `digest_of` says of a copy, without reading it where that is the same.

        Raises:
            CorruptState: As `read` says.
        """
        whole = stored.value
        if whole is not None and whole.type_url == _STATE and not stored.amendments:
            try:
                typed = message_from(TypedState, whole.value)
                if self.types.named(typed.type).digest is Lattice.digest:
                    return _digest(typed)
            except StateRefused as error:
                raise CorruptState(f"entity {entity_id!r}: {error}") from error
        copy, _ = self.read(entity_id, stored)
        return None if copy is None else digest_of(copy)


def _digest(typed: TypedState) -> bytes:
    """Return what `Lattice.digest` returns for the state that was written so."""
    hashed = blake2b(typed.type.encode(), digest_size=16)
    hashed.update(b"\0")
    hashed.update(typed.state)
    return hashed.digest()
