"""What an operator does with parked messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from google.protobuf.message import DecodeError

from cloudstate.entity_pb2 import SideEffect
from cloudstate_core.durable.messages import message_of, sender_of
from cloudstate_core.store import ParkedMessage, StateStore

__all__ = ["ParkedEntry", "Parking"]

#: Messages that are looked at at once.
_PAGE_MESSAGES = 500


class ParkedEntry(TypedDict):
    """A parked message, for people: without what is in it.

    Attributes:
        id: Its name.
        sender: Service, command and id of the entity that has sent it.
        receiver: Service, command and id of the entity it is for; the id is empty if there is none.
        reason: Why it was parked.
        since_unix_s: Since when.
        size_bytes: How large its payload is.
    """

    id: str
    sender: tuple[str, str, str]
    receiver: tuple[str, str, str]
    reason: str
    since_unix_s: float
    size_bytes: int


class Parking:
    """Lists parked messages, lets them wait again, and drops them.

    Args:
        store: Where they are.
        unparked: Called when messages wait again.
    """

    def __init__(self, store: StateStore, unparked: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._unparked = unparked

    async def entries(self) -> list[ParkedEntry]:
        """Return all parked messages, the oldest first."""
        return [_entry(each) for each in await self._all()]

    async def retry(self, message_ids: Sequence[str] | None) -> list[str]:
        """Let parked messages wait again, or all if None is given; return which were parked."""
        if message_ids is None:
            message_ids = await self._names()
        found = await self._store.unpark(message_ids)
        if found:
            self._unparked()
        return found

    async def drop(self, message_ids: Sequence[str] | None) -> list[str]:
        """Drop parked messages for good, or all if None is given; return which were parked."""
        parked = await self._names()
        wanted = set(parked if message_ids is None else message_ids)
        # Only what is parked: what waits may be on its way.
        found = [message_id for message_id in parked if message_id in wanted]
        if found:
            await self._store.acknowledge(found)
        return found

    async def _names(self) -> list[str]:
        return [each.message.message_id for each in await self._all()]

    async def _all(self) -> list[ParkedMessage]:
        found: list[ParkedMessage] = []
        after = 0
        while page := await self._store.parked(after=after, limit=_PAGE_MESSAGES):
            found += page
            after = page[-1].message.number
        return found


def _entry(parked: ParkedMessage) -> ParkedEntry:
    message = message_of(parked.message.sender, parked.message)
    sender = sender_of(message)
    service, _, command = message.destination.partition("/")
    return ParkedEntry(
        id=message.id,
        sender=(
            sender.service or message.lane.sender.persistence_id,
            sender.command,
            message.lane.sender.entity_id,
        ),
        receiver=(service, command, message.lane.entity_id),
        reason=parked.reason,
        since_unix_s=parked.unix_time_s,
        size_bytes=_size_bytes(message.payload.value),
    )


def _size_bytes(packed: bytes) -> int:
    try:
        return len(SideEffect.FromString(packed).payload.value)
    except DecodeError:
        return len(packed)
