"""`cloudstate run` and `proxy` as processes: what they print, refuse and leave behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "shopping_cart"
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))
CART = "shoppingcart.shopping_cart_entity:entity"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start_(*arguments: str, cwd: Path = EXAMPLE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [CLOUDSTATE, *arguments],
            cwd=cwd,
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


def welcome_of(process: subprocess.Popen[str]) -> str:
    """Wait until a process is ready and return what it says."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
    raise AssertionError(f"ended before it was ready: {''.join(lines)}{process.communicate()[1]}")


def address_in(welcome: str) -> str:
    found = re.search(r"127\.0\.0\.1:\d+", welcome)
    assert found is not None
    return found.group(0)


def refusal_of(process: subprocess.Popen[str]) -> str:
    """Return the one line with which a process refused to start."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, (out, err)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def call(url: str, body: str | None = None) -> str:
    request = urllib.request.Request(
        url,
        data=None if body is None else body.encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.read().decode())


def test_run_says_where_it_serves_what_and_where_state_is_kept(
    start: Start, tmp_path: Path
) -> None:
    welcome = welcome_of(start("run", CART, "--port=0", f"--data={tmp_path / 'state'}"))

    assert "serving gRPC and HTTP on 127.0.0.1:" in welcome
    assert "com.example.shoppingcart.ShoppingCart (eventsourced)" in welcome
    assert f"state is kept in {tmp_path / 'state'}" in welcome


def test_the_example_request_that_is_printed_works_as_it_stands(
    start: Start, tmp_path: Path
) -> None:
    welcome = welcome_of(start("run", CART, "--port=0", f"--data={tmp_path}"))

    command = next(line for line in welcome.splitlines() if line.strip().startswith("curl "))
    answer = subprocess.run(
        ["sh", "-c", f"{command} --fail --silent"], check=True, capture_output=True, text=True
    )

    assert answer.stdout == "{}"


def test_state_survives_sigterm_and_a_new_start(start: Start, tmp_path: Path) -> None:
    first = start("run", CART, "--port=0", f"--data={tmp_path}")
    cart = f"http://{address_in(welcome_of(first))}/cart/joe/items/add"
    call(cart, '{"productId": "socks", "name": "Socks", "quantity": 2}')
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0

    second = start("run", CART, "--port=0", f"--data={tmp_path}")

    shown = call(f"http://{address_in(welcome_of(second))}/carts/joe")
    assert shown == '{"items":[{"productId":"socks","name":"Socks","quantity":2}]}'


def test_state_in_memory_ends_with_the_process_and_leaves_no_file(
    start: Start, tmp_path: Path
) -> None:
    process = start("run", CART, "--port=0", "--memory", cwd=tmp_path)

    assert "state is kept in memory" in welcome_of(process)
    assert list(tmp_path.iterdir()) == []


#: Every handler does what would end a process.
EXITING = """
import sys
from google.protobuf.empty_pb2 import Empty
from shoppingcart.shoppingcart_pb2 import _SHOPPINGCART, AddLineItem, Cart, GetShoppingCart
from cloudstate.event_sourced_entity import EventSourcedEntity

entity = EventSourcedEntity(_SHOPPINGCART, [], dict)

@entity.command_handler("AddItem")
def add(item: AddLineItem) -> Empty:
    sys.exit(3)

@entity.command_handler("RemoveItem", blocking=True)
def remove() -> Empty:
    raise KeyboardInterrupt

