"""`cloudstate nodes`: who belongs to the cluster of a node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_core.errors import CloudstateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudstate_runtime.cluster.desk import NodeEntry
    from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["nodes"]

_HEADINGS = ("NODE", "EPOCH", "STATE", "FORGOTTEN")


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--data",
            metavar="DIR",
            help="Data directory of the node that is asked.  [default: ./cloudstate-data]",
        ),
        config_option,
    ):
        command = option(command)
    return command


@click.group("nodes")
def nodes() -> None:
    """List the nodes of a cluster, or take one out of it and give up what it has written.

    Asks the node that runs on a data directory on this machine.
    """


@nodes.command("list")
@_options
@click.pass_obj
def list_(setup: Setup, *, data: str | None, as_json: bool) -> None:
    """List all nodes that the asked node knows."""
    _show(_asked(setup, data, {"ask": "nodes.list"}), as_json=as_json)


@nodes.command("expel")
@click.argument("name")
@click.option("--forget", is_flag=True, help="Give up what it has written, as `forget` does.")
@_options
@click.pass_obj
def expel(setup: Setup, *, name: str, forget: bool, data: str | None, as_json: bool) -> None:
    """Take a node that will not come back out of the cluster.

    Majorities are then counted without it. If it runs after all, it stops serving as soon as it
    learns of this; started again, it joins as a new node.
    """
    question = {"ask": "nodes.expel", "name": name, "forget": forget}
    _show(_asked(setup, data, question), as_json=as_json)


@nodes.command("forget")
@click.argument("name")
@_options
@click.pass_obj
def forget(setup: Setup, *, name: str, data: str | None, as_json: bool) -> None:
    """Give up what a node has written in its lives that are over.

    That is everything of a node that was expelled, and of a member what it wrote before it came
    back without its store. Values stay what they are, as far as the other nodes have them; what is
    kept only in order to tell its writing from others' is forgotten when all nodes have the same
    of it.
    """
    entries = _asked(setup, data, {"ask": "nodes.forget", "name": name})
    if any(each["name"] == name and each["state"] != "expelled" for each in entries):
        click.echo(
            f"node {name!r} is a member: what it wrote in earlier lives is given up, and not what "
            "it writes in its present one",
            err=True,
        )
    _show(entries, as_json=as_json)


def _asked(setup: Setup, data: str | None, question: dict[str, object]) -> Sequence[NodeEntry]:
    import asyncio  # noqa: PLC0415  # --help does not need what follows

    from cloudstate_runtime.admin import NoNode, ask_node  # noqa: PLC0415

    settings = setup.settings({"runtime": {"data_dir": data}})
    folder = cast("RuntimeSettings", settings["runtime"]).data_dir
    try:
        return cast("Sequence[NodeEntry]", asyncio.run(ask_node(folder, question)))
    except NoNode as error:
        raise CloudstateError(
            f"no node runs on {str(folder)!r}; name the data directory of one that does by --data"
        ) from error


def _show(entries: Sequence[NodeEntry], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    rows = [_HEADINGS, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _row(entry: NodeEntry) -> tuple[str, ...]:
    forgotten = entry["forgotten"]
    return entry["name"], str(entry["epoch"]), entry["state"], str(forgotten) if forgotten else ""
