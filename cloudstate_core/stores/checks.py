"""What a store refuses before it looks at what is stored: the same for every backend."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import LimitExceeded
from cloudstate_core.store import (
    MAX_ENTITY_ID_BYTES,
    MAX_PAYLOAD_BYTES,
    AppendEvents,
    Commit,
    DeleteValue,
    EnqueueMessage,
    EntityKey,
    PutSnapshot,
    PutValue,
    Received,
    RememberReply,
)

__all__ = ["check_commit", "check_key", "check_page"]


def check_key(key: EntityKey) -> None:
    """Return if an entity of this key can be stored.

    Raises:
        ValueError: The id is empty or too long, or a part of the key is no text that UTF-8 can
            encode.
    """
    key.persistence_id.encode()
    length = len(key.entity_id.encode())
    if not 0 < length <= MAX_ENTITY_ID_BYTES:
        raise ValueError(
            f"expected an entity id of 1 to {MAX_ENTITY_ID_BYTES} bytes, found one of {length}"
        )


def check_page(*, limit: int, after: int = 0) -> None:
    """Return if these bounds name a part of a sequence.

    Raises:
        ValueError: `after` is negative or `limit` is less than 1.
    """
    if limit < 1:
        raise ValueError(f"expected a limit of 1 or more, found {limit}")
    if after < 0:
        raise ValueError(f"expected after to be 0 or more, found {after}")


def check_commit(commit: Commit) -> None:
    """Return if a commit makes sense, whatever is stored.

    Raises:
        ValueError: It makes no sense: see `StateStore.commit`.
        LimitExceeded: A payload is too large.
    """
    check_key(commit.key)
    if not commit.writes:
        raise ValueError(f"entity {commit.key.entity_id!r}: expected writes, found none")
    seen: set[tuple[str, str]] = set()
    for write in commit.writes:
        match write:
            case AppendEvents(expected, events, metadata):
                _check_count(expected, "an expected sequence")
                if not events:
                    raise ValueError("expected events to append, found none")
                for event in events:
                    _check_size(event)
                _check_metadata(metadata)
            case PutSnapshot(sequence, state):
                _check_count(sequence, "a sequence")
                _check_size(state)
                _once(seen, "a snapshot")
            case PutValue(expected, value):
                _check_count(expected, "an expected revision")
                _check_size(value)
                _once(seen, "a value")
            case DeleteValue(expected):
                _check_count(expected, "an expected revision")
                _once(seen, "a value")
            case EnqueueMessage(message_id, destination, payload, metadata):
                destination.encode()
                _check_size(payload)
                _check_metadata(metadata)
                _once(seen, "a message to send", message_id)
            case RememberReply(command_key, digest, reply):
                _check_bytes(len(digest))
                _check_bytes(len(reply))
                _once(seen, "a reply", command_key)
            case Received(message_id):
                _once(seen, "a received message", message_id)


def _check_count(found: int, what: str) -> None:
    if found < 0:
        raise ValueError(f"expected {what} of 0 or more, found {found}")


def _check_size(payload: Any) -> None:
    _check_bytes(len(payload.value))


def _check_bytes(length: int) -> None:
    if length > MAX_PAYLOAD_BYTES:
        raise LimitExceeded(
            f"expected a payload of at most {MAX_PAYLOAD_BYTES} bytes, found {length} bytes"
        )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for name, value in metadata.items():
        name.encode()
        value.encode()


def _once(seen: set[tuple[str, str]], what: str, name: str = "") -> None:
    name.encode()
    if (what, name) in seen:
        raise ValueError(f"expected {what} once in a commit, found {name!r} twice")
    seen.add((what, name))
