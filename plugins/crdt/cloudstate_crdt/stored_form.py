"""How a node's copy of an entity is kept in its store: as one value, for deleted ones too."""

from __future__ import annotations

from hashlib import blake2b

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CorruptState
from cloudstate_crdt.errors import StateRefused, StateTooLarge
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.lattices_pb2 import TypedState
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replicas import DELETED, Change, Deleted, digest_of
from cloudstate_crdt.wire import message_from

__all__ = ["StoredForm"]

_STATE = "type.googleapis.com/cloudstate_crdt.TypedState"
_TOMBSTONE = "type.cloudstate.io/cloudstate_crdt.Deleted"


class StoredForm:
    """Writes and reads copies.

    Attributes:
        types: The types that are known.
        max_state_bytes: How large a copy may be, as it is written.
    """

    def __init__(self, types: Registry, max_state_bytes: int) -> None:
        """Keep the parts."""
        self.types = types
        self.max_state_bytes = max_state_bytes

    def write(self, copy: Change) -> Any:
        """Return what is stored of a copy.

        Raises:
            StateTooLarge: It is larger than a copy may be.
        """
        if isinstance(copy, Deleted):
            return Any(type_url=_TOMBSTONE)
        data = self.types.write(copy)
        if len(data) > self.max_state_bytes:
            raise StateTooLarge(
                f"expected a state of at most {self.max_state_bytes} bytes, found {len(data)}"
            )
        return Any(type_url=_STATE, value=data)

    def read(self, entity_id: str, stored: Any) -> Change:
        """Return the copy that was stored.

        Raises:
            CorruptState: It is none, or of a type that is not known.
        """
        if stored.type_url == _TOMBSTONE:
            return DELETED
        if stored.type_url != _STATE:
            raise CorruptState(
                f"entity {entity_id!r}: expected a replicated state in the store, found "
                f"{stored.type_url!r}"
            )
        try:
            return self.types.read(stored.value, max_state_bytes=len(stored.value))
        except StateRefused as error:
            raise CorruptState(f"entity {entity_id!r}: {error}") from error

    def digest(self, entity_id: str, stored: Any) -> bytes:
        """Return what `digest_of` says of a copy, without reading it where that is the same.

        Raises:
            CorruptState: As `read` says.
        """
        if stored.type_url == _STATE:
            try:
                typed = message_from(TypedState, stored.value)
                if self.types.named(typed.type).digest is Lattice.digest:
                    return _digest(typed)
            except StateRefused as error:
                raise CorruptState(f"entity {entity_id!r}: {error}") from error
        return digest_of(self.read(entity_id, stored))


def _digest(typed: TypedState) -> bytes:
    """Return what `Lattice.digest` returns for the state that was written so."""
    hashed = blake2b(typed.type.encode(), digest_size=16)
    hashed.update(b"\0")
    hashed.update(typed.state)
    return hashed.digest()
