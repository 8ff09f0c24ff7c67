"""What the front ends cost: each beside an echo of the library a plain server would stand on.

The front door stands before a handler that answers at once, so that the difference is the front
end. Besides calls per second there is the server's processor time for each call, which says more on
a machine that has other things to do.

python -m bench frontends                    measure
python -m bench.frontends                    print `127.0.0.1:PORT` and serve until killed
python -m bench.frontends full               the same, with room for nobody
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from bench.embedded import SERVICE, add_item
from bench.figures import Figure
from bench.placing import pinned
from cloudstate.entity_pb2 import ClientAction, Entity, EntitySpec, ServiceInfo
from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import LimitExceeded
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.frontend.port import open_port
from cloudstate_runtime.function.discovery import Discovery

__all__ = ["measure"]

ROUNDS = 5
CALLS = 6_000
CONNECTIONS, STREAMS = 8, 8

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_JSON = '{"productId":"socks","name":"Socks","quantity":1}'


# --- The server ----------------------------------------------------------------------


class _Answering:
    """Answers every command with nothing, at once."""

    async def handle(self, request: Request) -> Outcome:
        del request
        action = ClientAction()
        action.reply.payload.type_url = "type.googleapis.com/google.protobuf.Empty"
        return Outcome(action)


class _Full(_Answering):
    """Has room for nobody; a `Door`."""

    def __init__(self) -> None:
        self._error = LimitExceeded("no room", retry_after_s=0.5)

    def room(self) -> int:
        return 0

    def expect(self, requests: int) -> None:
        pass

    def refusal(self) -> LimitExceeded:
        return self._error

    def turned_away(self, requests: int) -> None:
        pass


async def _serve(handler: object) -> None:
    deployment = _deployment()
    host: Any = SimpleNamespace(
        handler=handler,
        served=SimpleNamespace(
            revision=1,
            deployments=(deployment,),
            entities={entity.service_name: entity for entity in deployment.entities},
        ),
        limits=Limits(),
        clock=SystemClock(),
        sections={},
        is_ready=lambda: True,
    )
    async with open_port([GrpcFrontEnd(), HttpFrontEnd()], host, "127.0.0.1", 0) as port:
        print("{}:{}".format(*port.address), flush=True)
        await asyncio.Event().wait()


def _deployment() -> Any:
    from shoppingcart import shoppingcart_pb2  # `bench.embedded` set the path

    files: dict[str, FileDescriptor] = {}
    _collect(shoppingcart_pb2.DESCRIPTOR, files)
    announced = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(announced.file.add())
    spec = EntitySpec(
        proto=announced.SerializeToString(),
        entities=[Entity(entity_type="bench", service_name=SERVICE, persistence_id="cart")],
        service_info=ServiceInfo(protocol_major_version=0, protocol_minor_version=2),
    )
    kind: Any = SimpleNamespace(faults=lambda entity: ())
    return Discovery({"bench": kind}, lambda entities: (), 1 << 22).deploy("bench", spec)


def _collect(file: FileDescriptor, into: dict[str, FileDescriptor]) -> None:
    for dependency in file.dependencies:
        if dependency.name not in into:
            _collect(dependency, into)
    into[file.name] = file


# --- The load ------------------------------------------------------------------------


def measure() -> list[Figure]:
    """Measure both front ends, each against its echo, in alternation."""
    missing = [tool for tool in ("h2load", "wrk") if shutil.which(tool) is None]
    if missing:
        print(
            f"cannot measure the front ends: {' and '.join(missing)} not found; "
            "install Debian's packages nghttp2-client and wrk",
            file=sys.stderr,
        )
        return []
    with (
        tempfile.TemporaryDirectory() as folder,
        _running("bench.frontends") as door,
        _running("bench.frontends", "full") as full,
        _running("bench.echo_servers", "grpc") as grpc_echo,
        _running("bench.echo_servers", "http") as http_echo,
    ):
        h2load, wrk = _h2load(Path(folder)), _wrk(Path(folder))
        return [
            *_compare("gRPC front end, bare", h2load, door, grpc_echo),
            _refusing("gRPC front end, bare", h2load, full),
            *_compare("HTTP/JSON front end, bare", wrk, door, http_echo),
            _refusing("HTTP/JSON front end, bare", wrk, full),
        ]


Server = tuple[int, str]
Load = Callable[[str], tuple[float, int]]


def _compare(name: str, load: Load, door: Server, echo: Server) -> list[Figure]:
    """Return the rate and the processor time of a call, each the best of some rounds."""
    doors, echoes = [], []
    for _ in range(ROUNDS):
        doors.append(_loaded(load, door))
        echoes.append(_loaded(load, echo))
    return [
        Figure(
            f"{name}, {CONNECTIONS * STREAMS} concurrent",
            max(rate for rate, _ in doors),
            "/s",
            echo=max(rate for rate, _ in echoes),
        ),
        Figure(
            f"{name}, processor time of a call",
            min(cpu_us for _, cpu_us in doors),
            "µs",
            echo=min(cpu_us for _, cpu_us in echoes),
        ),
    ]


def _refusing(name: str, load: Load, full: Server) -> Figure:
    """Return the processor time of a call for which there is no room."""
    cpu_us = min(_loaded(load, full)[1] for _ in range(ROUNDS))
    return Figure(f"{name}, processor time of a call that is refused", cpu_us, "µs")


def _loaded(load: Load, server: Server) -> tuple[float, float]:
    pid, address = server
    before_s = _cpu_s(pid)
    rate, calls = load(address)
    return rate, (_cpu_s(pid) - before_s) / calls * 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _h2load(folder: Path) -> Load:
    message = add_item("user-1").payload.value
    body = folder / "body"
    body.write_bytes(b"\x00" + len(message).to_bytes(4, "big") + message)

    def load(address: str) -> tuple[float, int]:
        output = _run(
            ["h2load", f"-n{CALLS}", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-d{body}"],
            ["-Hcontent-type: application/grpc", "-Hte: trailers"],
            [f"http://{address}/{SERVICE}/AddItem"],
        )
        if f"{CALLS} succeeded" not in output:
            raise RuntimeError(f"h2load did not succeed:\n{output}")
        return float(_found(r"([\d.]+) req/s", output)), CALLS

    return load


def _wrk(folder: Path) -> Load:
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = '{_JSON}'\n"
        'wrk.headers["content-type"] = "application/json"\n'
    )

    def load(address: str) -> tuple[float, int]:
        output = _run(
            ["wrk", "-t1", f"-c{CONNECTIONS * STREAMS}", "-d2s", f"-s{script}"],
            [f"http://{address}/cart/user-1/items/add"],
        )
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
        if "Socket errors" in output or (
            refused and refused[1] != _found(r"(\d+) requests", output)
        ):
            raise RuntimeError(f"wrk did not succeed:\n{output}")
        rate, calls = (_found(p, output) for p in (r"Requests/sec: +([\d.]+)", r"(\d+) requests"))
        return float(rate), int(calls)

    return load


def _found(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"the load generator said nothing like {pattern!r}:\n{output}")
    return match.group(1)


def _run(*parts: list[str]) -> str:
    command = [*pinned(1), *(word for part in parts for word in part)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [*pinned(0), sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    uvloop.run(_serve(_Full() if "full" in sys.argv[1:] else _Answering()))
