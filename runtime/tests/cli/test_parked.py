"""`cloudstate parked`, with a node that runs and without one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudstate.entity_pb2 import SideEffect
from cloudstate_core.clock import SystemClock
from cloudstate_core.durable.messages import enqueued
from cloudstate_core.handler import Request
from cloudstate_core.plugins import load_plugins
from cloudstate_core.store import Commit, EntityKey, StateStore
from cloudstate_runtime.store_choice import choose_store

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "shopping_cart"
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))
CART = "shoppingcart.shopping_cart_entity:entity"
SERVICE = "com.example.shoppingcart.ShoppingCart"

IDS = tuple(digit * 32 for digit in "abc")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(EXAMPLE)}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory in which three messages are parked: socks for three users."""
    backend = choose_store("", load_plugins())
    data = tmp_path / "data"
    async with backend.open(backend.settings_type(), data, SystemClock()) as store:
        for number, message_id in enumerate(IDS):
            await _park(store, message_id, f"user-{number}")
    return data


async def _park(store: StateStore, message_id: str, user: str) -> None:
    effect = SideEffect(service_name=SERVICE, command_name="AddItem")
    effect.payload.type_url = "type.googleapis.com/com.example.shoppingcart.AddLineItem"
    effect.payload.value = (
        b"\x0a" + bytes([len(user)]) + user.encode() + b"\x12\x05socks\x1a\x05Socks\x20\x02"
    )
    request = Request("shop.Orders", "Place", effect.payload)
    write = enqueued(request, effect, user, message_id)
    await store.commit(Commit(EntityKey("orders", "o\x1b[31m1"), 0, (write,)))
    await store.park(message_id, "refused:\tthe shop\nis closed")


@pytest.fixture
def cli(data: Path, environment: dict[str, str]) -> Cli:
    def run(*arguments: str, at: Path = data) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CLOUDSTATE, "parked", *arguments, f"--data={at}"],
            cwd=EXAMPLE,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run


@pytest.fixture
def node(data: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a node on the data; yield its address."""
    process = subprocess.Popen(
        [CLOUDSTATE, "run", CART, "--port=0", f"--data={data}"],
        cwd=EXAMPLE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            found = re.search(r"127\.0\.0\.1:\d+", line)
            address = address or (found.group(0) if found else "")
            if line.startswith("Ctrl-C"):
                break
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert not (data / "admin.sock").exists()
    finally:
        process.kill()
        process.communicate()


def cart_of(address: str, user: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"http://{address}/carts/{user}", timeout=10) as response:
        return json.loads(response.read())["items"]


def listed(cli: Cli) -> list[str]:
    return [entry["id"] for entry in json.loads(cli("list", "--json").stdout)]


# --- Without a node ------------------------------------------------------------------


def test_the_list_is_a_table_without_control_characters(cli: Cli) -> None:
    done = cli("list")

    assert done.returncode == 0, done.stderr
    heading, *rows, last = done.stdout.splitlines()
    assert heading.split() == ["ID", "SINCE", "FROM", "TO", "REASON"]
    assert [row.split()[0] for row in rows] == list(IDS)
    assert "shop.Orders.Place 'o\\x1b[31m1'" in rows[0]
    assert f"{SERVICE}.AddItem 'user-0'" in rows[0]
    assert rows[0].endswith("refused: the shop is closed")
    assert last == "3 messages parked (no node runs; opened the store)"
    assert all(line.isprintable() for line in done.stdout.splitlines())


def test_the_list_is_json_for_programs(cli: Cli) -> None:
    first, *_ = json.loads(cli("list", "--json").stdout)

    assert first.pop("since_unix_s") == pytest.approx(time.time(), abs=600)
    assert first.pop("size_bytes") > 0
    assert first == {
        "id": IDS[0],
        "sender": ["shop.Orders", "Place", "o\x1b[31m1"],
        "receiver": [SERVICE, "AddItem", "user-0"],
        "reason": "refused:\tthe shop\nis closed",
    }


def test_what_is_retried_without_a_node_is_delivered_when_one_runs(
    cli: Cli,
) -> None:
    done = cli("retry", IDS[1])
    expected = "1 message to be delivered when a node runs next (no node runs; opened the store)"
    assert (done.returncode, done.stdout) == (0, f"{expected}\n"), done.stderr

    assert listed(cli) == [IDS[0], IDS[2]]


def test_what_is_dropped_is_gone(cli: Cli) -> None:
    done = cli("drop", IDS[0], IDS[2])

    assert done.stdout == "2 messages dropped (no node runs; opened the store)\n"
    assert listed(cli) == [IDS[1]]


def test_an_unknown_id_is_an_error_and_the_others_are_done(cli: Cli) -> None:
    done = cli("drop", IDS[0], "unknown")

    assert done.returncode == 1
    assert done.stdout == "1 message dropped (no node runs; opened the store)\n"
    assert done.stderr == "error: expected ids of parked messages, found unknown\n"


@pytest.mark.parametrize("arguments", [("retry",), ("drop",), ("drop", "--all", IDS[0])])
def test_what_is_meant_has_to_be_said(arguments: tuple[str, ...], cli: Cli) -> None:
    done = cli(*arguments)

    assert done.returncode == 2
    assert "name the messages by their ids, or all of them by --all" in done.stderr
    assert listed(cli) == list(IDS)


def test_no_data_directory_is_made(cli: Cli, tmp_path: Path) -> None:
    done = cli("list", at=tmp_path / "elsewhere")

    assert done.returncode == 2
    assert "expected a data directory, found none" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


# --- With a node ---------------------------------------------------------------------


def test_a_node_that_runs_lists_retries_and_drops(cli: Cli, node: str) -> None:
    assert cli("list").stdout.endswith("3 messages parked (asked the running node)\n")
    assert cart_of(node, "user-0") == []

    done = cli("retry", IDS[0])
    assert done.stdout == "1 message being delivered again (asked the running node)\n"
    for _ in range(200):
        if cart_of(node, "user-0"):
            break
        time.sleep(0.02)  # the other process takes its time
    assert cart_of(node, "user-0") == [{"productId": "socks", "name": "Socks", "quantity": 2}]

    assert cli("drop", IDS[1]).stdout == "1 message dropped (asked the running node)\n"
    assert cli("retry", "--all", "--json").stdout == json.dumps([IDS[2]]) + "\n"
    assert listed(cli) == []
    assert cart_of(node, "user-1") == []


@pytest.mark.usefixtures("node")
def test_nobody_else_can_ask_the_node(data: Path) -> None:
    assert (data / "admin.sock").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o077 == 0
