from __future__ import annotations

import subprocess
import sys

import click
from click.testing import CliRunner

from cloudstate_core.cli.lazy_command import LazyCommand

_MODULES_OF_A_SERVING_PROCESS = """
import sys
from cloudstate_core.plugins import load_plugins, Plugins
from cloudstate_core.cli.setup import Setup
setup = Setup.read(None, {})
assert "tck" in setup.plugins.commands
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded_counting(loads: list[str]) -> LazyCommand:
    @click.command("greet")
    @click.option("--name", default="nobody", help="Whom.")
    def greet(name: str) -> None:
        """Greet somebody, at length."""
        click.echo(f"hello {name}")

    def load() -> click.Command:
        loads.append("greet")
        return greet

    return LazyCommand("greet", "Greet somebody.", load)


def test_a_lazy_command_is_listed_without_being_loaded() -> None:
    loads: list[str] = []
    group = click.Group("all", commands=[loaded_counting(loads)])

    result = CliRunner().invoke(group, ["--help"])

    assert "greet  Greet somebody." in result.output
    assert loads == []


def test_a_lazy_command_does_what_the_real_one_does() -> None:
    group = click.Group("all", commands=[loaded_counting([])])

    assert CliRunner().invoke(group, ["greet", "--name", "joe"]).output == "hello joe\n"
    assert "Greet somebody, at length." in CliRunner().invoke(group, ["greet", "--help"]).output
    assert CliRunner().invoke(group, ["greet", "--nme", "joe"]).exit_code == 2


def test_asking_all_plugins_for_their_commands_imports_neither_grpc_nor_the_suite() -> None:
    out = subprocess.run(
        [sys.executable, "-c", _MODULES_OF_A_SERVING_PROCESS],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()

    assert "cloudstate_runtime" in out
    assert "grpc" not in out
    assert "httpx" not in out
