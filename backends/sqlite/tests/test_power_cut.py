"""What was answered survives a power cut at any moment, and the tests would find it if not."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from random import Random

import apsw
import pytest
from google.protobuf.any_pb2 import Any

from cloudstate_core.errors import CloudstateError, StoreUnavailable
from cloudstate_core.store import AppendEvents, Commit, EntityKey, StateStore
from cloudstate_core.testing import ManualClock
from cloudstate_core.testing.store_script import (
    Author,
    Script,
    contents,
    contents_after_each,
    play,
)
from cloudstate_sqlite import database
from cloudstate_sqlite.entries import Entry
from cloudstate_sqlite.scribe import Scribe
from cloudstate_sqlite.settings import SqliteSettings
from cloudstate_sqlite.store import open_store
from cloudstate_sqlite.testing import PowerCutDisk

pytestmark = pytest.mark.timeout(600)

SETTINGS = SqliteSettings(index_after_events=12, checkpoint_after_pages=25)
SEED = 20_240_229
BATCHES = 30
AT_A_TIME = 16

# More of them take longer and find more.
CUTS_PER_OPERATION = int(os.environ.get("POWER_CUTS_PER_OPERATION", "3"))

History = list[list[object]]
Image = dict[Path, bytes]


@dataclass
class Recording:
    """What was asked of the disk while a script was played.

    Attributes:
        disk: The disk.
        answers: After how many operations of the disk how many steps had been answered.
    """

    disk: PowerCutDisk
    answers: list[tuple[int, int]] = field(default_factory=list)

    def answered(self, operations: int) -> int:
        return max((steps for at, steps in self.answers if at <= operations), default=0)


async def record(
    script: Script, directory: Path, monkeypatch: pytest.MonkeyPatch, settings: SqliteSettings
) -> Recording:
    """Play a script with the store, on a disk that notes everything."""
    carry_out = Scribe.carry_out
    # The first entry is no step: it opens the file.
    steps = -1

    def carry_out_and_note(scribe: Scribe, batch: Sequence[Entry[object]]) -> None:
        nonlocal steps
        carry_out(scribe, batch)
        steps += len(batch)
        recording.answers.append((recording.disk.operations, steps))

    with PowerCutDisk() as disk, monkeypatch.context() as patch:
        recording = Recording(disk)
        patch.setattr(Scribe, "carry_out", carry_out_and_note)
        async with open_store(settings, directory, ManualClock(), vfs=disk.name) as store:
            await play(script, store)
    return recording


def put(image: Image, directory: Path) -> None:
    """Make the files as the power cut left them."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path, content in image.items():
        (directory / path.name).write_bytes(content)


async def verdict(image: Image, directory: Path, history: History, answered: int) -> str:
    """Open the files that a power cut left and say what has become of the steps."""
    put(image, directory)
    try:
        async with open_store(SETTINGS, directory, ManualClock()) as store:
            found = await contents(store)
    except (CloudstateError, AssertionError):
        return "corrupt"
    with closing(apsw.Connection(str(directory / SETTINGS.file))) as connection:
        if connection.pragma("integrity_check") != "ok":
            return "corrupt"
    # Equal contents after different numbers of steps count as the larger number.
    kept = max((steps for steps, each in enumerate(history) if each == found), default=-1)
    if kept < 0:
        return "torn"
    return "ok" if kept >= answered else "acked_lost"


async def examine(
    recording: Recording,
    directory: Path,
    history: History,
    *,
    per_operation: int,
    already: int = 0,
    until: Callable[[Counter[str]], bool] = lambda _: False,
) -> Counter[str]:
    """Cut the power after each operation and count the verdicts; `already` steps came before."""
    verdicts: Counter[str] = Counter()
    images = recording.disk.images(Random(SEED), per_operation=per_operation)
    # Several at a time: each waits for its threads for the most part.
    while (some := list(islice(images, AT_A_TIME))) and not until(verdicts):
        verdicts.update(
            await asyncio.gather(
                *(
                    verdict(
                        image,
                        directory / f"{number}",
                        history,
                        already + recording.answered(operations),
                    )
                    for number, (operations, image) in enumerate(some)
                )
            )
        )
    return verdicts


