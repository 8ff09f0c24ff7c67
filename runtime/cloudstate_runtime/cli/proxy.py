"""`cloudstate proxy`: the runtime alone, before user functions in other processes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

import click

from cloudstate_core.cli.setup import Setup, config_option
from cloudstate_runtime.cli.options import front_door_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["proxy"]


@click.command("proxy")
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="HOST:PORT",
    help="Where a user function is; may be repeated.  [default: 127.0.0.1:8080]",
)
@front_door_options
@config_option
@click.pass_obj
def proxy(setup: Setup, functions: tuple[str, ...], flags: Mapping[str, object]) -> None:
    """Serve clients over gRPC and HTTP, before user functions of any language.

    A user function that does not answer yet is waited for; one that comes back is discovered again.

    SIGTERM and Ctrl-C finish the requests that run and stop; a second one stops at once.
    """
    from cloudstate_runtime.cli.process import run_in_loop  # noqa: PLC0415

    settings = setup.settings({"runtime": flags})
    run_in_loop(_serve(setup, settings, functions))


async def _serve(setup: Setup, settings: Mapping[str, object], functions: tuple[str, ...]) -> None:
    from cloudstate_core.clock import SystemClock  # noqa: PLC0415
    from cloudstate_runtime.cli.process import open_and_serve  # noqa: PLC0415
    from cloudstate_runtime.function.grpc_link import open_grpc_link  # noqa: PLC0415

    runtime = cast("RuntimeSettings", settings["runtime"])
    default = f"{runtime.user_function_host}:{runtime.user_function_port}"
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        links = {
            address: await stack.enter_async_context(
                open_grpc_link(
                    address,
                    clock,
                    max_message_bytes=runtime.max_function_message_bytes,
                    close_timeout_s=runtime.stream_close_timeout_s,
                )
            )
            for address in dict.fromkeys(functions or (default,))
        }
        await open_and_serve(setup, settings, links, clock)
