"""Between states and the messages that they are written as.

Whatever is read is written again and must give the same bytes. That finds, at once, garbage, fields
that are not known, entries out of order or there twice, and defaults that are spelt out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from cloudstate_crdt.errors import MalformedState
from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.lattices_pb2 import Count, GCounterState, Writer
from cloudstate_crdt.replica import Replica

__all__ = [
    "MAX_UINT64",
    "any_of",
    "counts_from",
    "expect_canonical",
    "message_from",
    "replica_from",
    "to_bytes",
    "write_counts",
    "writer_of",
]

MAX_UINT64 = 2**64 - 1

MessageT = TypeVar("MessageT", bound=Message)


def message_from(message_class: type[MessageT], data: bytes) -> MessageT:
    """Read a message.

    Raises:
        MalformedState: The bytes are no such message.
    """
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        name = message_class.DESCRIPTOR.name
        raise MalformedState(f"expected a {name}, found {len(data)} bytes of no message") from error


def to_bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def expect_canonical(state: Lattice, data: bytes) -> None:
    """Check that a state would be written as the bytes that it was read from.

    Raises:
        MalformedState: It would not.
    """
    if state.serialize() != data:
        raise MalformedState(
            f"expected the one way to write this {state.type_name!r}, found another"
            f" in {len(data)} bytes"
        )


def writer_of(replica: Replica) -> Writer:
    return Writer(node=replica.node, epoch=replica.epoch, strand=replica.strand)


def replica_from(writer: Writer) -> Replica:
    return Replica(writer.node, writer.epoch, writer.strand)


def any_of(type_url: str, value: bytes) -> Any:
    return Any(type_url=type_url, value=value)


def write_counts(counts: dict[Replica, int], state: GCounterState) -> None:
    """Write counts into a message, in their order."""
    # In place: this is done for every change of a counter.
    for replica in sorted(counts):
        written = state.counts.add(count=counts[replica])
        writer = written.writer
        writer.node, writer.epoch = replica.node, replica.epoch
        if replica.strand:
            writer.strand = replica.strand


def counts_from(counts: Iterable[Count]) -> dict[Replica, int]:
    """Counts as they were read.

    Raises:
        MalformedState: One is 0, which no replica writes.
    """
    read = {replica_from(each.writer): each.count for each in counts}
    if 0 in read.values():
        raise MalformedState("expected counts above 0, found 0")
    return read
