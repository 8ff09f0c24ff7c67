"""What waits for the writer: commits and other work, with everything copied out of the caller.

A caller may change its messages as soon as it has handed them over, so nothing here refers to them.
"""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.any_pb2 import Any

from cloudstate_core.store import (
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    EntityKey,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
    Write,
)
from cloudstate_core.stores.checks import check_commit

__all__ = [
    "CommitEntry",
    "Entry",
    "Events",
    "Message",
    "Payload",
    "State",
    "StoredWrite",
    "Value",
    "commit_entry",
]

#: The type URL and the bytes of an `Any`.
Payload = tuple[str, bytes]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Events:
    """`AppendEvents`; the metadata is JSON, or empty if there is none."""

    expected_sequence: int
    payloads: list[Payload]
    metadata: str


@dataclass(frozen=True, slots=True)
class State:
    """`PutSnapshot`."""

    sequence: int
    payload: Payload


@dataclass(frozen=True, slots=True)
class Value:
    """`PutValue`, or `DeleteValue` if there is no payload."""

    expected_revision: int
    payload: Payload | None


@dataclass(frozen=True, slots=True)
class Message:
    """`EnqueueMessage`; the metadata is JSON, or empty if there is none."""

    message_id: bytes
    destination: bytes
    payload: Payload
    metadata: str


StoredWrite = Events | State | Value | Message | RememberReply | Received


class Entry(Generic[R]):
    """Work for the writer, and the future of whoever waits for it.

    Attributes:
        future: Made when the entry is handed over; belongs to the event loop.
        result: What came of it, unless there is an error.
        error: What the waiting caller is to see instead.
        size_bytes: Roughly how much is to be written.
    """

    __slots__ = ("error", "future", "result", "size_bytes")

    def __init__(self, size_bytes: int = 0) -> None:
        self.future: Future[R]
        self.result: R
        self.error: Exception | None = None
        self.size_bytes = size_bytes


class CommitEntry(Entry[None]):
    """A commit."""

    __slots__ = ("epoch", "key", "unix_time_s", "writes")

    def __init__(
        self,
        key: EntityKey,
        epoch: int,
        writes: list[StoredWrite],
        unix_time_s: float,
        size_bytes: int,
    ) -> None:
        super().__init__(size_bytes)
        self.result = None
        self.key = key
        self.epoch = epoch
        self.writes = writes
        self.unix_time_s = unix_time_s


def commit_entry(commit: Commit, unix_time_s: float) -> CommitEntry:
    """Copy a commit.

    Raises:
        ValueError: It makes no sense.
        LimitExceeded: A payload is too large.
    """
    check_commit(commit)
    writes = [_copy(write) for write in commit.writes]
    size_bytes = sum(_size_bytes(write) for write in writes)
    return CommitEntry(commit.key, commit.epoch, writes, unix_time_s, size_bytes)


def _copy(write: Write) -> StoredWrite:
    match write:
        case AppendEvents(expected, events, metadata):
            return Events(expected, [_payload(event) for event in events], _as_json(metadata))
        case PutSnapshot(sequence, state):
            return State(sequence, _payload(state))
        case PutValue(expected, value):
            return Value(expected, _payload(value))
        case DeleteValue(expected):
            return Value(expected, None)
        case EnqueueMessage(message_id, destination, payload, metadata):
            return Message(
                message_id.encode(), destination.encode(), _payload(payload), _as_json(metadata)
            )
        case RememberReply(command_key, digest, reply):
            return RememberReply(command_key, bytes(digest), bytes(reply))
        case Received():
            return write


def _payload(message: Any) -> Payload:
    return message.type_url, message.value


def _as_json(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), separators=(",", ":")) if metadata else ""


def _size_bytes(write: StoredWrite) -> int:
    match write:
        case Events(_, payloads):
            return sum(len(payload) for _, payload in payloads)
        case State(_, (_, payload)) | Value(_, (_, payload)) | Message(_, _, (_, payload)):
            return len(payload)
        case RememberReply(_, _, reply):
            return len(reply)
        case _:
            return 0
