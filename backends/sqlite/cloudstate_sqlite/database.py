"""The file: who may open it, how it comes into being, and how it is opened."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing
from pathlib import Path

import apsw

from cloudstate_core.errors import StoreUnusable
from cloudstate_sqlite.schema import APPLICATION_ID, CREATE, MIGRATIONS, SCHEMA_VERSION
from cloudstate_sqlite.settings import SqliteSettings

__all__ = ["Database"]

_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700
_PAGE_BYTES = 4096
_PAGE_IN_LOG_BYTES = _PAGE_BYTES + 24
_ZEROS = bytes(64 * 1024)

# The file format of SQLite: where the header, which begins with these bytes, keeps two numbers.
_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_USER_VERSION = slice(60, 64)
_APPLICATION_ID = slice(68, 72)

# One statement for each number of rows that are written at once, times the tables, and the queries.
_CACHED_STATEMENTS = 200


class Database:
    """One file in a data directory, which belongs to this object from `acquire` to `release`.

    Args:
        settings: The settings.
        data_dir: Where the file is; made if missing.
        vfs: The name of the SQLite VFS to reach the file through; None for the usual one.
    """

    def __init__(self, settings: SqliteSettings, data_dir: Path, vfs: str | None = None) -> None:
        self.path = data_dir / settings.file
        self._settings = settings
        self._vfs = vfs
        self._lock: int | None = None
        self._is_older = False

    def acquire(self) -> None:
        """Keep other processes out, and make the file if there is none.

        Raises:
            StoreUnusable: The directory cannot be written to, another process has the file, or it
                is not a file of this version or of one that can be made so. Nothing was changed.
        """
        directory = self.path.parent
        try:
            directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self._lock = _lock(self.path.with_name(self.path.name + ".lock"))
            self._check_or_create()
        except OSError as error:
            self.release()
            raise StoreUnusable(
                f"cannot write to data directory {str(directory)!r}: {error.strerror or error}; "
                "make it writable or choose another one"
            ) from error
        except StoreUnusable:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def connect_writer(self) -> apsw.Connection:
        """Open the only connection that writes. A file of an older version becomes one of this."""
        connection = self._connect()
        try:
            # So that nobody else writes to the log meanwhile.
            connection.execute("BEGIN IMMEDIATE")
            _renew_log(
                self.path.with_name(self.path.name + "-wal"),
                self._settings.checkpoint_after_pages * _PAGE_IN_LOG_BYTES,
                self._vfs,
            )
            connection.execute("COMMIT")
            connection.pragma("synchronous", self._settings.synchronous)
            connection.pragma("fullfsync", True)
            connection.pragma("checkpoint_fullfsync", True)
            connection.pragma("secure_delete", True)
            # Checkpoints are made between commits.
            connection.wal_autocheckpoint(0)
            if self._is_older:
                _migrate(connection)
                self._is_older = False
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_reader(self) -> apsw.Connection:
        """Open a connection that reads."""
        connection = self._connect()
        connection.pragma("query_only", True)
        return connection

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(
            str(self.path),
            flags=apsw.SQLITE_OPEN_READWRITE,
            vfs=self._vfs,
            statementcachesize=_CACHED_STATEMENTS,
        )
        connection.set_busy_timeout(int(self._settings.busy_timeout_s * 1000))
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # Whoever closes the file last would make a checkpoint and remove the log, also after a
        # failed sync, when what is read from the log may not be on disk.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("trusted_schema", False)
        connection.pragma("temp_store", "memory")
        connection.pragma("cache_size", -(self._settings.cache_bytes // 1024))
        return connection

    def _check_or_create(self) -> None:
        try:
            with self.path.open("rb") as file:
                header = file.read(_HEADER_BYTES)
        except FileNotFoundError:
            _create(self.path)
            return
        # SQLite itself is not asked: it would change the file to find out.
        if not header.startswith(_MAGIC) or _number(header[_APPLICATION_ID]) != APPLICATION_ID:
            raise StoreUnusable(
                f"expected a store of Cloudstate, found another kind of file: {str(self.path)!r}; "
                "choose another data directory or another file name"
            )
        version = _number(header[_USER_VERSION])
        if version != SCHEMA_VERSION and version not in MIGRATIONS:
            raise StoreUnusable(
                f"expected a store of version {SCHEMA_VERSION}, found version {version}: "
                f"{str(self.path)!r}; use the release of Cloudstate that wrote it"
            )
        self._is_older = version != SCHEMA_VERSION


def _number(field: bytes) -> int:
    return int.from_bytes(field, "big")


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreUnusable(
            f"data directory {str(path.parent)!r} is in use by another process (pid {owner}); "
            "stop that process or choose another directory"
        ) from None
    except BaseException:
        os.close(lock)
        raise
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _create(path: Path) -> None:
    """Make the file under another name first, so that there is never half a file."""
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-wal")):
        leftover.unlink(missing_ok=True)
    # The files beside it get their mode from this one.
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
    with closing(apsw.Connection(str(draft))) as connection:
        connection.pragma("page_size", _PAGE_BYTES)
        connection.pragma("journal_mode", "wal")
        with connection:
            connection.execute(CREATE)
    _sync(draft)
    draft.rename(path)
    _sync(path.parent)


def _migrate(connection: apsw.Connection) -> None:
    """Make a file of an earlier version one of this version, in one transaction.

    Then what stands in the log is moved into the file at once: an earlier release goes by the
    header, and must not take the file for one of its own.
    """
    with connection:
        # It may have become one before, and only the move failed.
        for version in range(connection.pragma("user_version"), SCHEMA_VERSION):
            connection.execute(MIGRATIONS[version])
        connection.pragma("user_version", SCHEMA_VERSION)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)


def _renew_log(path: Path, size_bytes: int, vfs: str | None) -> None:
    """Write the write-ahead log again, with what is in it, and at least of a given size.

    An interrupted process may have left something in it, and it may be that a sync of it failed:
    the log then reads well, but from memory, and no later sync would write it unless it is written
    again. It stays the same file: another program may have it open, and must not go on with a log
    that is no longer the one in use.

    A sync takes half as long if the file did not grow, so it is made as large as it becomes.
    SQLite takes bytes that are zero for the end of the log.
    """
    log = apsw.VFSFile(vfs or "", str(path), [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        end = log.xFileSize()
        for offset in range(0, end, len(_ZEROS)):
            log.xWrite(log.xRead(min(len(_ZEROS), end - offset), offset), offset)
        for offset in range(end, size_bytes, len(_ZEROS)):
            log.xWrite(_ZEROS, offset)
        log.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        log.xClose()
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
