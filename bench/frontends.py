"""What the front ends cost: each beside an echo of the library it stands on, in the same run.

Every server answers without doing anything, so that the difference is the front end. Servers run on
one processor and the load generator on another, if there are two.

Run `python -m bench.frontends`; it needs h2load (Debian: nghttp2-client) and wrk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICE = "com.example.shoppingcart.ShoppingCart"
CART = Path(__file__).resolve().parent.parent / "examples" / "shopping_cart"
CONNECTIONS = 64
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

GRPC_ECHO, GRPC_FRONT = "grpc.aio echo", "gRPC front end"
HTTP_ECHO, HTTP_FRONT = "uvicorn echo", "HTTP front end"


# --- Servers -------------------------------------------------------------------------


async def serve_grpc_echo() -> None:
    import grpc

    async def echo(data: bytes, context: object) -> bytes:
        return data

    methods = {f"/{SERVICE}/AddItem": grpc.unary_unary_rpc_method_handler(echo)}

    class Echo(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return methods.get(handler_call_details.method)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def serve_http_echo() -> None:
    import socket

    import uvicorn

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(message["body"])),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": message["body"]})

    config = uvicorn.Config(
        echo, http="httptools", ws="none", lifespan="off", log_level="error", access_log=False
    )
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_front_door() -> None:
    from cloudstate_core.clock import SystemClock
    from cloudstate_core.frontend import Limits
    from cloudstate_runtime.frontend.port import open_port
    from cloudstate_runtime.plugin import cloudstate_register_frontends

    host = _Host()
    host.limits, host.clock = Limits(max_streams_per_connection=1000), SystemClock()
    host.handler, host.served = _Replying(), _served()
    async with open_port(cloudstate_register_frontends(), host, "127.0.0.1", 0) as port:
        print(port.address[1], flush=True)
        await asyncio.Event().wait()


class _Host:
    limits: Any
    clock: Any
    handler: Any
    served: Any

    def is_ready(self) -> bool:
        return True


class _Replying:
    """Answers with nothing, as most commands do."""

    async def handle(self, request: Any) -> Any:
        from cloudstate.entity_pb2 import ClientAction
        from cloudstate_core.handler import Outcome

        action = ClientAction()
        action.reply.payload.type_url = "type.googleapis.com/google.protobuf.Empty"
        return Outcome(action)


def _served() -> Any:
    from types import SimpleNamespace

    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from cloudstate.entity_pb2 import Entity, EntitySpec, ServiceInfo
    from cloudstate_runtime.function.discovery import Discovery

    sys.path.insert(0, str(CART))
    from shoppingcart import shoppingcart_pb2

    files = FileDescriptorSet()
    _add(files, shoppingcart_pb2.DESCRIPTOR, set())
    spec = EntitySpec(
        proto=files.SerializeToString(),
        entities=[Entity(entity_type="bench", service_name=SERVICE, persistence_id="cart")],
        service_info=ServiceInfo(protocol_major_version=0, protocol_minor_version=2),
    )
    kind: Any = SimpleNamespace(faults=lambda entity: ())
    discovery = Discovery({"bench": kind}, lambda entities: (), 1 << 22)
    deployment = discovery.deploy("bench", spec)
    entities = {entity.service_name: entity for entity in deployment.entities}
    return SimpleNamespace(revision=1, deployments=(deployment,), entities=entities)


def _add(files: Any, file: Any, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _add(files, dependency, seen)
    file.CopyToProto(files.file.add())


SERVERS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "grpc-echo": serve_grpc_echo,
    "http-echo": serve_http_echo,
    "front-door": serve_front_door,
}


# --- Load ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One measurement.

    Attributes:
        name: What was measured.
        calls_per_s: How many calls were answered.
        cpu_us: Processor time of the server for each call.
    """

    name: str
    calls_per_s: float
    cpu_us: float


