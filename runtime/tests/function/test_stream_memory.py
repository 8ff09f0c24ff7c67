"""Streams that are closed leave nothing behind, neither here nor in the user function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOUBLES = Path(__file__).parents[1] / "doubles"

STREAMS = 10_000

#: The promise is 5 MB for 100,000 streams, which is less than the size of a process varies by
#: itself. This finds whatever is kept for each stream if it is larger than 200 bytes.
MAX_GROWTH_BYTES = 2_000_000


def measured(streams: int, *arguments: str) -> dict[str, object]:
    """Open and close streams in a process in which nothing else comes and goes."""
    run = subprocess.run(
        [sys.executable, "-m", "runtime_doubles.stream_growth", str(streams), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(DOUBLES), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def growth_bytes(sizes: list[int]) -> int:
    """How much the streams after the first two fifths took."""
    return max(sizes[3:]) - max(sizes[:2])


@pytest.mark.timeout(180)
def test_ten_thousand_streams_leave_nothing_behind() -> None:
    found = measured(STREAMS)

    growth = growth_bytes(found["sizes"])
    assert found["objects"] <= 0
    assert found["open_in_the_function"] == 0
    assert growth <= MAX_GROWTH_BYTES, found
    print(f"PROMISE P11 stream_growth_bytes={growth} target={MAX_GROWTH_BYTES} ok")


@pytest.mark.timeout(180)
def test_what_is_kept_for_each_stream_is_found() -> None:
    assert growth_bytes(measured(STREAMS // 5, "leak")["sizes"]) > MAX_GROWTH_BYTES
