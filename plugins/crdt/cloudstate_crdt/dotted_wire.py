"""Between dot stores and the message that they are written as."""

from __future__ import annotations

from collections.abc import Sequence

from cloudstate_crdt.causal import Dot
from cloudstate_crdt.dot_store import Branch, DotStore, Path
from cloudstate_crdt.errors import MalformedState, NestedTooDeep
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.lattices_pb2 import Branch as BranchMessage
from cloudstate_crdt.lattices_pb2 import DottedState
from cloudstate_crdt.lattices_pb2 import Leaf as LeafMessage
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.succession import Succession
from cloudstate_crdt.wire import replica_from, writer_of

__all__ = ["MAX_DEPTH", "read_store", "write_store"]

#: How many keys and elements a path may have. Protobuf's own readers stop at a hundred messages
#: inside each other, and a step takes two.
MAX_DEPTH = 16


def write_store(store: DotStore) -> DottedState:
    """Return the message for a store; equal stores give equal messages."""
    message = DottedState()
    seen = store.context
    replicas = sorted(seen.replicas())
    positions = {replica: position for position, replica in enumerate(replicas)}
    for replica in replicas:
        message.writers.append(writer_of(replica))
        message.seen.add(
            writer=positions[replica],
            up_to=seen.up_to.get(replica, 0),
            beyond=sorted(seen.beyond.get(replica, ())),
        )
    if store.paths:
        _write_branch(store.root, message.root, positions, store.succession)
    return message


def _write_branch(
    branch: Branch,
    message: BranchMessage,
    positions: dict[Replica, int],
    succession: Succession,
) -> None:
    for dot in sorted(branch.leaves):
        part = branch.leaves[dot]
        leaf = message.leaves.add(writer=positions[dot.replica], sequence=dot.sequence)
        if part is not None:
            leaf.part = part.serialize()
        for replica, sequence in sorted(succession.stands_for(dot)):
            leaf.stands_for.add(writer=writer_of(replica), sequence=sequence)
    for segment in sorted(branch.children):
        child = message.children.add(type=segment.type_name)
        child.item.type_url, child.item.value = segment.type_url, segment.value
        child.item.SetInParent()
        child.branch.SetInParent()
        _write_branch(branch.children[segment], child.branch, positions, succession)


def read_store(message: DottedState, store: DotStore) -> None:
    """Fill an empty store with what a message holds.

    Raises:
        StateRefused: No replica writes such a message. What the store holds means nothing.
    """
    replicas = [replica_from(writer) for writer in message.writers]
    for seen in message.seen:
        replica = _writer(replicas, seen.writer)
        if seen.up_to:
            store.context.up_to[replica] = seen.up_to
        if seen.beyond:
            if min(seen.beyond) <= seen.up_to + 1:
                raise MalformedState("expected a gap before the dots beyond it, found none")
            store.context.beyond[replica] = set(seen.beyond)
    _read_branch(message.root, (), replicas, store)
    if store.end_successions():
        raise MalformedState("expected a leaf to stand in for something, found it removed")


def _read_branch(
    message: BranchMessage, path: Path, replicas: Sequence[Replica], store: DotStore
) -> None:
    if len(path) > MAX_DEPTH:
        raise NestedTooDeep(f"expected at most {MAX_DEPTH} keys above each other, found more")
    for leaf in message.leaves:
        dot = Dot(_writer(replicas, leaf.writer), leaf.sequence)
        if dot in store.paths or dot not in store.context or dot.sequence == 0:
            raise MalformedState("expected each leaf to have a dot of its own that was seen")
        store.insert(dot, path, _read_part(leaf, path, store), _read_stands_for(leaf))
    for child in message.children:
        item = child.item
        segment = Segment(item.type_url, item.value, child.type)
        _read_branch(child.branch, (*path, segment), replicas, store)


def _read_part(leaf: LeafMessage, path: Path, store: DotStore) -> Lattice | None:
    type_name = path[-1].type_name if path else ""
    if not leaf.HasField("part"):
        return None
    if not type_name:
        raise MalformedState("expected a part of a value only under a key, found one elsewhere")
    type_ = store.types.named(type_name)
    if type_.shares_dots:
        raise MalformedState(f"expected a {type_name!r} among the leaves, found it in a part")
    return type_.parse(leaf.part, store.types)


def _read_stands_for(leaf: LeafMessage) -> frozenset[Dot]:
    return frozenset(Dot(replica_from(dot.writer), dot.sequence) for dot in leaf.stands_for)


def _writer(replicas: Sequence[Replica], position: int) -> Replica:
    if position >= len(replicas):
        raise MalformedState(f"expected one of {len(replicas)} writers, found number {position}")
    return replicas[position]
