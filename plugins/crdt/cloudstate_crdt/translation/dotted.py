"""What the types that are made of dotted leaves have in common on the protocol."""

from __future__ import annotations

from collections.abc import Iterable

from cloudstate_crdt.dot_store import DotStore
from cloudstate_crdt.types.dotted import DottedLattice

__all__ = ["joined"]


def joined(changes: Iterable[DottedLattice], state: DottedLattice) -> DotStore:
    """Return the deltas of some changes as one.

    A set or a map inside a map shares the map's store, and so do its deltas.

    Args:
        changes: Deltas of which each belongs to nobody else.
        state: What they change; it says of what types there are.
    """
    store: DotStore | None = None
    for change in changes:
        if store is None:
            store = change.store
        else:
            store.join(change.store)
    return DotStore(state.store.types) if store is None else store
