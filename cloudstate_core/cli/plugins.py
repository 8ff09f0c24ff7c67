"""`cloudstate plugins`: what is installed, and what it adds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_core.plugins import PluginInfo

__all__ = ["plugins"]


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@config_option
@click.pass_obj
def plugins(setup: Setup, *, as_json: bool) -> None:
    """List the installed plugins and what each of them adds."""
    if as_json:
        click.echo(json.dumps([asdict(info) for info in setup.plugins.installed], indent=2))
    else:
        _print_table(setup.plugins.installed)


def _print_table(installed: Sequence[PluginInfo]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE)
    for heading in ("plugin", "distribution", "version", "adds"):
        table.add_column(heading)
    for info in installed:
        adds = ", ".join(info.registers) if info.enabled else "disabled"
        # Names are other people's text, not markup.
        table.add_row(*(Text(each) for each in (info.name, info.distribution, info.version, adds)))
    console = Console()
    if not console.is_terminal:
        # Whoever reads this is no terminal with an edge to wrap lines at.
        console.width = 200
    console.print(table)
