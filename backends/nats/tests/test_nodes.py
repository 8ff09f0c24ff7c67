"""`cloudstate run` as nodes of one cluster: real processes, a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudstate_nats.testing import NatsServer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "shopping_cart"
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))
CART = "shoppingcart.shopping_cart_entity:entity"
PATIENCE_S = 30.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start_(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [CLOUDSTATE, "run", CART, "--port=0", *arguments],
            env={**os.environ, "PYTHONPATH": str(EXAMPLE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def node_line_of(process: subprocess.Popen[str]) -> str:
    """Wait until a node is ready and return what it says of itself."""
    assert process.stdout is not None
    found = ""
    for line in process.stdout:
        if line.startswith("node "):
            found = line.strip()
        if line.startswith("Ctrl-C"):
            return found
    raise AssertionError(f"ended before it was ready: {process.communicate()[1]}")


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLOUDSTATE, "nodes", *arguments], capture_output=True, text=True, check=False, timeout=30
    )


def states(data: Path) -> dict[str, str]:
    answer = asked("list", "--json", f"--data={data}")
    assert answer.returncode == 0, answer.stderr
    return {each["name"]: each["state"] for each in json.loads(answer.stdout)}


def until_states_are(expected: dict[str, str], data: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := states(data)) != expected:
        assert time.monotonic() < deadline_s, found


def test_nodes_find_each_other_and_one_that_is_expelled_stops(
    start: Start, server: NatsServer, tmp_path: Path
) -> None:
    transport = f"--transport={server.address.replace('//', '//joe:secret@')}"
    a = start("--node=a", f"--data={tmp_path / 'a'}", transport)
    assert node_line_of(a) == f"node a, over {server.address}, with nobody yet"
    b = start("--node=b", f"--data={tmp_path / 'b'}", transport)
    assert node_line_of(b) == f"node b, over {server.address}, with a"
    until_states_are({"a": "here", "b": "reachable"}, tmp_path / "a")

    # The name is taken, though not the data.
    third = start("--node=a", "--memory", transport)
    err = third.communicate(timeout=PATIENCE_S)[1]
    assert third.returncode == 2
    assert "another process is node 'a' of this cluster" in err

    told = asked("expel", "b", f"--data={tmp_path / 'a'}")
    assert re.search(r"^a +\d+ +here\nb +\d+ +expelled$", told.stdout, re.MULTILINE), told
    err = b.communicate(timeout=PATIENCE_S)[1]
    assert b.returncode == 1
    assert "error: node 'b' has stopped: it was expelled from the cluster" in err
    assert "secret" not in err

    assert asked("expel", "a", f"--data={tmp_path / 'a'}").returncode == 1
    assert asked("forget", "nobody", f"--data={tmp_path / 'a'}").returncode == 1
    told = asked("forget", "b", f"--data={tmp_path / 'a'}")
    assert re.search(r"^a +\d+ +here\nb +(\d+) +expelled +\1$", told.stdout, re.MULTILINE), told
    assert "member" not in told.stderr
    told = asked("forget", "a", f"--data={tmp_path / 'a'}")
    assert "node 'a' is a member: what it wrote in earlier lives is given up" in told.stderr
    assert a.poll() is None


def test_a_node_whose_server_is_not_there_says_what_to_do(
    start: Start, server: NatsServer, tmp_path: Path
) -> None:
    server.stop()
    settings = tmp_path / "cloudstate.toml"
    settings.write_text("[nats]\nconnect_timeout_s = 0.2\n")
    address = f"--transport={server.address}"
    node = start("--node=a", f"--data={tmp_path}", address, f"--config={settings}")
    err = node.communicate(timeout=PATIENCE_S)[1]
    server.start()

    assert node.returncode == 1
    assert "error: no NATS server could be used at" in err
    assert "Traceback" not in err


def test_a_data_directory_without_a_node_is_an_error(tmp_path: Path) -> None:
    answer = asked("list", f"--data={tmp_path}")

    assert answer.returncode == 1
    assert "error: no node runs on" in answer.stderr
