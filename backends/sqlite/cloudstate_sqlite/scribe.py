"""What the thread of the writer does.

After a failure that leaves the outcome open the scribe *stops*: it closes the file, and before
anything else is read or written it opens the file anew, from what is on disk, and proves by a write
that the disk works. Nothing it knew before counts any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import apsw
import structlog

from cloudstate_core.errors import (
    CloudstateError,
    LimitExceeded,
    StoreUnavailable,
    StoreUnusable,
)
from cloudstate_sqlite.database import Database
from cloudstate_sqlite.entries import AcknowledgeEntry, CommitEntry, Entry
from cloudstate_sqlite.ledger import Ledger, Recent
from cloudstate_sqlite.readers import Readers
from cloudstate_sqlite.schema import RECOVERIES
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.upkeep import Upkeep

__all__ = ["Job", "Scribe"]

R = TypeVar("R")

_log = structlog.get_logger(__name__)

# When it makes sense to try again after the disk was full, in seconds.
_DISK_FULL_RETRY_S = 5.0


class Job(Entry[R]):
    """Work that is no commit; it gets a transaction of its own."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[Ledger], R]) -> None:
        super().__init__()
        self.run = run


class Scribe:
    """Carries out entries. No method raises: what goes wrong is said to whoever waits.

    Args:
        database: The file; acquired with the first entry, released by `close`.
        settings: The settings.
        recent: Kept up to date for the readers.
        readers: Kept away from the file until it is open, and while it is opened anew.
    """

    def __init__(
        self, database: Database, settings: SqliteSettings, recent: Recent, readers: Readers
    ) -> None:
        self._database = database
        self._settings = settings
        self._recent = recent
        self._readers = readers
        self._is_acquired = False
        self._has_failed = False
        self._ledger: Ledger | None = None
        self._upkeep: Upkeep | None = None

    def carry_out(self, batch: Sequence[Entry[Any]]) -> None:
        """Carry out entries; commits and acknowledgements share a transaction, as they come."""
        shared: list[CommitEntry | AcknowledgeEntry] = []
        for entry in batch:
            if isinstance(entry, CommitEntry | AcknowledgeEntry):
                shared.append(entry)
                continue
            self._write(shared)
            shared = []
            if isinstance(entry, Job):
                self._try([entry], partial(_run_job, entry))
        self._write(shared)

    def keep_up(self) -> None:
        """Do what is due between batches."""
        if self._upkeep is None:
            return
        try:
            self._upkeep.do_what_is_due()
        except apsw.FullError as error:
            _log.warning("upkeep_postponed", reason=str(error))
            self._roll_back()
        except BaseException as error:
            self._stop(error)

    def close(self) -> None:
        """Bring the file up to date and let go of it."""
        try:
            if self._ledger is not None and self._upkeep is not None:
                self._upkeep.index()
                self._upkeep.empty_log()
        except Exception as error:
            # All that was answered is in the write-ahead log, and is read from there next time.
            _log.warning("store_closed_without_checkpoint", reason=str(error))
        self._close_connection()
        if self._is_acquired:
            self._database.release()

    def _write(self, entries: list[CommitEntry | AcknowledgeEntry]) -> None:
        if entries:
            commits = [entry for entry in entries if isinstance(entry, CommitEntry)]
            done = [entry for entry in entries if isinstance(entry, AcknowledgeEntry)]
            self._try(entries, lambda ledger: ledger.write(commits, done))

    def _try(self, entries: Sequence[Entry[Any]], act: Callable[[Ledger], None]) -> None:
        try:
            act(self._ledger or self._open())
        except StoreUnusable as error:
            message = str(error)
            _fail(entries, lambda: StoreUnusable(message))
        except apsw.FullError:
            # A write found no room. What makes a transaction count is the last thing that is
            # written of it, so it does not count.
            self._roll_back()
            _fail(
                entries,
                lambda: LimitExceeded("the disk is full", retry_after_s=_DISK_FULL_RETRY_S),
            )
        except BaseException as error:
            self._stop(error)
            reason = f"{type(error).__name__}: {error}"
            _fail(entries, lambda: StoreUnavailable("the store failed", detail=reason))

    def _open(self) -> Ledger:
        try:
            if not self._is_acquired:
                self._database.acquire()
                self._is_acquired = True
            ledger = self._connect()
        except (apsw.Error, OSError) as error:
            if self._has_failed:
                raise
            raise StoreUnusable(f"cannot open {str(self._database.path)!r}: {error}") from error
        if self._has_failed:
            self._has_failed = False
            _log.warning("store_recovered", path=str(self._database.path))
        self._readers.resume()
        return ledger

    def _connect(self) -> Ledger:
        connection = self._database.connect_writer()
        try:
            ledger = Ledger(
                connection,
                self._recent,
                remembered_entities=self._settings.remembered_entities,
            )
            upkeep = Upkeep(
                ledger,
                index_after_events=self._settings.index_after_events,
                checkpoint_after_pages=self._settings.checkpoint_after_pages,
            )
            if self._has_failed:
                ledger.begin()
                ledger.count(RECOVERIES)
                connection.execute("COMMIT")
            upkeep.index()
        except BaseException:
            connection.close(True)
            raise
        self._ledger, self._upkeep = ledger, upkeep
        return ledger

    def _roll_back(self) -> None:
        ledger = self._ledger
        if ledger is None:
            return
        try:
            if ledger.connection.in_transaction:
                ledger.connection.execute("ROLLBACK")
            ledger.reload()
        except BaseException as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Close the file; the next entry opens it anew."""
        _log.error("store_stopped", reason=f"{type(error).__name__}: {error}")
        self._has_failed = True
        self._readers.suspend()
        self._close_connection()

    def _close_connection(self) -> None:
        ledger, self._ledger, self._upkeep = self._ledger, None, None
        if ledger is None:
            return
        try:
            ledger.connection.close(True)
        except apsw.Error as error:
            _log.warning("store_closed_with_an_error", reason=str(error))


def _run_job(job: Job[Any], ledger: Ledger) -> None:
    ledger.begin()
    try:
        job.result = job.run(ledger)
    except CloudstateError as error:
        job.error = error
        ledger.connection.execute("ROLLBACK")
        return
    ledger.connection.execute("COMMIT")
    # A job may have erased an entity.
    ledger.recent.ahead.clear()


def _fail(entries: Sequence[Entry[Any]], error: Callable[[], Exception]) -> None:
    for entry in entries:
        entry.error = error()