async def test_what_was_answered_survives_a_power_cut_at_any_moment(
    memory_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Author(Random(SEED)).script(BATCHES)
    history = await contents_after_each(script.steps)
    recording = await record(script, memory_dir / "run", monkeypatch, SETTINGS)

    verdicts = await examine(
        recording, memory_dir / "cut", history, per_operation=CUTS_PER_OPERATION
    )

    report("P1a", verdicts)
    assert verdicts.keys() == {"ok"}
    assert verdicts["ok"] >= 1000
    assert recording.answered(recording.disk.operations) == len(script.steps)


async def test_a_power_cut_during_the_recovery_from_a_power_cut_does_no_harm(
    memory_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Author(Random(SEED)).script(BATCHES)
    history = await contents_after_each(script.steps)
    recording = await record(script, memory_dir / "run", monkeypatch, SETTINGS)
    images = list(recording.disk.images(Random(SEED), per_operation=1))
    verdicts: Counter[str] = Counter()
    for _, image in images[len(images) // 6 :: len(images) // 3]:
        already = await steps_kept(image, memory_dir / "look", history)
        put(image, memory_dir / "again")
        rest = Script([[step] for step in script.steps[already : already + 6]])
        again = await record(rest, memory_dir / "again", monkeypatch, SETTINGS)
        verdicts += await examine(
            again,
            memory_dir / "cut",
            history,
            already=already,
            per_operation=CUTS_PER_OPERATION,
        )

    report("P1a-recovery", verdicts)
    assert verdicts.keys() == {"ok"}
    assert verdicts["ok"] >= 300


async def steps_kept(image: Image, directory: Path, history: History) -> int:
    put(image, directory)
    async with open_store(SETTINGS, directory, ManualClock()) as store:
        return history.index(await contents(store))


@pytest.mark.parametrize("synchronous", ["normal", "off"])
async def test_the_loss_is_found_if_syncs_are_left_out(
    memory_dir: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str
) -> None:
    settings = SqliteSettings(
        index_after_events=12,
        checkpoint_after_pages=25,
        synchronous=synchronous,  # type: ignore[arg-type]
    )
    script = Author(Random(SEED)).script(BATCHES)
    history = await contents_after_each(script.steps)
    recording = await record(script, memory_dir / "run", monkeypatch, settings)

    def has_lost(verdicts: Counter[str]) -> bool:
        return verdicts["acked_lost"] >= 10

    verdicts = await examine(
        recording, memory_dir / "cut", history, per_operation=1, until=has_lost
    )

    print(f"CONTROL: synchronous={synchronous} {dict(verdicts)}")
    assert verdicts["acked_lost"] >= 10


KEY = EntityKey("things", "e")


async def write_through_a_failing_sync(store: StateStore, disk: PowerCutDisk, number: int) -> int:
    """Append events one by one while a sync fails; return how many there are in the end."""
    written = 0
    for step in range(25):
        if step == 5:
            disk.fail_sync(number)
        try:
            events = AppendEvents(written, [Any(value=bytes(600)), Any(value=bytes(600))])
            await store.commit(Commit(KEY, 0, (events,)))
            written += 2
        except StoreUnavailable:
            # The outcome is unknown: read before trying again.
            await store.check()
            written = await store.last_sequence(KEY)
    return written


async def count_losses_after_a_failing_sync(directory: Path) -> Counter[str]:
    """Let each sync fail in turn, cut the power at the end, and see what is left."""
    verdicts: Counter[str] = Counter()
    for number in count(1):
        shutil.rmtree(directory / "run", ignore_errors=True)
        with PowerCutDisk() as disk:
            async with open_store(
                SETTINGS, directory / "run", ManualClock(), vfs=disk.name
            ) as store:
                written = await write_through_a_failing_sync(store, disk, number)
                until = disk.operations
        images = disk.images(Random(number), per_operation=8)
        for _, image in [image for image in images if image[0] == until]:
            put(image, directory / "cut")
            try:
                async with open_store(SETTINGS, directory / "cut", ManualClock()) as store:
                    is_kept = await store.last_sequence(KEY) == written
                    is_kept &= len(await store.events(KEY, after=0, limit=1000)) == written
                verdicts["ok" if is_kept else "acked_lost"] += 1
            except CloudstateError:
                verdicts["corrupt"] += 1
        if not disk.has_failed:
            return verdicts
    raise AssertionError


async def test_what_is_answered_after_a_failed_sync_survives_a_power_cut(
    memory_dir: Path,
) -> None:
    verdicts = await count_losses_after_a_failing_sync(memory_dir)

    report("P1c", verdicts)
    assert verdicts.keys() == {"ok"}
    assert verdicts["ok"] >= 100


async def test_the_loss_is_found_if_the_log_is_not_written_anew_after_a_failed_sync(
    memory_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = database._renew_log

    def renew_once(path: Path, size_bytes: int, vfs: str | None) -> None:
        if path.stat().st_size == 0:
            renew(path, size_bytes, vfs)

    monkeypatch.setattr(database, "_renew_log", renew_once)

    verdicts = await count_losses_after_a_failing_sync(memory_dir)

    print(f"CONTROL: log not written anew {dict(verdicts)}")
    assert verdicts["acked_lost"] + verdicts["corrupt"] > 0


def report(promise: str, verdicts: Counter[str]) -> None:
    bad = {name: verdicts[name] for name in ("corrupt", "acked_lost", "torn")}
    figures = " ".join(f"{name}={number}" for name, number in bad.items())
    outcome = "FAIL" if any(bad.values()) else "ok"
    print(f"PROMISE {promise} cuts={verdicts.total()} {figures} target=0 {outcome}")
