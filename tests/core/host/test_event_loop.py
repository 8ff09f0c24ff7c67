from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from cloudstate_core.host import event_loop
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


@pytest.fixture(params=["fastest", "asyncio"])
def any_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asyncio":
        monkeypatch.setattr(event_loop, "_new_loop", None)


async def leave(code: int) -> None:
    sys.exit(code)


async def connect(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.usefixtures("any_loop")
def test_a_task_that_exits_ends_itself_and_nothing_else() -> None:
    found: list[object] = []

    async def process() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for code in (3, 4):
            # They are due in the same turn; none of them is lost.
            beside = [asyncio.create_task(connect(port)) for _ in range(3)]
            exiting = asyncio.create_task(leave(code))
            beside += [asyncio.create_task(connect(port)) for _ in range(3)]
            found.append(await asyncio.gather(*beside))
            exit_ = exiting.exception()
            assert isinstance(exit_, SystemExit)
            found.append(exit_.code)
        asyncio.get_running_loop().call_soon(sys.exit, 5)
        found.append(await connect(port))
        server.close()
        await server.wait_closed()

    with capture_logs() as logs:
        run_in_fastest_loop(process())

    assert [str(each) for each in found] == [
        str([b"hello"] * 6),
        "3",
        str([b"hello"] * 6),
        "4",
        str(b"hello"),
    ]
    assert [each["event"] for each in logs] == ["task_called_exit"] * 3
    assert [each["exc_info"].code for each in logs] == [3, 4, 5]


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()
    await writer.wait_closed()


@pytest.mark.usefixtures("any_loop")
def test_what_a_process_raises_after_a_task_of_it_has_exited_is_raised() -> None:
    async def process() -> None:
        exiting = asyncio.create_task(leave(3))
        await asyncio.wait((exiting,))
        await asyncio.sleep(0)
        raise ValueError("of the process")

    with pytest.raises(ValueError, match="of the process"):
        run_in_fastest_loop(process())


@pytest.mark.usefixtures("any_loop")
def test_a_process_that_exits_ends() -> None:
    with pytest.raises(SystemExit, match="7"):
        run_in_fastest_loop(leave(7))


def test_what_is_there_is_not_looked_at_any_more(unfrozen: None) -> None:
    kept = [[number] for number in range(1000)]

    spare_what_stays()

    assert gc.get_freeze_count() > len(kept)
    looked_at = {id(each) for each in gc.get_objects()}
    assert not looked_at & {id(each) for each in kept}
    assert id(later := [[]]) in {id(each) for each in gc.get_objects()}
    assert later
