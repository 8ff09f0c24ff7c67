"""Durable commands through the front door of the real process, beside bare echo servers.

The load generators are h2load (gRPC) and wrk (HTTP), from Debian's nghttp2-client and wrk: a Python
client would be slower than the server. Server and generator each get a core of their own, if there
are two.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.embedded import SERVICE, add_item
from bench.figures import Figure
from bench.placing import pinned
from bench.start import started_cart

__all__ = ["measure"]

CONCURRENT = 64
GENERATORS = 32
REQUESTS = 20_000
SECONDS = 5
ROUNDS = 3
ALONE = 2_000

_JSON = '{"productId":"socks","name":"Socks","quantity":1}'


def measure() -> list[Figure]:
    """Measure gRPC and HTTP, each against its echo, in alternation."""
    missing = [tool for tool in ("h2load", "wrk") if shutil.which(tool) is None]
    if missing:
        print(
            f"cannot measure the front door: {' and '.join(missing)} not found; "
            "install Debian's packages nghttp2-client and wrk",
            file=sys.stderr,
        )
        return []
    with tempfile.TemporaryDirectory() as folder, _cart(Path(folder) / "data") as cart:
        return [*_grpc(Path(folder), cart), *_http(Path(folder), cart)]


def _grpc(folder: Path, cart: str) -> list[Figure]:
    bodies = []
    for number in range(GENERATORS):
        message = add_item(f"user-{number}").payload.value
        bodies.append(folder / f"body-{number}")
        bodies[-1].write_bytes(b"\x00" + len(message).to_bytes(4, "big") + message)
    with _echo("grpc") as echo:
        pairs = [(_h2loads(cart, bodies), _h2loads(echo, bodies)) for _ in range(ROUNDS)]
        alone, alone_echo = (_finished(_h2load(to, bodies[0], ALONE, 1))[1] for to in (cart, echo))
    # h2load knows nothing of gRPC's status, so what it counts as a success is counted again.
    _check_stored(cart, ROUNDS * (REQUESTS // GENERATORS) * GENERATORS + ALONE)
    measured, echoed = _median_pair(pairs)
    return [
        Figure(
            f"gRPC unary durable command, {CONCURRENT} concurrent",
            measured,
            "/s",
            echo=echoed,
            budget=">= 75 % of the grpc.aio echo",
            kept=measured >= 0.75 * echoed,
            note=f"{GENERATORS} connections with {CONCURRENT // GENERATORS} calls each",
        ),
        Figure(
            "gRPC unary durable command, one at a time, mean",
            alone,
            "ms",
            echo=alone_echo,
            budget="<= 1 ms",
            kept=alone <= 1.0,
        ),
    ]


def _check_stored(cart: str, expected: int) -> None:
    """Fail unless every command that was counted has left its event."""
    stored = 0
    for number in range(GENERATORS):
        with urllib.request.urlopen(f"http://{cart}/carts/user-{number}", timeout=30) as answer:
            stored += sum(item["quantity"] for item in json.load(answer)["items"])
    if stored != expected:
        raise RuntimeError(f"expected {expected} commands to be stored, found {stored}")


def _http(folder: Path, cart: str) -> list[Figure]:
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = '{_JSON}'\n"
        'wrk.headers["content-type"] = "application/json"\n'
        "local n = 0\n"
        'request = function()\n  n = n + 1\n  return wrk.format(nil, "/cart/user-" .. (n % 64) .. '
        '"/items/add")\nend\n'
    )
    with _echo("http") as echo:
        pairs = [
            (_wrk(cart, script, CONCURRENT)[0], _wrk(echo, script, CONCURRENT)[0])
            for _ in range(ROUNDS)
        ]
        alone, alone_echo = _wrk(cart, script, 1)[1], _wrk(echo, script, 1)[1]
    measured, echoed = _median_pair(pairs)
    return [
        Figure(
            f"HTTP/JSON durable command, {CONCURRENT} concurrent",
            measured,
            "/s",
            echo=echoed,
            budget=">= 15 % of the ASGI echo",
            kept=measured >= 0.15 * echoed,
            note="with protobuf's json_format",
        ),
        Figure(
            "HTTP/JSON durable command, one at a time, p50",
            alone,
            "ms",
            echo=alone_echo,
            budget="<= 1 ms",
            kept=alone <= 1.0,
        ),
    ]


def _median_pair(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]


def _h2loads(address: str, bodies: list[Path]) -> float:
    """Return calls per second over generators of one entity each, all at once."""
    # h2load sends one body again and again, so one of them can only load one entity.
    each, streams = REQUESTS // GENERATORS, CONCURRENT // GENERATORS
    running = [_h2load(address, body, each, streams) for body in bodies]
    return sum(_finished(process)[0] for process in running)


def _h2load(address: str, body: Path, requests: int, streams: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *pinned(1),
            "h2load",
            f"-n{requests}",
            "-c1",
            f"-m{streams}",
            f"-d{body}",
            "-Hcontent-type: application/grpc",
            "-Hte: trailers",
            f"http://{address}/{SERVICE}/AddItem",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def _finished(h2load: subprocess.Popen[str]) -> tuple[float, float]:
    """Return calls per second and the mean time of one in ms, of a generator that has ended."""
    output = h2load.communicate(timeout=120)[0]
    rate = re.search(r"([\d.]+) req/s", output)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", output)
    if rate is None or failed is None or mean is None or failed.groups() != ("0", "0", "0"):
        raise RuntimeError(f"h2load did not succeed:\n{output}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[mean.group(2)]
    return float(rate.group(1)), float(mean.group(1)) * scale


def _wrk(address: str, script: Path, connections: int) -> tuple[float, float]:
    """Return requests per second and the median time of one in ms."""
    output = _on_core(
        1,
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{SECONDS}s",
            "--latency",
            f"-s{script}",
            f"http://{address}",
        ],
    )
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    median = re.search(r"50% +([\d.]+)(us|ms|s)", output)
    if rate is None or median is None or "Non-2xx" in output:
        raise RuntimeError(f"wrk did not succeed:\n{output}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[median.group(2)]
    return float(rate.group(1)), float(median.group(1)) * scale


def _on_core(core: int, command: list[str]) -> str:
    return subprocess.run(
        [*pinned(core), *command], check=True, capture_output=True, text=True, timeout=120
    ).stdout


@contextmanager
def _cart(data: Path) -> Iterator[str]:
    process, port = started_cart(data, pinned(0))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _echo(which: str) -> Iterator[str]:
    process = subprocess.Popen(
        [*pinned(0), sys.executable, "-m", "bench.echo_servers", which],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
