"""A disk whose power can be cut, at every single thing that was asked of it.

`PowerCutDisk` is a SQLite VFS over the usual one. It notes every write, sync, truncation and
deletion. Afterwards `images` tells what the files may look like if the power had been cut after any
of them: what was synced is there; of what was not, each piece may be there or not, in any order,
and a write may be torn at the borders of sectors.

A sync can also be made to fail as disks do: the data stays readable, but it is not on disk, and no
later sync will write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock
from types import TracebackType
from typing import Self
from uuid import uuid4

import apsw

# SQLite names the methods of its file systems.
# ruff: noqa: N802, FBT001

__all__ = ["PowerCutDisk"]

_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Operation:
    """Something that was asked of the disk.

    Attributes:
        kind: "open" with all that is in the file, "write", "truncate", "sync", "failed sync" or
            "delete".
        path: The file.
        offset: Where the data begins; for "truncate", the new size.
        data: What was written or found.
    """

    kind: str
    path: Path
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class _File:
    """What is on disk of a file for sure, and what may be."""

    durable: bytearray
    pending: list[_Operation] = field(default_factory=list)


class PowerCutDisk:
    """A SQLite VFS that notes what happens; in force within `with`.

    Attributes:
        name: What to open files through.
        has_failed: Whether a sync was made to fail.
    """

    def __init__(self) -> None:
        self.has_failed = False
        self.name = f"power-cut-disk-{uuid4().hex}"
        self._lock = Lock()
        self._operations: list[_Operation] = []
        self._inodes: dict[Path, int] = {}
        self._syncs_until_failure = 0
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

    @property
    def operations(self) -> int:
        """How much was asked of the disk so far."""
        with self._lock:
            return len(self._operations)

    def fail_sync(self, number: int) -> None:
        """Let a sync fail, counted from 1 from now on."""
        with self._lock:
            self._syncs_until_failure = number

    def images(
        self, random: Random, *, per_operation: int
    ) -> Iterator[tuple[int, dict[Path, bytes]]]:
        """Return what the files may look like after a power cut.

        Returns:
            How many operations there were until the cut, and the files; for each number of
            operations as many images as asked for.
        """
        files: dict[Path, _File] = {}
        # A file that is opened later was there before.
        for operation in self._operations:
            if operation.kind == "open" and operation.path not in files:
                files[operation.path] = _File(bytearray(operation.data))
        for count, operation in enumerate(self._operations, 1):
            _apply(files, operation, random)
            for _ in range(per_operation):
                yield count, _image(files, random)

    # --- Told by the VFS ---------------------------------------------------------------------

    def opened(self, path: Path) -> None:
        with self._lock:
            inode = path.stat().st_ino
            # A file that was put in the place of another was synced before.
            if self._inodes.get(path) != inode:
                self._inodes[path] = inode
                self._operations.append(_Operation("open", path, data=path.read_bytes()))

    def noted(self, kind: str, path: Path, offset: int = 0, data: bytes = b"") -> None:
        with self._lock:
            self._operations.append(_Operation(kind, path, offset, data))

    def syncing(self, path: Path) -> None:
        with self._lock:
            self._syncs_until_failure -= 1
            if self._syncs_until_failure == 0:
                self.has_failed = True
                self._operations.append(_Operation("failed sync", path))
                raise apsw.IOError("the test lets this sync fail")


def _apply(files: dict[Path, _File], operation: _Operation, random: Random) -> None:
    match operation.kind:
        case "open":
            files[operation.path] = _File(bytearray(operation.data))
        case "sync":
            file = files[operation.path]
            for pending in file.pending:
                _persist(file.durable, pending)
            file.pending.clear()
        case "failed sync":
            file = files[operation.path]
            for pending in _some(file.pending, random):
                _persist(file.durable, pending)
            file.pending.clear()
        case _:
            files[operation.path].pending.append(operation)


def _persist(content: bytearray, operation: _Operation) -> None:
    match operation.kind:
        case "write":
            end = operation.offset + len(operation.data)
            if len(content) < operation.offset:
                content.extend(bytes(operation.offset - len(content)))
            content[operation.offset : end] = operation.data
        case "truncate":
            del content[operation.offset :]


def _image(files: dict[Path, _File], random: Random) -> dict[Path, bytes]:
    keeps = random.choice((_all, _nothing, _some, _some, _beginning, _torn, _torn, _torn))
    image: dict[Path, bytes] = {}
    for path, file in files.items():
        kept = keeps(file.pending, random)
        if any(operation.kind == "delete" for operation in kept):
            continue
        content = bytearray(file.durable)
        for operation in kept:
            _persist(content, operation)
        image[path] = bytes(content)
    return image


def _all(pending: list[_Operation], random: Random) -> list[_Operation]:
    return pending


def _nothing(pending: list[_Operation], random: Random) -> list[_Operation]:
    return []


def _some(pending: list[_Operation], random: Random) -> list[_Operation]:
    return [operation for operation in pending if random.random() < 0.5]


def _beginning(pending: list[_Operation], random: Random) -> list[_Operation]:
    return pending[: random.randint(0, len(pending))]


def _torn(pending: list[_Operation], random: Random) -> list[_Operation]:
    kept: list[_Operation] = []
    for operation in pending:
        chance = random.random()
        if chance < 0.4:
            kept.append(operation)
        elif chance < 0.8 and operation.kind == "write":
            kept += (sector for sector in _sectors(operation) if random.random() < 0.5)
    return kept


def _sectors(write: _Operation) -> Iterator[_Operation]:
    begin, end = write.offset, write.offset + len(write.data)
    while begin < end:
        border = min(end, (begin // _SECTOR_BYTES + 1) * _SECTOR_BYTES)
        data = write.data[begin - write.offset : border - write.offset]
        yield _Operation("write", write.path, begin, data)
        begin = border


class _Vfs(apsw.VFS):
    def __init__(self, disk: PowerCutDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _VfsFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.noted("delete", Path(filename))
        super().xDelete(filename, syncdir)


class _VfsFile(apsw.VFSFile):
    def __init__(
        self, disk: PowerCutDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        # A file without a name is SQLite's own, and gone when it is closed.
        self._path = Path(text) if text else None
        if self._path is not None:
            disk.opened(self._path)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._path is not None:
            self._disk.noted("write", self._path, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._path is not None:
            self._disk.noted("truncate", self._path, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._path is not None:
            self._disk.syncing(self._path)
            super().xSync(flags)
            self._disk.noted("sync", self._path)
