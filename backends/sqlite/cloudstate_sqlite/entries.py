"""What waits for the writer."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import Generic, TypeVar

from cloudstate_core.store import Commit, EntityKey
from cloudstate_core.stores.copies import CopiedWrite, copies_of

__all__ = ["AcknowledgeEntry", "CommitEntry", "Entry"]

R = TypeVar("R")


class Entry(Generic[R]):
    """Work for the writer, and the future of whoever waits for it.

    Attributes:
        future: Made when the entry is submitted; belongs to the event loop.
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
    """A commit, copied.

    Args:
        commit: The commit.
        unix_time_s: When it was asked for.

    Raises:
        ValueError: It makes no sense.
        LimitExceeded: A payload is too large.
    """

    __slots__ = ("epoch", "key", "names_messages", "unix_time_s", "writes")

    def __init__(self, commit: Commit, unix_time_s: float) -> None:
        copies = copies_of(commit)
        super().__init__(copies.size_bytes)
        self.result = None
        self.key: EntityKey = commit.key
        self.epoch = commit.epoch
        self.writes: list[CopiedWrite] = copies.writes
        self.names_messages = copies.names_messages
        self.unix_time_s = unix_time_s


class AcknowledgeEntry(Entry[None]):
    """Messages that are done; they leave the file together with what is committed then.

    Args:
        message_ids: Their names.
    """

    __slots__ = ("message_ids",)

    def __init__(self, message_ids: Sequence[str]) -> None:
        super().__init__()
        self.result = None
        self.message_ids = [message_id.encode() for message_id in message_ids]
