"""`cloudstate serve`: the host alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_core.settings import HostSettings

if TYPE_CHECKING:
    from cloudstate_core.host.server import HostServer
    from cloudstate_core.host.user_function import UserFunction

__all__ = ["serve"]


@click.command("serve")
@click.argument("entities", nargs=-1, metavar="[MODULE:NAME]...")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="Port to listen on.  [default: 8080]")
@config_option
@click.pass_obj
def serve(setup: Setup, entities: tuple[str, ...], host: str | None, port: int | None) -> None:
    """Serve entities to a Cloudstate proxy.

    MODULE:NAME says in which Python module an entity is, and under which name. Without any, the
    entities of all installed distributions are served.

    SIGTERM and Ctrl-C finish the commands that run and stop; a second one stops at once.
    """
    # gRPC takes its time to import, and --help does not need it.
    from cloudstate_core.host.app import run  # noqa: PLC0415
    from cloudstate_core.host.user_function import UserFunction  # noqa: PLC0415
    from cloudstate_core.loading import load_entities  # noqa: PLC0415

    settings = setup.settings({"host": {"host": host, "port": port}})
    host_settings = cast("HostSettings", settings["host"])
    function = UserFunction(
        load_entities(entities, Path.cwd()),
        setup.plugins,
        service_name=host_settings.service_name,
        service_version=host_settings.service_version,
    )

    def on_ready(server: HostServer) -> None:
        click.echo(_welcome(server, function, setup))

    run(function, host_settings, on_ready)


def _welcome(server: HostServer, function: UserFunction, setup: Setup) -> str:
    lines = [f"user function listens on {server.address}"]
    for entity in function.entities:
        kind = setup.plugins.kind_of(entity.entity_type)
        lines.append(f"  serves {entity.service.full_name} ({kind.name if kind else '?'})")
    lines += [
        "point a proxy at it, for example:",
        f"  cloudstate proxy --function {server.address}",
        f"or any other, with USER_FUNCTION_HOST={server.host} USER_FUNCTION_PORT={server.port}",
        "Ctrl-C finishes what runs, and stops",
    ]
    return "\n".join(lines)
