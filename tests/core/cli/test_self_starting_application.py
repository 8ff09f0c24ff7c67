from __future__ import annotations

import json
import signal
import socket
import subprocess

from grpc import aio

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub

PROGRAM = """
from cloudstate.cloudstate import CloudState
from rooms import entity, second
CloudState().register_entity(entity).register_entity(second){options}.start()
print("served")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    event = json.loads(line)
    assert event["event"] == "user_function_listens"
    assert event["services"] == ["example.chat.Room", "second.Room"]
    return str(event["address"])


async def test_a_program_serves_its_entities_until_it_is_told_to_stop(start) -> None:
    process = start(code=PROGRAM.format(options=".port(0)"))

    async with aio.insecure_channel(address_of(process)) as channel:
        spec = await EntityDiscoveryStub(channel).discover(ProxyInfo())
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)

    assert len(spec.entities) == 2
    assert (process.returncode, out) == (0, "served\n")


async def test_what_the_program_sets_wins_over_the_environment(start) -> None:
    port, other = free_port(), free_port()
    environ = {"HOST": "127.0.0.2", "PORT": str(other)}

    told = start(code=PROGRAM.format(options=f".host('127.0.0.1').port({port})"), **environ)
    untold = start(code=PROGRAM.format(options=""), **environ)

    assert address_of(told) == f"127.0.0.1:{port}"
    assert address_of(untold) == f"127.0.0.2:{other}"


def test_what_cannot_be_served_is_raised_to_the_program(start) -> None:
    process = start(code=PROGRAM.format(options=".register_entity(entity).port(0)"))

    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "RegistrationError: service 'example.chat.Room' is registered twice" in err
