"""Commands through the front door of the real process, beside bare echo servers.

The load generators are h2load (gRPC) and wrk (HTTP), from Debian's nghttp2-client and wrk: a Python
client would be slower than the server. Server and generator each get a core of their own, if there
are two.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from bench.figures import Figure
from bench.placing import pinned
from bench.server import Rate, Server
from bench.start import started

__all__ = [
    "USERS",
    "Loaded",
    "Subject",
    "echo",
    "finished",
    "grpc_body",
    "h2load",
    "load_generators_are_here",
    "measure_front_door",
    "median_pair",
    "served",
]

CONCURRENT = 64
USERS = 32
REQUESTS = 20_000
SECONDS = 5
ROUNDS = 3
ALONE = 2_000


@dataclass(frozen=True)
class Subject:
    """A command that is measured.

    Attributes:
        what: What it is called in the table.
        entities: What is served, as `cloudstate run` takes it.
        folder: Where it is served.
        grpc_path: The method.
        message: What it takes, for a user such as "user-1".
        http_path: The same method, with `{user}` in it.
        http_body: The rest of the message as JSON.
        carried_out: Asks a server how many commands it has carried out.
    """

    what: str
    entities: Sequence[str]
    folder: Path
    grpc_path: str
    message: Callable[[str], Message]
    http_path: str
    http_body: str
    carried_out: Callable[[str], int]


@dataclass(frozen=True)
class Loaded:
    """What a generator says: calls per second, the mean time of one, and the bytes of replies."""

    per_s: float
    mean_ms: float
    data_bytes: int


def measure_front_door(subject: Subject) -> list[Figure]:
    """Measure gRPC and HTTP, each against its echo, in alternation."""
    if not load_generators_are_here():
        return []
    with tempfile.TemporaryDirectory() as folder, served(subject, Path(folder) / "data") as server:
        return [
            *_grpc(subject, Path(folder), server),
            *_http(subject, Path(folder), server),
        ]


def load_generators_are_here() -> bool:
    """Return whether they are; say which ones are not."""
    missing = [tool for tool in ("h2load", "wrk") if shutil.which(tool) is None]
    if missing:
        print(
            f"cannot measure the front door: {' and '.join(missing)} not found; "
            "install Debian's packages nghttp2-client and wrk",
            file=sys.stderr,
        )
    return not missing


def _grpc(subject: Subject, folder: Path, server: Server) -> list[Figure]:
    bodies = [
        grpc_body(folder / f"body-{number}", subject.message(f"user-{number}"))
        for number in range(USERS)
    ]
    path = subject.grpc_path
    before = subject.carried_out(server.address)
    with echo("grpc") as echoing:
        pairs = _pairs(server, echoing, lambda each: _h2loads(each.address + path, bodies))
        alone, alone_echo = (
            finished(h2load(each.address + path, bodies[0], ALONE, 1)).mean_ms
            for each in (server, echoing)
        )
    # h2load knows nothing of gRPC's status, so what it counts as a success is counted again.
    expected = before + ROUNDS * (REQUESTS // USERS) * USERS + ALONE
    if (found := subject.carried_out(server.address)) != expected:
        raise RuntimeError(f"expected {expected} commands to be carried out, found {found}")
    return [
        _concurrent(f"gRPC unary {subject.what}", pairs, 0.75, "grpc.aio echo"),
        _alone(f"gRPC unary {subject.what}, one at a time, mean", alone, alone_echo),
    ]


def _http(subject: Subject, folder: Path, server: Server) -> list[Figure]:
    script = folder / "post.lua"
    before, after = subject.http_path.split("{user}")
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = '{subject.http_body}'\n"
        'wrk.headers["content-type"] = "application/json"\n'
        "local n = 0\n"
        f'request = function()\n  n = n + 1\n  return wrk.format(nil, "{before}user-" .. (n % 64) '
        f'.. "{after}")\nend\n'
    )
    with echo("http") as echoing:
        pairs = _pairs(server, echoing, lambda each: _wrk(each.address, script, CONCURRENT)[::2])
        alone, alone_echo = (_wrk(each.address, script, 1)[1] for each in (server, echoing))
    return [
        _concurrent(f"HTTP/JSON {subject.what}", pairs, 0.15, "ASGI echo"),
        _alone(f"HTTP/JSON {subject.what}, one at a time, p50", alone, alone_echo),
    ]


def _pairs(
    server: Server, echoing: Server, load: Callable[[Server], tuple[float, int]]
) -> list[tuple[Rate, Rate]]:
    return [(_rate(server, load), _rate(echoing, load)) for _ in range(ROUNDS)]


def _rate(server: Server, load: Callable[[Server], tuple[float, int]]) -> Rate:
    before_s = server.cpu_s()
    per_s, calls = load(server)
    return Rate(per_s, (server.cpu_s() - before_s) / calls * 1e6)


def _concurrent(path: str, pairs: list[tuple[Rate, Rate]], share: float, whose: str) -> Figure:
    measured, echoed = median_pair(pairs)
    return Figure(
        f"{path}, {CONCURRENT} concurrent",
        measured.per_s,
        "/s",
        echo=echoed.per_s,
        budget=f">= {share * 100:.0f} % of the {whose}",
        kept=measured.per_s >= share * echoed.per_s,
        note=f"{measured.cpu_us:.0f} us of CPU each, the echo {echoed.cpu_us:.0f} us",
    )


def _alone(path: str, measured_ms: float, echo_ms: float) -> Figure:
    return Figure(path, measured_ms, "ms", echo=echo_ms, budget="<= 1 ms", kept=measured_ms <= 1.0)


def median_pair(pairs: list[tuple[Rate, Rate]]) -> tuple[Rate, Rate]:
    """Return the pair whose ratio is the median of all."""
    return sorted(pairs, key=lambda pair: pair[0].per_s / pair[1].per_s)[len(pairs) // 2]


def grpc_body(file: Path, message: Message) -> Path:
    """Write a message as the body of a gRPC request; return the file."""
    data = message.SerializeToString()
    file.write_bytes(b"\x00" + len(data).to_bytes(4, "big") + data)
    return file


def _h2loads(url: str, bodies: list[Path]) -> tuple[float, int]:
    """Return calls per second, and how many, over generators of one entity each, all at once."""
    # h2load sends one body again and again, so one of them can only load one entity.
    each, streams = REQUESTS // USERS, CONCURRENT // USERS
    running = [h2load(url, body, each, streams) for body in bodies]
    return sum(finished(process).per_s for process in running), each * len(bodies)


def h2load(
    url: str, body: Path, requests: int, streams: int, connections: int = 1
) -> subprocess.Popen[str]:
    """Start a generator of gRPC calls with one body; `streams` for each connection."""
    return subprocess.Popen(
        [
            *pinned(1),
            "h2load",
            f"-n{requests}",
            f"-c{connections}",
            f"-m{streams}",
            f"-d{body}",
            "-Hcontent-type: application/grpc",
            "-Hte: trailers",
            f"http://{url}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(generator: subprocess.Popen[str]) -> Loaded:
    """Wait until a generator has ended; return what it says."""
    output = generator.communicate(timeout=120)[0]
    rate = re.search(r"([\d.]+) req/s", output)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
    mean = re.search(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", output)
    data = re.search(r"\((\d+)\) data", output)
    if not (rate and failed and mean and data) or failed.groups() != ("0", "0", "0"):
        raise RuntimeError(f"h2load did not succeed:\n{output}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[mean.group(2)]
    return Loaded(float(rate.group(1)), float(mean.group(1)) * scale, int(data.group(1)))


def _wrk(address: str, script: Path, connections: int) -> tuple[float, float, int]:
    """Return requests per second, the median time of one in ms, and how many there were."""
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
    requests = re.search(r"(\d+) requests in", output)
    if not (rate and median and requests) or "Non-2xx" in output:
        raise RuntimeError(f"wrk did not succeed:\n{output}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[median.group(2)]
    return float(rate.group(1)), float(median.group(1)) * scale, int(requests.group(1))


def _on_core(core: int, command: list[str]) -> str:
    return subprocess.run(
        [*pinned(core), *command], check=True, capture_output=True, text=True, timeout=120
    ).stdout


@contextmanager
def served(subject: Subject, data: Path) -> Iterator[Server]:
    """Serve what is measured, on a core of its own."""
    process, port = started(subject.entities, subject.folder, data, pinned(0))
    try:
        yield Server(f"127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def echo(which: str) -> Iterator[Server]:
    """Serve an echo of `bench.echo_servers` on the same core."""
    process = subprocess.Popen(
        [*pinned(0), sys.executable, "-m", "bench.echo_servers", which],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip(), process.pid)
    finally:
        process.terminate()
        process.wait()
