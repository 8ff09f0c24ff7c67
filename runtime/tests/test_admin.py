"""The socket of the operator: who can use it, and what it makes of nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from runtime_doubles.engines import settled

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import CloudstateError, StoreUnavailable
from cloudstate_core.store import ParkedMessage
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.admin import SOCKET_NAME, NoNode, ask_node, open_admin
from cloudstate_runtime.durable.parking import Parking


async def raw(data_dir: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(data_dir / SOCKET_NAME)
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    return answer


@pytest.fixture
def parking() -> Parking:
    return Parking(MemoryStore(SystemClock()))


async def test_an_answer_comes_back(tmp_path: Path, parking: Parking) -> None:
    async with open_admin(tmp_path, parking, SystemClock()):
        assert await ask_node(tmp_path, {"ask": "parked.list"}) == []
        assert await ask_node(tmp_path, {"ask": "parked.drop", "ids": ["x"]}) == []

    assert not (tmp_path / SOCKET_NAME).exists()
    with pytest.raises(NoNode):
        await ask_node(tmp_path, {"ask": "parked.list"})


async def test_only_its_own_user_can_reach_it(tmp_path: Path, parking: Parking) -> None:
    async with open_admin(tmp_path / "new", parking, SystemClock()):
        assert (tmp_path / "new" / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


async def test_a_socket_that_a_killed_node_left_behind_is_replaced(
    tmp_path: Path, parking: Parking
) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NoNode):
        await ask_node(tmp_path, {"ask": "parked.list"})

    async with open_admin(tmp_path, parking, SystemClock()):
        assert await ask_node(tmp_path, {"ask": "parked.list"}) == []


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"1\n",
        b'"x"\n',
        b"{}\n",
        b'{"ask": 1}\n',
        b'{"ask": []}\n',
        b'{"ask": "parked.lost"}\n',
        b'{"ask": "parked.drop", "ids": "x"}\n',
        b'{"ask": "parked.drop", "ids": [1]}\n',
        b"\xff\xfe\n",
    ],
)
async def test_nonsense_is_answered_with_an_error(
    line: bytes, tmp_path: Path, parking: Parking
) -> None:
    async with open_admin(tmp_path, parking, SystemClock()):
        assert "error" in json.loads(await raw(tmp_path, line))
        assert await ask_node(tmp_path, {"ask": "parked.list"}) == []


async def test_who_says_nothing_is_sent_away(tmp_path: Path, parking: Parking) -> None:
    clock = ManualClock()
    async with open_admin(tmp_path, parking, clock):
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_NAME)
        while not clock.waiting:
            await asyncio.sleep(0)
        await clock.advance(11.0)

        assert await reader.read() == b""
        writer.close()


async def test_a_store_that_fails_is_said(tmp_path: Path) -> None:
    class Failing(MemoryStore):
        async def parked(self, *, after: int = 0, limit: int) -> list[ParkedMessage]:
            raise StoreUnavailable("the disk is gone")

    parking = Parking(Failing(SystemClock()))
    async with open_admin(tmp_path, parking, SystemClock()):
        with pytest.raises(CloudstateError, match="the disk is gone"):
            await ask_node(tmp_path, {"ask": "parked.list"})


async def test_a_path_that_is_too_long_is_no_reason_not_to_run(
    tmp_path: Path, parking: Parking, logged: list[dict[str, object]]
) -> None:
    data_dir = tmp_path / ("x" * 120)
    async with open_admin(data_dir, parking, SystemClock()):
        await settled()

    assert [entry["event"] for entry in logged] == ["no_admin_socket"]
