"""The command line, in processes of its own, against real sides."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from cloudstate_tck.command import tck
from cloudstate_tck.plugin import cloudstate_register_commands
from cloudstate_tck.scripted.function import ScriptedFunction, model_spec
from cloudstate_tck.scripted.session import ModelSession

#: A process has to import gRPC first, and the machine may be busy.
START_S = 45.0


@asynccontextmanager
async def started(*arguments: str, command=("tck",)):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from cloudstate_core.cli import main; main()",
        *command,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(*arguments: str) -> tuple[int, str, str]:
    async with started("--patience", "10", *arguments) as process, asyncio.timeout(START_S):
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


class SnapshotMissing(ModelSession):
    def is_snapshot_due(self, sequence_before):
        return False


def serving(make_session=ModelSession, *services: str):
    return ScriptedFunction(lambda _: make_session(), spec=model_spec(*services))


def test_the_plugin_registers_the_command():
    [command] = cloudstate_register_commands()

    assert command.make_context("tck", ["--list"]).command is tck


async def test_a_correct_user_function_gives_exit_code_0_and_a_readable_report():
    async with serving() as function:
        code, out, err = await run("--function", function.address, "--kind", "eventsourced")

    assert (code, err) == (0, "")
    assert f"35 cases · user function {function.address}" in out
    assert "✓ E6   a snapshot comes with the reply" in out
    assert "35 passed · 0 failed" in out


async def test_a_broken_user_function_gives_exit_code_1_and_says_what_differs():
    async with serving(SnapshotMissing) as function:
        code, out, _ = await run("--function", function.address, "--only", "E6", "--only", "E5")

    assert code == 1
    assert "1 passed · 1 failed" in out
    assert "the answer to command 5" in out
    assert "-     snapshot {" in out


async def test_json_goes_to_stdout_alone():
    async with serving(ModelSession, "cloudstate.tck.model.EventSourcedTckModel") as function:
        code, out, err = await run("--function", function.address, "--json", "--only", "E?")

    data = json.loads(out)
    assert code == 0
    assert data["summary"] == {"passed": 7, "failed": 0, "pending": 2}
    assert "pending" in err


async def test_a_proxy_is_examined_with_the_suites_own_user_function():
    async with proxy_process() as (proxy, listen):
        code, out, err = await run("--proxy", proxy, "--listen", listen, "--kind", "eventsourced")

    assert code == 0, out + err
    assert f"9 cases · proxy {proxy} · user function of this suite behind {listen}" in out
    assert "9 passed · 0 failed" in out


async def test_a_proxy_and_its_user_function_are_both_examined():
    async with serving(SnapshotMissing) as function, proxy_process() as (proxy, listen):
        code, out, _ = await run(
            *("--proxy", proxy, "--listen", listen, "--function", function.address),
            *("--kind", "eventsourced", "--only", "E6", "--only", "EP1", "--only", "R1"),
        )

    assert code == 1
    assert "✗ E6 " in out
    assert "✗ EP1 " in out
    assert "✓ R1 " in out


async def test_a_proxy_is_examined_with_a_hostile_user_function():
    async with proxy_process() as (proxy, listen):
        code, out, err = await run(
            "--proxy", proxy, "--listen", listen, "--hostile", "--only", "*events with it*"
        )

    assert code == 0, out + err
    assert "2 passed · 0 failed" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name what to examine"),
        (["--hostile"], "--hostile examines a proxy"),
        (["--hostile", "--proxy", "x", "--function", "y"], "leave out --function"),
        (["--function", "127.0.0.1:1", "--only", "NOSUCH"], "no case matches"),
        (["--function", "127.0.0.1:1", "--kind", "nosuch"], "'nosuch' is not one of"),
    ],
)
def test_what_makes_no_sense_gives_exit_code_2_and_a_reason(arguments, complaint):
    result = CliRunner().invoke(tck, arguments)

    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


async def test_a_user_function_that_does_not_answer_gives_exit_code_2():
    code, out, err = await run("--function", "127.0.0.1:1", "--startup-timeout", "0.2")

    assert (code, out) == (2, "")
    assert "error: the user function at 127.0.0.1:1 did not answer `discover` within 0.2 s" in err
    assert "Traceback" not in err


async def test_a_port_that_is_taken_gives_exit_code_2():
    async with serving() as function:
        code, _, err = await run(
            *("--function", function.address, "--proxy", "127.0.0.1:1"),
            *("--listen", function.address),
        )

    assert code == 2
    assert f"error: cannot listen on {function.address!r}" in err


async def test_a_proxy_that_does_not_answer_gives_exit_code_2():
    async with serving() as function:
        code, _, err = await run(
            *("--function", function.address, "--proxy", "127.0.0.1:1"),
            *("--listen", "127.0.0.1:0", "--startup-timeout", "0.2"),
        )

    assert code == 2
    assert "error: the proxy at 127.0.0.1:1 did not answer HTTP within 0.2 s" in err


def test_the_cases_can_be_listed_without_anything_to_examine():
    result = CliRunner().invoke(tck, ["--list", "--only", "EP*"])

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "EP1   eventsourced  state changes on one connection"
    assert len(lines) == 7


@asynccontextmanager
async def proxy_process():
    """Run our proxy in a process; gives its address, and where it looks for its user function."""
    port, listen_port = free_port(), free_port()
    listen = f"127.0.0.1:{listen_port}"
    arguments = ["proxy", "--function", listen, "--port", str(port), "--memory"]
    async with started(*arguments, command=()):
        yield f"127.0.0.1:{port}", listen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
