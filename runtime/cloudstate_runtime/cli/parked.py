"""`cloudstate parked`: messages that could not be delivered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_core.errors import CloudstateError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudstate_runtime.durable.parking import ParkedEntry, Parking
    from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["parked"]

_HEADINGS = ("ID", "SINCE", "FROM", "TO", "REASON")
_MAX_REASON_CHARACTERS = 100


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--store", metavar="NAME", help="Which store keeps the state."),
        click.option(
            "--data",
            metavar="DIR",
            help="Where state is kept on disk.  [default: ./cloudstate-data]",
        ),
        config_option,
    ):
        command = option(command)
    return command


_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("parked")
def parked() -> None:
    """List, retry or drop messages that could not be delivered.

    Works while a node runs on the data directory, and also while none does.
    """


@parked.command("list")
@_json
@_options
@click.pass_obj
def list_(setup: Setup, *, data: str | None, store: str | None, as_json: bool) -> None:
    """List parked messages, the oldest first."""
    found, where = _done(setup, data, store, "list", None)
    entries = cast("Sequence[ParkedEntry]", found)
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    for line in _table(entries):
        click.echo(line)
    click.echo(f"{_counted(len(entries))} parked ({where})")


@parked.command("retry")
@_ids
@click.option("--all", "all_", is_flag=True, help="All parked messages.")
@_json
@_options
@click.pass_obj
def retry(
    setup: Setup,
    *,
    data: str | None,
    store: str | None,
    ids: tuple[str, ...],
    all_: bool,
    as_json: bool,
) -> None:
    """Let parked messages be delivered again, with as many attempts as new ones."""
    found, where = _done(setup, data, store, "retry", _chosen(ids, all_=all_))
    is_now = where == _RUNNING
    what = "being delivered again" if is_now else "to be delivered when a node runs next"
    _tell(ids, cast("Sequence[str]", found), what, where, as_json=as_json)


@parked.command("drop")
@_ids
@click.option("--all", "all_", is_flag=True, help="All parked messages.")
@_json
@_options
@click.pass_obj
def drop(
    setup: Setup,
    *,
    data: str | None,
    store: str | None,
    ids: tuple[str, ...],
    all_: bool,
    as_json: bool,
) -> None:
    """Drop parked messages for good: what they should have done is not done."""
    found, where = _done(setup, data, store, "drop", _chosen(ids, all_=all_))
    _tell(ids, cast("Sequence[str]", found), "dropped", where, as_json=as_json)


_RUNNING = "asked the running node"
_NOT_RUNNING = "no node runs; opened the store"


def _chosen(ids: tuple[str, ...], *, all_: bool) -> list[str] | None:
    if all_ == bool(ids):
        raise click.UsageError("name the messages by their ids, or all of them by --all")
    return None if all_ else list(ids)


def _tell(
    ids: tuple[str, ...], found: Sequence[str], what: str, where: str, *, as_json: bool
) -> None:
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(f"{_counted(len(found))} {what} ({where})")
    missing = [each for each in ids if each not in found]
    if missing:
        raise CloudstateError(f"expected ids of parked messages, found {', '.join(missing)}")


def _done(
    setup: Setup, data: str | None, store: str | None, what: str, ids: list[str] | None
) -> tuple[object, str]:
    """Have something done by the node that runs, or do it on the store if none does."""
    import asyncio  # noqa: PLC0415  # --help does not need what follows

    from cloudstate_runtime.admin import NoNode, ask_node  # noqa: PLC0415

    settings = setup.settings({"runtime": {"data_dir": data, "store": store}})
    runtime = cast("RuntimeSettings", settings["runtime"])
    try:
        question = {"ask": f"parked.{what}", "ids": ids}
        return asyncio.run(ask_node(runtime.data_dir, question)), _RUNNING
    except NoNode:
        return asyncio.run(_on_store(setup, settings, runtime, what, ids)), _NOT_RUNNING


async def _on_store(
    setup: Setup,
    settings: dict[str, object],
    runtime: RuntimeSettings,
    what: str,
    ids: list[str] | None,
) -> object:
    from cloudstate_core.clock import SystemClock  # noqa: PLC0415
    from cloudstate_runtime.durable.parking import Parking  # noqa: PLC0415
    from cloudstate_runtime.store_choice import choose_store  # noqa: PLC0415

    backend = choose_store(runtime.store, setup.plugins)
    if not backend.durable:
        raise ConfigurationError(
            f"store {backend.name!r} keeps nothing when no node runs; name another one by --store"
        )
    if not runtime.data_dir.is_dir():
        raise ConfigurationError(
            f"expected a data directory, found none at {str(runtime.data_dir)!r}; name it by --data"
        )
    store_settings = settings.get(backend.name) or backend.settings_type()
    async with backend.open(store_settings, runtime.data_dir, SystemClock()) as opened:
        return await _asked(Parking(opened), what, ids)


async def _asked(parking: Parking, what: str, ids: list[str] | None) -> object:
    match what:
        case "list":
            return await parking.entries()
        case "retry":
            return await parking.retry(ids)
        case _:
            return await parking.drop(ids)


def _table(entries: Sequence[ParkedEntry]) -> list[str]:
    if not entries:
        return []
    rows = [_HEADINGS, *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(entry: ParkedEntry) -> tuple[str, ...]:
    since = datetime.fromtimestamp(entry["since_unix_s"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    reason = _printable(entry["reason"])
    if len(reason) > _MAX_REASON_CHARACTERS:
        reason = reason[: _MAX_REASON_CHARACTERS - 3] + "..."
    return (
        _printable(entry["id"]),
        since,
        _end(*entry["sender"]),
        _end(*entry["receiver"]),
        reason,
    )


def _end(service: str, command: str, entity_id: str) -> str:
    of_whom = f" {entity_id!r}" if entity_id else ""
    return _printable(f"{service}.{command}{of_whom}")


def _printable(text: str) -> str:
    """Return a text that does nothing to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _counted(count: int) -> str:
    return f"{count} message" if count == 1 else f"{count} messages"
