"""A stranger's kind is built, installed and served, and nothing of ours knows it.

The environment holds the wheels of the core, the runtime, a store and the example, and what they
depend on; the event-sourced kind is not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import bootstrap
import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/third_party_kind"
DISTRIBUTIONS = {
    "cloudstate-core": ROOT,
    "cloudstate-runtime": ROOT / "runtime",
    "cloudstate-sqlite": ROOT / "backends/sqlite",
    "acme-cloudstate-ratelimit[test]": EXAMPLE,
}

GRPC_CLIENT = """
import sys
import grpc
from quotas.quotas_pb2 import ShowRequest, SpendRequest
from quotas.quotas_pb2_grpc import QuotasStub

address, command, key, units = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    stub = QuotasStub(channel)
    try:
        if command == "spend":
            print(stub.Spend(SpendRequest(api_key=key, units=int(units)), timeout=20).left)
        else:
            print(stub.Show(ShowRequest(api_key=key), timeout=20).left)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""

pytestmark = pytest.mark.timeout(300)  # the first test makes the environment


@dataclass(frozen=True)
class Environment:
    """A virtual environment with our wheels and the stranger's.

    Attributes:
        folder: The environment.
        project: A copy of the example without its package, so that only the wheel's can be used.
    """

    folder: Path
    project: Path

    def popen(self, *command: object, log: Path) -> subprocess.Popen[str]:
        program, *arguments = map(str, command)
        with log.open("w") as errors:
            return subprocess.Popen(
                [str(self.folder / "bin" / program), *arguments],
                cwd=self.project / "demo",
                env=clean_environ(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(self, *command: object, cwd: Path | None = None) -> str:
        program, *arguments = map(str, command)
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd or self.project / "demo",
            env=clean_environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def clean_environ() -> dict[str, str]:
    """The environment variables without those that say what Python or Cloudstate should do."""
    mine = ("PYTHON", "VIRTUAL_ENV", "CLOUDSTATE", "PYTEST", "HOST", "PORT", "HTTP_PORT")
    return {key: value for key, value in os.environ.items() if not key.startswith(mine)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Everything installed as a user would, at the locked versions and hashes."""
    base = tmp_path_factory.mktemp("third_party")
    requirements = []
    for name, folder in DISTRIBUTIONS.items():
        (wheel,) = build_wheel(folder, base / "wheels" / folder.name)
        requirements.append(f"{name} @ {wheel.as_uri()}")
    install(base / "venv", requirements)
    for part in ("demo", "tests", "pyproject.toml"):
        source = EXAMPLE / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (base / "project").mkdir(exist_ok=True)
        copy(source, base / "project" / part)
    return Environment(base / "venv", base / "project")


def build_wheel(folder: Path, output: Path) -> Iterator[Path]:
    # With the locked hatchling of this environment, so nothing is fetched.
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*command, "--directory", output], cwd=folder, check=True, capture_output=True)
    return output.glob("*.whl")


def install(venv: Path, requirements: list[str]) -> None:
    uv = ROOT / ".tools/uv/bin/uv"
    assert uv.exists(), "run `make bootstrap` first"
    with mock.patch.dict(os.environ):
        bootstrap.adopt_pip_settings()
        for command in (
            ["venv", "--python", sys.executable, venv],
            [
                *("pip", "install", "--python", venv / "bin/python"),
                *("--index-strategy", "unsafe-best-match"),
                # What the lock does not hold, nobody of us depends on; the hashes are verified.
                *("--constraint", ROOT / "requirements.lock"),
                *requirements,
            ],
        ):
            done = subprocess.run(
                [uv, "--quiet", *command], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


@pytest.fixture
def start(environment: Environment, tmp_path: Path) -> Iterator[Callable[..., tuple]]:
    """Returns what starts `cloudstate` there, and waits until it says where it listens."""
    started = []

    def start(*arguments: object) -> tuple[subprocess.Popen[str], str]:
        log = tmp_path / f"{len(started)}.log"
        process = environment.popen("cloudstate", *arguments, log=log)
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"on (127\.0\.0\.1:\d+)$", line.rstrip()):
                return process, found[1]
        return pytest.fail(f"it did not start: {log.read_text()}")

    yield start
    for process in started:
        process.kill()
        process.communicate()


@contextmanager
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{address}", timeout=20, trust_env=False) as client:
        yield client


def test_it_is_the_only_kind_in_its_environment(environment: Environment) -> None:
    listed = json.loads(environment.run("cloudstate", "plugins", "--json"))

    kinds = {each["distribution"]: each["registers"] for each in listed if "kind" in str(each)}
    assert kinds == {"acme-cloudstate-ratelimit": ["kind ratelimit"]}
    assert {each["name"] for each in listed} == {"core", "ratelimit", "runtime", "sqlite"}


def test_its_own_tests_pass_there(environment: Environment) -> None:
    output = environment.run("pytest", "-q", "-p", "no:cacheprovider", cwd=environment.project)

    passed = re.search(r"(\d+) passed", output)
    assert passed is not None, output
    assert int(passed[1]) > 90
    assert "skipped" not in output


def test_it_is_served_and_what_was_acknowledged_survives_kill_9(
    environment: Environment, start, tmp_path: Path
) -> None:
    run = ("run", "quotas.entity:entity", "--port", 0, "--data", tmp_path / "data")
    process, address = start(*run)
    with http(address) as client:
        spent = client.post("/quotas/joe/spend", json={"units": 30})
        assert (spent.status_code, spent.json()) == (200, {"left": 70})
        assert grpc(environment, address, "spend", 20) == "50"
        refused = client.post("/quotas/joe/spend", json={"units": 60})
    assert refused.status_code == 429
    assert "rate limit reached: wanted 60, available 50" in refused.text
    process.kill()
    process.wait()

    _, address = start(*run)
    with http(address) as client:
        assert client.get("/quotas/joe").json() == {"left": 50}
        assert client.get("/quotas/ann").json() == {"left": 100}
    assert grpc(environment, address, "show") == "50"
    assert grpc(environment, address, "spend", 60).startswith("RESOURCE_EXHAUSTED rate limit")


def grpc(environment: Environment, address: str, command: str, units: int = 0) -> str:
    client = ("python", "-c", GRPC_CLIENT, address, command, "joe", units)
    return environment.run(*client).strip()


def test_it_is_served_by_a_host_and_a_proxy_in_two_processes(start) -> None:
    _, function = start("serve", "quotas.entity:entity", "--port", 0)
    _, address = start("proxy", "--function", function, "--port", 0, "--memory")

    with http(address) as client:
        assert client.post("/quotas/joe/spend", json={"units": 1}).json() == {"left": 99}
        assert client.get("/quotas/joe").json() == {"left": 99}


@pytest.mark.parametrize(
    ("folder", "module"), [("demo", "quotas/quotas"), (".", "acme_ratelimit/ratelimit")]
)
def test_protos_compile_with_what_is_installed(
    environment: Environment, tmp_path: Path, folder: str, module: str
) -> None:
    subprocess.run([sys.executable, ROOT / "tools/bootstrap.py", "--protoc"], check=True)
    roots = environment.run("cloudstate", "protos").strip()
    protoc = [ROOT / ".tools/protoc/bin/python", "-m", "grpc_tools.protoc", "-I", ".", "-I", roots]

    subprocess.run(
        [*protoc, f"--python_out={tmp_path}", f"{module}.proto"], cwd=EXAMPLE / folder, check=True
    )

    compiled = (tmp_path / f"{module}_pb2.py").read_text()
    assert (EXAMPLE / folder / f"{module}_pb2.py").read_text().endswith(compiled)


def test_nothing_of_ours_mentions_it() -> None:
    ours = ["cloudstate", "cloudstate_core", "runtime", "plugins", "backends", "tck"]

    search = ["git", "grep", "--untracked", "--ignore-case", "--files-with-matches"]
    found = subprocess.run(
        [*search, "-e", "acme", "-e", "ratelimit", "--", *ours],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stdout, found.stderr) == (1, "", "")