@contextmanager
def running(server: str) -> Iterator[tuple[int, int]]:
    """Run a server in a process of its own; yields its process id and port."""
    command = [sys.executable, __file__, "--serve", server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.terminate()


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken, on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def on_another_processor() -> list[str]:
    return ["taskset", "-c", "1"] if _can_pin() else []


def _can_pin() -> bool:
    return (
        hasattr(os, "sched_getaffinity")
        and {0, 1} <= os.sched_getaffinity(0)
        and shutil.which("taskset") is not None
    )


def under_h2load(name: str, pid: int, port: int, calls: int) -> Figure:
    sys.path.insert(0, str(CART))
    from shoppingcart.shoppingcart_pb2 import AddLineItem

    message = AddLineItem(user_id="u1", product_id="p1", name="Oranges", quantity=2)
    data = message.SerializeToString()
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(data).to_bytes(4, "big") + data)
        body.flush()
        command = ["h2load", "-n", str(calls), "-c", "8", "-m", str(CONNECTIONS // 8)]
        command += ["-d", body.name, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"http://127.0.0.1:{port}/{SERVICE}/AddItem"]
        before = cpu_s(pid)
        output = subprocess.run(
            [*on_another_processor(), *command], check=True, capture_output=True, text=True
        ).stdout
    done = int(found(r"status codes: (\d+) 2xx", output))
    if done != calls:
        raise SystemExit(f"{name}: expected {calls} answers, found {done}\n{output}")
    rate = float(found(r"finished in .*, ([\d.]+) req/s", output))
    return Figure(name, rate, (cpu_s(pid) - before) / calls * 1e6)


LUA = """
wrk.method = "POST"
wrk.body = '{"product_id":"p1","name":"Oranges","quantity":2}'
wrk.headers["Content-Type"] = "application/json"
"""


def under_wrk(name: str, pid: int, port: int, seconds: int) -> Figure:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script.name]
        command += [f"http://127.0.0.1:{port}/cart/u1/items/add"]
        before = cpu_s(pid)
        output = subprocess.run(
            [*on_another_processor(), *command], check=True, capture_output=True, text=True
        ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{name}: not every call was answered\n{output}")
    calls = int(found(r"(\d+) requests in", output))
    rate = float(found(r"Requests/sec: +([\d.]+)", output))
    return Figure(name, rate, (cpu_s(pid) - before) / calls * 1e6)


def found(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise SystemExit(f"the load generator said something else than {pattern!r}:\n{output}")
    return match.group(1)


def measure(seconds: int) -> list[tuple[Figure, Figure]]:
    """Return pairs of a front end and its echo; each is the best of three, one after the other."""
    calls = 3000 * seconds
    with running("grpc-echo") as grpc_echo, running("http-echo") as http_echo:
        with running("front-door") as door:
            grpc_pairs, http_pairs = [], []
            for _ in range(3):
                grpc_pairs.append(
                    (
                        under_h2load(GRPC_FRONT, *door, calls),
                        under_h2load(GRPC_ECHO, *grpc_echo, calls),
                    )
                )
                http_pairs.append(
                    (
                        under_wrk(HTTP_FRONT, *door, seconds),
                        under_wrk(HTTP_ECHO, *http_echo, seconds),
                    )
                )
    return [_best(grpc_pairs), _best(http_pairs)]


def _best(pairs: list[tuple[Figure, Figure]]) -> tuple[Figure, Figure]:
    fronts, echoes = zip(*pairs, strict=True)
    return max(fronts, key=lambda f: f.calls_per_s), max(echoes, key=lambda f: f.calls_per_s)


def report(pairs: list[tuple[Figure, Figure]]) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"{CONNECTIONS} calls at a time, one processor for the server\n")
    print(f"{'':<18}{'calls/s':>10}{'CPU µs/call':>14}{'of its echo':>14}")
    for front, echo in pairs:
        print(f"{echo.name:<18}{echo.calls_per_s:>10.0f}{echo.cpu_us:>14.0f}")
        ratio = front.calls_per_s / echo.calls_per_s
        print(f"{front.name:<18}{front.calls_per_s:>10.0f}{front.cpu_us:>14.0f}{ratio:>14.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(SERVERS[arguments.serve])
        return
    missing = [tool for tool in ("h2load", "wrk") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(
            f"bench: {' and '.join(missing)} not found; on Debian: "
            "apt-get install nghttp2-client wrk"
        )
    report(measure(arguments.seconds))


def serve(server: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    if _can_pin():
        os.sched_setaffinity(0, {0})
    uvloop.run(server())


if __name__ == "__main__":
    main()
