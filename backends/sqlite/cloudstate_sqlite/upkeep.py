"""What the writer does between commits: fill the indexes, and move the log into the file."""

from __future__ import annotations

import apsw
import structlog

from cloudstate_sqlite import statements
from cloudstate_sqlite.ledger import Ledger

__all__ = ["Upkeep"]

_log = structlog.get_logger(__name__)


class Upkeep:
    """Keeps the tail and the write-ahead log short.

    Args:
        ledger: The writer's view of the file.
        index_after_events: See `SqliteSettings`.
        checkpoint_after_pages: See `SqliteSettings`.
    """

    def __init__(
        self, ledger: Ledger, *, index_after_events: int, checkpoint_after_pages: int
    ) -> None:
        self._ledger = ledger
        self._index_after_events = index_after_events
        self._checkpoint_after_pages = checkpoint_after_pages
        self._next_checkpoint_pages = checkpoint_after_pages

    def do_what_is_due(self) -> None:
        """Bring indexes and file up to date if much has been written since the last time."""
        if self._ledger.tail_events >= self._index_after_events:
            self.index()
        if self._pages_logged() >= self._next_checkpoint_pages:
            self.checkpoint()

    def index(self) -> None:
        """Enter all events of the tail into the indexes, in one transaction."""
        ledger = self._ledger
        if ledger.tail_events:
            upto = ledger.next_event - 1
            ledger.begin()
            ledger.connection.execute(statements.INDEX, {"after": ledger.indexed_to, "upto": upto})
            ledger.connection.execute("COMMIT")
            ledger.indexed_to, ledger.tail_events = upto, 0
        # Readers that begin from here on find everything in the indexes.
        ledger.recent.keys = set()

    def checkpoint(self) -> None:
        """Copy what is in the log into the file. Nothing is lost if that does not succeed."""
        try:
            logged, copied = self._ledger.connection.wal_checkpoint()
        except (apsw.FullError, apsw.BusyError) as error:
            _log.warning("checkpoint_postponed", reason=str(error))
            logged, copied = 1, 0
        # A reader that is in the middle of something keeps the log from beginning anew. The log is
        # then longer for a while.
        is_complete = copied == logged
        self._ledger.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)
        self._next_checkpoint_pages = self._checkpoint_after_pages // (1 if is_complete else 4)

    def empty_log(self) -> None:
        """Copy all that is in the log into the file, and let the log be removed on closing."""
        connection = self._ledger.connection
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _pages_logged(self) -> int:
        pages, _ = self._ledger.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        return pages
