"""Commits of the SQLite store, beside what SQLite does by itself.

python bench/store_commit.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
from google.protobuf.any_pb2 import Any

# So that it can be started as a file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figure, print_table
from cloudstate_core.clock import SystemClock
from cloudstate_core.store import (
    AmendValue,
    AppendEvents,
    Commit,
    EntityKey,
    PutValue,
    StateStore,
    Write,
)
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store

__all__ = ["measure"]

ENTITIES = 1000
ROUNDS = 3
COMMITS_ALONE = 3000
COMMITS_TOGETHER = 40_000
CONCURRENT = 64

#: How large a value is that is amended, and after how many amendments it is put anew.
VALUE_BYTES = 20_000
PUT_AFTER = 500

#: What one commit may cost with many at a time, so that a whole durable command keeps its budget.
CPU_BUDGET_US = 25.0

EVENT = Any(
    type_url="type.googleapis.com/com.example.shoppingcart.persistence.ItemAdded",
    value=bytes(range(60)),
)


def measure() -> list[Figure]:
    """Measure commits of one event, one at a time and many at a time, to entities in turn."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as name:
        return asyncio.run(_measure(Path(name)))


async def _measure(directory: Path) -> list[Figure]:
    echo = max(_raw_commits_per_s(directory / f"raw {n}.db") for n in range(ROUNDS))
    figures = []
    async with open_store(SqliteSettings(), directory / "store", SystemClock()) as store:
        bench = _Bench(store)
        await bench.commits_per_s(CONCURRENT, ENTITIES)
        for concurrent, commits in ((1, COMMITS_ALONE), (CONCURRENT, COMMITS_TOGETHER)):
            rounds = [await bench.commits_per_s(concurrent, commits) for _ in range(ROUNDS)]
            rate, cpu_us = max(rounds)
            figures.append(
                Figure(
                    f"SQLite store, commits, {concurrent} concurrent",
                    rate,
                    "/s",
                    echo=echo,
                    budget=f"<= {CPU_BUDGET_US:.0f} us of CPU" if concurrent > 1 else "",
                    kept=cpu_us <= CPU_BUDGET_US if concurrent > 1 else None,
                    note=f"{cpu_us:.1f} us of CPU each; the echo is SQLite alone, a row per commit",
                )
            )
        rate, cpu_us = max([await bench.amendments_per_s(COMMITS_TOGETHER) for _ in range(ROUNDS)])
        figures.append(
            Figure(
                f"SQLite store, amendments of one value, {CONCURRENT} outstanding",
                rate,
                "/s",
                echo=echo,
                note=f"{cpu_us:.1f} us of CPU each; of {VALUE_BYTES} bytes, put anew after "
                f"{PUT_AFTER}; each builds on the one before",
            )
        )
    return figures


class _Bench:
    """Callers of a store, each with entities of its own."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._keys = [EntityKey("carts", f"user-{n}") for n in range(ENTITIES)]
        self._sequences = [0] * ENTITIES
        self._revision = 0

    async def commits_per_s(self, concurrent: int, commits: int) -> tuple[float, float]:
        """Return the commits per second, and the CPU time of each in us."""
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(
            *(self._call(n, concurrent, commits // concurrent) for n in range(concurrent))
        )
        done = commits // concurrent * concurrent
        cpu_us = (time.process_time() - cpu_s) / done * 1e6
        return done / (time.perf_counter() - began_s), cpu_us

    async def amendments_per_s(self, commits: int) -> tuple[float, float]:
        """Return the commits to one entity per second, and the CPU time of each in us."""
        began_s, cpu_s = time.perf_counter(), time.process_time()
        end = self._revision + commits
        await asyncio.gather(*(self._amend_until(end) for _ in range(CONCURRENT)))
        cpu_us = (time.process_time() - cpu_s) / commits * 1e6
        return commits / (time.perf_counter() - began_s), cpu_us

    async def _amend_until(self, end: int) -> None:
        key, whole = EntityKey("carts", "everybody"), Any(value=bytes(VALUE_BYTES))
        while (revision := self._revision) < end:
            self._revision += 1
            write: Write = AmendValue(revision, EVENT)
            if revision % PUT_AFTER == 0:
                write = PutValue(revision, whole)
            await self._store.commit(Commit(key, 0, (write,)))

    async def _call(self, first: int, step: int, commits: int) -> None:
        entities = range(first, ENTITIES, step)
        for number in range(commits):
            entity = entities[number % len(entities)]
            events = AppendEvents(self._sequences[entity], [EVENT])
            await self._store.commit(Commit(self._keys[entity], 0, (events,)))
            self._sequences[entity] += 1


def _raw_commits_per_s(path: Path) -> float:
    """Return how many rows SQLite adds per second, each with a sync of its own."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.execute(
            "CREATE TABLE events (entity TEXT, sequence INTEGER, type_url TEXT, payload BLOB,"
            " PRIMARY KEY (entity, sequence)) WITHOUT ROWID"
        )
        add = _adder(connection)
        began_s = time.perf_counter()
        for number in range(COMMITS_ALONE):
            add(number)
        return COMMITS_ALONE / (time.perf_counter() - began_s)


def _adder(connection: apsw.Connection) -> Callable[[int], object]:
    type_url, payload = EVENT.type_url, EVENT.value
    return lambda number: connection.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?)",
        (f"user-{number % ENTITIES}", number // ENTITIES + 1, type_url, payload),
    )


if __name__ == "__main__":
    print_table(measure())
