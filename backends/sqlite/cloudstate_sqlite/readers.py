"""The threads that read, each with a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

import apsw
import structlog

from cloudstate_core.errors import CloudstateError, CorruptState, StoreUnavailable
from cloudstate_sqlite.database import Database

__all__ = ["Readers", "Suspended"]

R = TypeVar("R")

_log = structlog.get_logger(__name__)

# How many reads a thread takes at once; the event loop hears of them together.
_MAX_READS = 16


class Suspended(StoreUnavailable):
    """The file is closed after a failure, until the writer opens it anew."""


class _Read:
    """A read, and the future of whoever waits for it."""

    __slots__ = ("error", "future", "query", "result")

    def __init__(
        self, query: Callable[[apsw.Connection], Any], future: asyncio.Future[Any]
    ) -> None:
        self.query = query
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


class Readers:
    """Carries out reads, several at a time.

    Args:
        database: The file.
        threads: How many reads run at a time.
    """

    def __init__(self, database: Database, *, threads: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads: SimpleQueue[_Read | None] = SimpleQueue()
        self._is_closing = False
        self._readers = [_Reader(database) for _ in range(threads)]
        self._threads = [
            Thread(
                target=self._run,
                args=(reader,),
                name=f"cloudstate-sqlite-reader-{number}",
                daemon=True,
            )
            for number, reader in enumerate(self._readers)
        ]

    def open(self) -> None:
        for thread in self._threads:
            thread.start()

    async def read(self, query: Callable[[apsw.Connection], R]) -> R:
        """Return what a query returns.

        Raises:
            CorruptState: The file is damaged.
            Suspended: The writer has to open the file first.
            StoreUnavailable: The file cannot be read now.
        """
        if self._is_closing:
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[R] = self._loop.create_future()
        self._reads.put(_Read(query, future))
        return await future

    async def close(self) -> None:
        """Carry out the reads that wait, and close the file."""
        self._is_closing = True
        for _ in self._threads:
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def suspend(self) -> None:
        """Close all connections and refuse reads; called by the writer's thread."""
        for reader in self._readers:
            reader.suspend()

    def resume(self) -> None:
        """Take reads again; called by the writer's thread."""
        for reader in self._readers:
            reader.resume()

    def _run(self, reader: _Reader) -> None:
        while (read := self._reads.get()) is not None:
            reads = [read, *self._more()]
            for each in reads:
                reader.carry_out(each)
            try:
                self._loop.call_soon_threadsafe(_settle, reads)
            except RuntimeError:
                _log.warning("store_outlived_its_event_loop")
        reader.suspend()

    def _more(self) -> list[_Read]:
        """Take further reads, as long as there are some."""
        reads: list[_Read] = []
        try:
            while len(reads) < _MAX_READS - 1:
                read = self._reads.get_nowait()
                if read is None:
                    self._reads.put(None)
                    break
                reads.append(read)
        except Empty:
            pass
        return reads


class _Reader:
    """One connection, opened when it is needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._connection: apsw.Connection | None = None
        self._is_suspended = True

    def carry_out(self, read: _Read) -> None:
        """Set the result or the error of a read; never raises."""
        if read.future.cancelled():
            return
        try:
            with self._lock:
                read.result = read.query(self._connect())
        except CloudstateError as error:
            read.error = error
        except (apsw.CorruptError, apsw.NotADBError) as error:
            read.error = CorruptState("the file of the store is damaged", detail=str(error))
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            read.error = StoreUnavailable("the store cannot be read", detail=reason)

    def suspend(self) -> None:
        with self._lock:
            self._is_suspended = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close(True)

    def resume(self) -> None:
        with self._lock:
            self._is_suspended = False

    def _connect(self) -> apsw.Connection:
        if self._is_suspended:
            raise Suspended("the store failed and is to be opened anew")
        if self._connection is None:
            self._connection = self._database.connect_reader()
        return self._connection


def _settle(reads: list[_Read]) -> None:
    for read in reads:
        if read.future.done():
            continue
        if read.error is None:
            read.future.set_result(read.result)
        else:
            read.future.set_exception(read.error)
