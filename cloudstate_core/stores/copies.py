"""Copies of commits, checked: what a store works with, whatever the caller does meanwhile.

Every command passes through here, so each payload is read once, and the small classes are tuples,
which are made in half the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import LimitExceeded
from cloudstate_core.store import (
    MAX_PAYLOAD_BYTES,
    AmendValue,
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
    Write,
)
from cloudstate_core.stores.checks import check_key

__all__ = [
    "Amendment",
    "CopiedWrite",
    "Copies",
    "Events",
    "Message",
    "Note",
    "Payload",
    "Reply",
    "State",
    "Value",
    "copies_of",
]

#: The type URL and the bytes of an `Any`.
Payload = tuple[str, bytes]

# Sequences and revisions beyond this cannot have come from a store.
_MAX_COUNT = 2**63 - 1

# A thousand years: whoever wants more wants for ever, and times stay numbers that can be stored.
_MAX_KEEP_S = 1000 * 365 * 86_400.0


class Events(NamedTuple):
    """`AppendEvents`."""

    expected_sequence: int
    payloads: list[Payload]
    metadata: dict[str, str]


class State(NamedTuple):
    """`PutSnapshot`."""

    sequence: int
    payload: Payload


class Value(NamedTuple):
    """`PutValue`, or `DeleteValue` if there is no payload."""

    expected_revision: int
    payload: Payload | None


class Amendment(NamedTuple):
    """`AmendValue`."""

    expected_revision: int
    payload: Payload


class Message(NamedTuple):
    """`EnqueueMessage`; the names are UTF-8."""

    message_id: bytes
    destination: bytes
    payload: Payload
    metadata: dict[str, str]


class Reply(NamedTuple):
    """`RememberReply`; the name is UTF-8."""

    command_key: bytes
    digest: bytes
    reply: bytes
    keep_s: float
    keep_count: int


class Note(NamedTuple):
    """`Received`; the name is UTF-8."""

    message_id: bytes


CopiedWrite = Events | State | Value | Amendment | Message | Reply | Note


@dataclass(slots=True)
class Copies:
    """The writes of a commit.

    Attributes:
        writes: Their copies, in order.
        size_bytes: How large their payloads are together.
        names_messages: Whether there is a `Message` or a `Note` among them.
    """

    writes: list[CopiedWrite]
    size_bytes: int = 0
    names_messages: bool = False


def copies_of(commit: Commit) -> Copies:
    """Copy the writes of a commit.

    Raises:
        ValueError: The commit makes no sense, whatever is stored: see `StateStore.commit`.
        LimitExceeded: A payload is too large.
    """
    check_key(commit.key)
    copies = Copies([])
    for write in commit.writes:
        copies.writes.append(_copy(write, copies))
    if not copies.writes:
        raise ValueError(f"entity {commit.key.entity_id!r}: expected writes, found none")
    if len(copies.writes) > 1:
        _check_names(copies.writes)
    return copies


def _copy(write: Write, copies: Copies) -> CopiedWrite:
    match write:
        case AppendEvents(expected, events, metadata):
            if not events:
                raise ValueError("expected events to append, found none")
            payloads = [_payload(event, copies) for event in events]
            return Events(_count(expected, "expected sequence"), payloads, _metadata(metadata))
        case PutSnapshot(sequence, state):
            return State(_count(sequence, "sequence"), _payload(state, copies))
        case PutValue(expected, value):
            return Value(_count(expected, "expected revision"), _payload(value, copies))
        case AmendValue(expected, amendment):
            return Amendment(_count(expected, "expected revision"), _payload(amendment, copies))
        case DeleteValue(expected):
            return Value(_count(expected, "expected revision"), None)
        case EnqueueMessage(message_id, destination, payload, metadata):
            copies.names_messages = True
            return Message(
                message_id.encode(),
                destination.encode(),
                _payload(payload, copies),
                _metadata(metadata),
            )
        case RememberReply(command_key, digest, reply, keep_s, keep_count):
            name, digest, reply = (
                command_key.encode(),
                _sized(digest, copies),
                _sized(reply, copies),
            )
            return Reply(name, digest, reply, *_bounds(keep_s, keep_count))
        case Received(message_id):
            copies.names_messages = True
            return Note(message_id.encode())


def _payload(message: Any, copies: Copies) -> Payload:
    return message.type_url, _sized(message.value, copies)


def _sized(data: bytes, copies: Copies) -> bytes:
    size_bytes = len(data)
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise LimitExceeded(
            f"expected a payload of at most {MAX_PAYLOAD_BYTES} bytes, found {size_bytes} bytes"
        )
    copies.size_bytes += size_bytes
    return bytes(data)


def _count(found: int, what: str) -> int:
    if not 0 <= found <= _MAX_COUNT:
        raise ValueError(f"expected {what} from 0 to {_MAX_COUNT}, found {found}")
    return found


def _bounds(keep_s: float, keep_count: int) -> tuple[float, int]:
    if not (0 < keep_s <= _MAX_KEEP_S and 0 < keep_count <= _MAX_COUNT):
        raise ValueError(
            f"expected to keep at least one reply, for up to {_MAX_KEEP_S} s, "
            f"found {keep_count} for {keep_s} s"
        )
    return keep_s, keep_count


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for name, text in metadata.items():
        name.encode()
        text.encode()
    return dict(metadata)


def _check_names(writes: list[CopiedWrite]) -> None:
    """Return if nothing is written twice."""
    seen: set[tuple[type, bytes]] = set()
    for write in writes:
        kind, name = type(write), b""
        match write:
            case Events():
                continue
            case State() | Value():
                pass
            case Amendment():
                kind = Value
            case Message(message_id) | Note(message_id):
                name = message_id
            case Reply(command_key):
                name = command_key
        if (kind, name) in seen:
            raise ValueError(
                f"expected {kind.__name__.lower()} {name.decode()!r} once in a commit, "
                "found it twice"
            )
        seen.add((kind, name))
