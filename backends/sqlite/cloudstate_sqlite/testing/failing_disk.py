"""A disk that counts what is asked of it and fails when the test wants it to."""

# SQLite names the methods of its file systems.
# ruff: noqa: N802, FBT001

from __future__ import annotations

from collections import Counter
from threading import Lock
from types import TracebackType
from typing import Self
from uuid import uuid4

import apsw

__all__ = ["FailingDisk"]


class FailingDisk:
    """A SQLite VFS over the usual one; in force within `with`.

    Attributes:
        name: What to open files through.
        counts: How often there was a "write", "sync", "truncate", "delete".
        error: What SQLite is told when a call fails.
    """

    def __init__(self) -> None:
        self.name = f"failing-disk-{uuid4().hex}"
        self.counts: Counter[str] = Counter()
        self.error: type[apsw.Error] = apsw.IOError
        self._lock = Lock()
        self._calls = 0
        self._fail_at: int | None = None
        self._kinds: frozenset[str] = frozenset()
        self._is_lasting = False
        self._was_reached = False
        self._vfs: _Vfs | None = None

    def __enter__(self) -> Self:
        self._vfs = _Vfs(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._vfs is not None:
            self._vfs.unregister()
            self._vfs = None

    def fail_at(
        self, call: int, *, lasting: bool, kinds: tuple[str, ...] = ("write", "sync", "truncate")
    ) -> None:
        """Let a call of these kinds fail, counted from 1; if `lasting`, all later ones as well."""
        with self._lock:
            self._calls, self._fail_at, self._kinds = 0, call, frozenset(kinds)
            self._is_lasting, self._was_reached = lasting, False

    def stop(self) -> bool:
        """Let nothing fail any more, and return whether the chosen call was reached."""
        with self._lock:
            self._fail_at = None
            return self._was_reached

    def note(self, kind: str) -> None:
        """Count a call, and fail it if it is chosen."""
        with self._lock:
            self.counts[kind] += 1
            if self._fail_at is None or kind not in self._kinds:
                return
            self._calls += 1
            if self._calls == self._fail_at or (self._was_reached and self._is_lasting):
                self._was_reached = True
                raise self.error(f"the test lets this {kind} fail")


class _Vfs(apsw.VFS):
    def __init__(self, disk: FailingDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.note("delete")
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.note("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.note("sync")
        super().xSync(flags)

    def xTruncate(self, newsize: int) -> None:
        self._disk.note("truncate")
        super().xTruncate(newsize)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.note("read")
        return super().xRead(amount, offset)
