from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from chat_kind.entity import TALK
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub

PROXY = ProxyInfo(protocol_minor_version=2, supported_entity_types=["test.chat.Chat"])


def address_of(process: subprocess.Popen[str]) -> str:
    """Wait until the process listens, and return where."""
    return welcome_of(process).splitlines()[0].split()[-1]


def welcome_of(process: subprocess.Popen[str]) -> str:
    """Wait until the process listens, and return what it says."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    assert lines[0].startswith("user function listens on "), process.communicate()
    while not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline())
    return "".join(lines)


def events_of(err: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in err.splitlines()]


@asynccontextmanager
async def talking(address: str) -> AsyncIterator[Callable[[], Any]]:
    async with aio.insecure_channel(address) as channel:
        yield channel.stream_stream(
            TALK.path, StringValue.SerializeToString, StringValue.FromString
        )


async def begin(stream: Any, text: str) -> None:
    """Have a command begin that does not end at once."""
    assert await ask(stream, f"tell {text}") == "BEGUN"


async def ask(stream: Any, text: str) -> str:
    await stream.write(StringValue(value=text))
    return str((await stream.read()).value)


async def test_entities_are_served_and_the_start_says_what_to_do_next(start) -> None:
    process = start("serve", "rooms:entity", "rooms:second", "--port", "0")
    out = welcome_of(process)
    address = out.splitlines()[0].split()[-1]
    async with aio.insecure_channel(address) as channel:
        spec = await EntityDiscoveryStub(channel).discover(PROXY)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert [entity.service_name for entity in spec.entities] == ["example.chat.Room", "second.Room"]
    assert "serves example.chat.Room (chat)" in out
    assert f"cloudstate proxy --function {address}" in out
    port = address.rpartition(":")[2]
    assert f"USER_FUNCTION_HOST=127.0.0.1 USER_FUNCTION_PORT={port}" in out
    assert [event["event"] for event in events_of(err)] == [
        "user_function_listens",
        "discovered",
        "draining",
        "stopped",
    ]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_the_environment_says_where_unless_a_flag_does(start) -> None:
    port, other = free_port(), free_port()

    by_environment = start("serve", "rooms:entity", HOST="127.0.0.2", PORT=str(port))
    by_flag = start("serve", "rooms:entity", "--port", str(other), PORT=str(port))

    assert address_of(by_environment) == f"127.0.0.2:{port}"
    assert address_of(by_flag) == f"127.0.0.1:{other}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_running_command_finish(start, number: signal.Signals) -> None:
    process = start("serve", "rooms:entity", "--port", "0")
    async with talking(address_of(process)) as talk:
        idle, busy = talk(), talk()
        await ask(idle, "hello")
        await begin(busy, "sleep 0.5")

        process.send_signal(number)

        assert (await busy.read()).value == "SLEEP 0.5"
        assert await idle.code() is grpc.StatusCode.UNAVAILABLE
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in out + err, out + err


async def test_a_second_signal_stops_at_once(start) -> None:
    process = start("serve", "rooms:entity", "--port", "0", CLOUDSTATE_HOST_DRAIN_GRACE_S="3600")
    async with talking(address_of(process)) as talk:
        idle, busy = talk(), talk()
        await ask(idle, "hello")
        await begin(busy, "wait forever")
        process.send_signal(signal.SIGTERM)
        # The idle stream's end shows that the first signal has arrived.
        assert await idle.code() is grpc.StatusCode.UNAVAILABLE
        assert process.poll() is None

        process.send_signal(signal.SIGTERM)

        assert await busy.code() is not grpc.StatusCode.OK
    process.communicate(timeout=30)
    assert process.returncode == 0


async def test_the_grace_is_the_longest_that_a_stop_takes(start) -> None:
    process = start("serve", "rooms:entity", "--port", "0", CLOUDSTATE_HOST_DRAIN_GRACE_S="0.2")
    async with talking(address_of(process)) as talk:
        await begin(talk(), "wait forever")
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert time.monotonic() - started < 10
    assert events_of(err)[-1]["event"] == "stopped"


async def test_a_handler_that_blocks_for_ever_does_not_keep_the_process(start) -> None:
    process = start("serve", "rooms:entity", "--port", "0", CLOUDSTATE_HOST_DRAIN_GRACE_S="0.2")
    async with talking(address_of(process)) as talk:
        await begin(talk(), "block 3600")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert events_of(err)[-1]["event"] == "handlers_left_behind"


async def test_a_handler_that_blocked_and_has_ended_is_not_left_behind(start) -> None:
    process = start("serve", "rooms:entity", "--port", "0")
    async with talking(address_of(process)) as talk:
        assert await ask(talk(), "block 0.01") == "BLOCK 0.01"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert events_of(err)[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected MODULE:NAME of at least one entity"),
        (("rooms:entiti",), "module 'rooms' has no 'entiti'; did you mean rooms:entity?"),
        (("nowhere:entity",), "module 'nowhere' is not found"),
        (("rooms:room",), "'rooms:room': expected an entity, found function"),
        (("rooms:broken",), "function f in file rooms.py: no such command"),
        (("rooms:entity", "rooms:twin"), "service 'example.chat.Room' is registered twice"),
        (("rooms:entity", "--port", "70000"), "expected a value between 0 and 65535, found 70000"),
        (("rooms:entity", "--host", "no-such-host.invalid"), "unknown host"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(
    run_here, arguments: tuple[str, ...], expected: str
) -> None:
    code, out, err = run_here("serve", *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err


def test_a_port_in_use_is_one_line_and_exit_code_2(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, out, err = run("serve", "rooms:entity", "--port", str(port))

    assert (code, out) == (2, "")
    assert err == f"error: cannot listen on '127.0.0.1', port {port}: port is in use\n"


def test_without_its_plugin_an_entity_cannot_be_served(run_here, folder) -> None:
    file = folder / "cloudstate.toml"
    file.write_text(file.read_text().replace("disabled = [", "disabled = ['chat', "))

    code, _, err = run_here("serve", "rooms:entity")

    assert code == 2
    assert "plugin 'chat' is disabled by the setting `disabled`" in err
