"""`cloudstate run`: entities and runtime in one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_runtime.cli.options import front_door_options

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["run"]


@click.command("run")
@click.argument("entities", nargs=-1, metavar="[MODULE:NAME]...")
@front_door_options
@config_option
@click.pass_obj
def run(setup: Setup, entities: tuple[str, ...], flags: Mapping[str, object]) -> None:
    """Serve entities to clients over gRPC and HTTP, in this process.

    MODULE:NAME says in which Python module an entity is, and under which name. Without any, the
    entities of all installed distributions are served.

    SIGTERM and Ctrl-C finish the requests that run and stop; a second one stops at once.
    """
    # gRPC takes its time to import, and --help does not need it.
    from cloudstate_core.clock import SystemClock  # noqa: PLC0415
    from cloudstate_core.host.local_link import LocalLink  # noqa: PLC0415
    from cloudstate_core.host.user_function import UserFunction  # noqa: PLC0415
    from cloudstate_core.loading import load_entities  # noqa: PLC0415
    from cloudstate_runtime.cli.process import open_and_serve, run_in_loop  # noqa: PLC0415

    settings = setup.settings({"runtime": flags})
    clock = SystemClock()
    function = UserFunction(load_entities(entities, Path.cwd()), setup.plugins)
    links = {"in this process": LocalLink(function, clock)}
    run_in_loop(open_and_serve(setup, settings, links, clock))
