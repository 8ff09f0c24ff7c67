"""Messages in memory: those that wait, those that are parked, and the notes of those received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from google.protobuf.any_pb2 import Any

from cloudstate_core.store import EntityKey, OutboxMessage, ParkedMessage, slice_of
from cloudstate_core.stores.copies import Message

__all__ = ["Messages"]


class _Sent(NamedTuple):
    number: int
    sender: EntityKey
    message: Message


class _Parked(NamedTuple):
    reason: str
    unix_time_s: float


class Messages:
    """What is stored of messages of all entities."""

    def __init__(self) -> None:
        """Start empty."""
        self._sent: dict[bytes, _Sent] = {}
        self._parked: dict[bytes, _Parked] = {}
        self._sent_so_far = 0
        # By the part of their id before the first dot, so that those of derived ids are found.
        self._notes: dict[bytes, set[tuple[EntityKey, bytes]]] = {}

    def is_sent(self, message_id: bytes) -> bool:
        """Return whether a message of this id is in the outbox."""
        return message_id in self._sent

    def add(self, sender: EntityKey, message: Message) -> None:
        """Put a message into the outbox."""
        self._sent_so_far += 1
        self._sent[message.message_id] = _Sent(self._sent_so_far, sender, message)

    def waiting(self, slices: range, after: int, limit: int) -> list[OutboxMessage]:
        """Return messages that wait."""
        found = (
            sent
            for message_id, sent in self._sent.items()
            if sent.number > after
            and message_id not in self._parked
            and slice_of(sent.sender) in slices
        )
        return [_outbox_message(sent) for sent in islice(found, limit)]

    def acknowledge(self, message_ids: Iterable[bytes]) -> None:
        """Forget messages, and that they were received."""
        for message_id in message_ids:
            self._sent.pop(message_id, None)
            self._parked.pop(message_id, None)
            root = _root(message_id)
            derived = message_id + b"."
            left = {
                note
                for note in self._notes.pop(root, ())
                if note[1] != message_id and not note[1].startswith(derived)
            }
            if left:
                self._notes[root] = left

    def park(self, message_id: bytes, reason: str, unix_time_s: float) -> bool:
        """Park a message; return whether it waited."""
        if message_id not in self._sent or message_id in self._parked:
            return False
        self._parked[message_id] = _Parked(reason, unix_time_s)
        return True

    def unpark(self, message_ids: Sequence[str]) -> list[str]:
        """Let messages wait again; return which were parked."""
        return [each for each in message_ids if self._parked.pop(each.encode(), None) is not None]

    def parked(self, after: int, limit: int) -> list[ParkedMessage]:
        """Return messages that are parked."""
        found = self._parked_after(after)
        return list(islice(found, limit))

    def is_received(self, key: EntityKey, message_id: bytes) -> bool:
        """Return whether an entity has received a message."""
        return (key, message_id) in self._notes.get(_root(message_id), ())

    def note(self, key: EntityKey, message_id: bytes) -> None:
        """Note that an entity has received a message."""
        self._notes.setdefault(_root(message_id), set()).add((key, message_id))

    def erase(self, key: EntityKey) -> None:
        """Forget what an entity has sent and received."""
        for message_id in [m for m, sent in self._sent.items() if sent.sender == key]:
            del self._sent[message_id]
            self._parked.pop(message_id, None)
        for root, notes in list(self._notes.items()):
            left = {note for note in notes if note[0] != key}
            if left:
                self._notes[root] = left
            else:
                del self._notes[root]

    def _parked_after(self, after: int) -> Iterator[ParkedMessage]:
        for message_id, sent in self._sent.items():
            parked = self._parked.get(message_id)
            if parked is not None and sent.number > after:
                yield ParkedMessage(_outbox_message(sent), parked.reason, parked.unix_time_s)


def _root(message_id: bytes) -> bytes:
    return message_id.partition(b".")[0]


def _outbox_message(sent: _Sent) -> OutboxMessage:
    message = sent.message
    type_url, data = message.payload
    return OutboxMessage(
        sent.number,
        sent.sender,
        message.message_id.decode(),
        message.destination.decode(),
        Any(type_url=type_url, value=data),
        dict(message.metadata),
    )
