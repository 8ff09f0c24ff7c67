from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cloudstate_core.host.event_loop import run_in_fastest_loop, spare_what_stays

TELL_THE_LOOP = """
import asyncio, sys
{first}
from cloudstate_core.host.event_loop import run_in_fastest_loop

async def tell():
    print(type(asyncio.get_running_loop()).__module__)

run_in_fastest_loop(tell())
"""


def loop_after(first: str = "") -> str:
    """Return the module of the loop in a process of its own that begins with `first`."""
    code = TELL_THE_LOOP.format(first=first)
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def unfrozen() -> Iterator[None]:
    assert gc.get_freeze_count() == 0
    yield
    gc.unfreeze()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")
def test_a_process_runs_on_uvloop() -> None:
    assert loop_after() == "uvloop"


def test_a_process_without_uvloop_runs_on_asyncio() -> None:
    assert loop_after("sys.modules['uvloop'] = None").startswith("asyncio")


def test_what_the_process_raises_is_raised() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("of the process")

    with pytest.raises(ValueError, match="of the process"):
        run_in_fastest_loop(fail())


def test_what_is_there_is_not_looked_at_any_more(unfrozen: None) -> None:
    kept = [[number] for number in range(1000)]

    spare_what_stays()

    assert gc.get_freeze_count() > len(kept)
    looked_at = {id(each) for each in gc.get_objects()}
    assert not looked_at & {id(each) for each in kept}
    assert id(later := [[]]) in {id(each) for each in gc.get_objects()}
    assert later
