"""What can be set about the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cloudstate_core.settings_values import Between

__all__ = ["SqliteSettings"]


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """Section `sqlite`: where and how state is kept in a file.

    Attributes:
        file: Name of the file in the data directory.
        synchronous: "full": a commit that was answered survives a power cut. The other two are for
            experiments and are logged as a warning at every start: with "normal" a power cut takes
            the latest commits back, with "off" it may also leave a file that cannot be read.
        busy_timeout_s: How long to wait for another program that reads the file, such as a backup.
        max_batch_commits: Most commits that share one sync.
        max_batch_bytes: A batch that holds this much takes no further commit.
        cache_bytes: Memory for pages of the file, for the writer and for each reader.
        reader_threads: How many reads run at a time. With more than one they wait for each other to
            get at the interpreter, and take twice as long; but a long read holds up no short one.
        remembered_entities: For how many entities the last sequence is kept in memory; for others
            it is read with their next commit.
        index_after_events: How many events are written before they are entered into the indexes,
            all at once.
        checkpoint_after_pages: How many pages of 4 KiB the write-ahead log takes before they are
            copied into the file.
    """

    file: str = "cloudstate.db"
    synchronous: Literal["full", "normal", "off"] = "full"
    busy_timeout_s: Annotated[float, Between(0, 3600)] = 5.0
    max_batch_commits: Annotated[int, Between(1, 10_000)] = 256
    max_batch_bytes: Annotated[int, Between(1, 1024**3)] = 16 * 1024 * 1024
    cache_bytes: Annotated[int, Between(1024**2, 64 * 1024**3)] = 16 * 1024 * 1024
    reader_threads: Annotated[int, Between(1, 64)] = 1
    remembered_entities: Annotated[int, Between(1, 10_000_000)] = 20_000
    index_after_events: Annotated[int, Between(1, 1_000_000)] = 2000
    checkpoint_after_pages: Annotated[int, Between(1, 1_000_000)] = 2000
