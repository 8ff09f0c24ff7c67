"""The real process, over gRPC and HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from presence.presence_pb2 import People, Person, Room, Visitor
from presence.presence_pb2_grpc import PresenceStub

EXAMPLE = Path(__file__).resolve().parents[1]
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))
TIMEOUT_S = 20.0

LOBBY = Room(room="lobby")


@contextmanager
def serving(data: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [CLOUDSTATE, "run", "presence.room_entity:entity", "--port=0", f"--data={data}"],
        cwd=EXAMPLE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = (re.search(r"127\.0\.0\.1:\d+", line) for line in process.stdout)
        address = next((found for found in lines if found is not None), None)
        assert address is not None, "it ended before it was ready"
        yield address.group(0)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path) as address:
        yield address


@pytest.fixture
def presence(address: str) -> Iterator[PresenceStub]:
    with grpc.insecure_channel(address) as channel:
        yield PresenceStub(channel)


def of(*names: str) -> People:
    return People(people=[Person(name=name, nodes=1) for name in names])


def following(answers: Iterator[People], fits: Callable[[People], bool]) -> People:
    """Return the first answer that fits; a call has a deadline, so it ends."""
    return next(answer for answer in answers if fits(answer))


def test_nobody_is_in_a_room_that_nobody_has_entered(presence: PresenceStub) -> None:
    assert presence.Who(LOBBY, timeout=TIMEOUT_S) == of()


def test_whoever_enters_is_seen_until_the_call_ends(presence: PresenceStub) -> None:
    watching = presence.Watch(LOBBY, timeout=TIMEOUT_S)
    assert next(watching) == of()

    joe = presence.Enter(Visitor(room="lobby", name="joe"), timeout=TIMEOUT_S)
    assert next(joe) == of("joe")
    assert next(watching) == of("joe")

    ann = presence.Enter(Visitor(room="lobby", name="ann"), timeout=TIMEOUT_S)
    assert next(ann) == next(joe) == next(watching) == of("ann", "joe")

    joe.cancel()
    assert next(watching) == next(ann) == of("ann")
    assert presence.Who(LOBBY, timeout=TIMEOUT_S) == of("ann")


def test_who_comes_in_twice_has_to_leave_twice(presence: PresenceStub) -> None:
    visitor = Visitor(room="lobby", name="joe")
    first, second = (presence.Enter(visitor, timeout=TIMEOUT_S) for _ in range(2))
    assert next(first) == next(second) == of("joe")

    first.cancel()
    watching = presence.Watch(LOBBY, timeout=TIMEOUT_S)
    assert next(watching) == of("joe")
    second.cancel()

    assert following(watching, lambda people: people == of()) == of()


def test_rooms_are_apart(presence: PresenceStub) -> None:
    joe = presence.Enter(Visitor(room="garden", name="joe"), timeout=TIMEOUT_S)
    assert next(joe) == of("joe")

    assert presence.Who(LOBBY, timeout=TIMEOUT_S) == of()


def test_a_visitor_without_a_name_stays_outside(presence: PresenceStub) -> None:
    with pytest.raises(grpc.RpcError, match="name who enters"):
        next(presence.Enter(Visitor(room="lobby"), timeout=TIMEOUT_S))


def test_a_room_is_watched_as_events_over_http(address: str, presence: PresenceStub) -> None:
    url = f"http://{address}/rooms/lobby/watch"
    with httpx.stream(
        "GET", url, headers={"accept": "text/event-stream"}, timeout=TIMEOUT_S
    ) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data:"))
        assert next(lines) == 'data: {"people":[]}'
        joe = presence.Enter(Visitor(room="lobby", name="joe"), timeout=TIMEOUT_S)
        assert next(joe) == of("joe")
        assert next(lines) == 'data: {"people":[{"name":"joe","nodes":1}]}'


def test_after_a_kill_nobody_is_there_who_was_connected_to_it(tmp_path: Path) -> None:
    with serving(tmp_path) as address, grpc.insecure_channel(address) as channel:
        joe = PresenceStub(channel).Enter(Visitor(room="lobby", name="joe"), timeout=TIMEOUT_S)
        assert next(joe) == of("joe")

    with serving(tmp_path) as address, grpc.insecure_channel(address) as channel:
        assert PresenceStub(channel).Who(LOBBY, timeout=TIMEOUT_S) == of()
