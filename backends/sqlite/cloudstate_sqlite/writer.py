"""Group commit: what is submitted becomes batches, and a thread writes one batch after the other.

Commits that arrive while the thread is busy wait together and become the next transaction, so that
they share one sync. The event loop hands over one batch at a time and hears of it once, when it is
done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

from cloudstate_core.errors import StoreUnavailable
from cloudstate_sqlite.entries import Entry
from cloudstate_sqlite.jobs import probe
from cloudstate_sqlite.scribe import Job, Scribe

__all__ = ["Writer"]

R = TypeVar("R")

_log = structlog.get_logger(__name__)


class Writer:
    """Writes what is submitted, in the order in which it was submitted.

    Args:
        scribe: What the thread does.
        max_batch_commits: See `SqliteSettings`.
        max_batch_bytes: See `SqliteSettings`.
    """

    def __init__(self, scribe: Scribe, *, max_batch_commits: int, max_batch_bytes: int) -> None:
        self._scribe = scribe
        self._max_batch_commits = max_batch_commits
        self._max_batch_bytes = max_batch_bytes
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Entry[Any]] = []
        self._is_busy = False
        self._is_closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
        self._batches: SimpleQueue[list[Entry[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="cloudstate-sqlite-writer", daemon=True)

    async def open(self) -> None:
        """Open the file.

        Raises:
            StoreUnusable: It cannot be used. Nothing was changed.
        """
        self._thread.start()
        try:
            await self.submit(Job(probe))
        except BaseException:
            await self.close()
            raise

    def submit(self, entry: Entry[R]) -> asyncio.Future[R]:
        """Let the thread carry out an entry, whether or not anybody waits for the future.

        Raises:
            StoreUnavailable: The store is closed. Nothing will be written.
        """
        if self._is_closing:
            raise StoreUnavailable("the store is closed")
        entry.future = self._loop.create_future()
        self._waiting.append(entry)
        if not self._is_busy:
            # At the end of this turn of the loop: other tasks may have something to commit, too.
            self._is_busy = True
            self._idle.clear()
            self._loop.call_soon(self._hand_over)
        return entry.future

    async def close(self) -> None:
        """Carry out what was submitted, and close the file."""
        self._is_closing = True
        try:
            await self._idle.wait()
        finally:
            self._batches.put(None)
        await self._ended.wait()
        self._thread.join()

    def _hand_over(self) -> None:
        count, size_bytes = 0, 0
        for entry in self._waiting[: self._max_batch_commits]:
            count += 1
            size_bytes += entry.size_bytes
            if size_bytes >= self._max_batch_bytes:
                break
        batch = self._waiting[:count]
        del self._waiting[:count]
        self._batches.put(batch)

    def _settle(self, batch: list[Entry[Any]]) -> None:
        for entry in batch:
            # The future of a caller that was cancelled is done already.
            if entry.future.done():
                continue
            if entry.error is None:
                entry.future.set_result(entry.result)
            else:
                entry.future.set_exception(entry.error)
        if self._waiting:
            self._hand_over()
        else:
            self._is_busy = False
            self._idle.set()

    def _run(self) -> None:
        """Write batches until there are no more; runs in the thread."""
        while (batch := self._batches.get()) is not None:
            self._scribe.carry_out(batch)
            self._tell(self._settle, batch)
            self._scribe.keep_up()
        self._scribe.close()
        self._tell(self._ended.set)

    def _tell(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed before the store: there is nobody left to hear of it.
            _log.warning("store_outlived_its_event_loop")