@entity.command_handler("GetCart")
async def get(cart: GetShoppingCart) -> Cart:
    if cart.user_id == "exit":
        raise KeyboardInterrupt
    return Cart()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_handlers_that_exit_fail_their_commands_and_signals_stop_the_process(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "exiting.py").write_text(EXITING, encoding="utf-8")
    process = start("run", "exiting:entity", "--port=0", "--memory", cwd=tmp_path)
    url = f"http://{address_in(welcome_of(process))}"

    for path, body in (
        ("/cart/joe/items/add", "{}"),
        ("/cart/joe/items/socks/remove", ""),
        ("/carts/exit", None),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(f"{url}{path}", body)
        with caught.value as answer:
            assert answer.code == 500
    assert call(f"{url}/carts/joe") == '{"items":[]}'

    process.send_signal(number)
    assert process.wait(timeout=30) == 0


def test_a_proxy_serves_a_user_function_that_comes_later(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    proxy = start("proxy", f"--function=127.0.0.1:{port}", "--port=0", f"--data={tmp_path}")
    assert proxy.stdout is not None
    assert proxy.stdout.readline() == f"waiting for the user function at 127.0.0.1:{port} ...\n"

    start("serve", CART, f"--port={port}")

    shown = call(f"http://{address_in(welcome_of(proxy))}/carts/joe")
    assert shown == '{"items":[]}'


@pytest.mark.parametrize("reflection", ["true", "false"])
def test_reflection_is_a_setting(start: Start, tmp_path: Path, reflection: str) -> None:
    config = tmp_path / "cloudstate.toml"
    config.write_text(f"[grpc]\nreflection = {reflection}\n", encoding="utf-8")
    process = start("run", CART, "--port=0", "--memory", f"--config={config}")

    with grpc.insecure_channel(address_in(welcome_of(process))) as channel:
        answers = ServerReflectionStub(channel).ServerReflectionInfo(
            iter([ServerReflectionRequest(list_services="")]), timeout=10
        )
        if reflection == "true":
            listed = [each.name for each in next(answers).list_services_response.service]
            assert "com.example.shoppingcart.ShoppingCart" in listed
        else:
            with pytest.raises(grpc.RpcError) as told:
                next(answers)
            assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_data_directory_in_use_is_refused(start: Start, tmp_path: Path) -> None:
    welcome_of(start("run", CART, "--port=0", f"--data={tmp_path}"))

    refusal = refusal_of(start("run", CART, "--port=0", f"--data={tmp_path}"))

    assert str(tmp_path) in refusal
    assert "in use" in refusal


def test_a_data_directory_that_is_a_file_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")

    refusal = refusal_of(start("run", CART, "--port=0", f"--data={tmp_path / 'data'}"))

    assert str(tmp_path / "data") in refusal


def test_a_store_file_of_another_version_is_refused_and_left_as_it_was(
    start: Start, tmp_path: Path
) -> None:
    first = start("run", CART, "--port=0", f"--data={tmp_path}")
    welcome_of(first)
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=30)
    file = next(path for path in tmp_path.iterdir() if path.suffix == ".db")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = file.read_bytes()

    refusal = refusal_of(start("run", CART, "--port=0", f"--data={tmp_path}"))

    assert "version" in refusal
    assert file.read_bytes() == before


def test_a_port_in_use_is_refused(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal = refusal_of(start("run", CART, f"--port={port}", f"--data={tmp_path}"))

    assert f"127.0.0.1:{port}" in refusal


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no_such_module:entity"], "no_such_module"),
        ([CART.replace(":entity", ":nothing")], "nothing"),
        (["json:dumps"], "json"),
        ([CART, "--store=no-such-store"], "no-such-store"),
        ([CART, "--memory", "--store=memory"], "--memory"),
        ([CART, "--config=no-such-file.toml"], "no-such-file.toml"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_work_is_refused_with_one_line(
    start: Start, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    refusal = refusal_of(start("run", *arguments, "--port=0", cwd=tmp_path))

    assert expected in refusal


def test_an_unknown_setting_is_refused_with_its_place(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "cloudstate.toml"
    file.write_text("[runtime]\nprot = 9000\n")

    refusal = refusal_of(start("run", CART, cwd=tmp_path))

    assert "prot" in refusal
    assert "port" in refusal
    assert "cloudstate.toml" in refusal


def test_disabling_an_unknown_plugin_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cloudstate.toml").write_text('[plugins]\ndisabled = ["no-such-plugin"]\n')

    refusal = refusal_of(start("run", CART, cwd=tmp_path))

    assert "no-such-plugin" in refusal


def test_without_the_plugin_of_its_kind_an_entity_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "cloudstate.toml").write_text('[plugins]\ndisabled = ["eventsourced"]\n')

    refusal = refusal_of(start("run", CART, "--memory", cwd=tmp_path))

    assert "cloudstate.eventsourced.EventSourced" in refusal


def test_an_unknown_path_is_not_found_and_a_handler_failure_is_its_text(
    start: Start, tmp_path: Path
) -> None:
    address = address_in(welcome_of(start("run", CART, "--port=0", f"--data={tmp_path}")))

    with pytest.raises(urllib.error.HTTPError) as unknown:
        call(f"http://{address}/no/such/path")
    with unknown.value, pytest.raises(urllib.error.HTTPError) as failed:
        call(f"http://{address}/cart/joe/items/add", '{"productId": "socks", "quantity": -1}')

    with failed.value:
        assert unknown.value.code == 404
        assert failed.value.code == 500
        assert failed.value.read() == b"quantity of 'socks' must be more than 0, not -1"
