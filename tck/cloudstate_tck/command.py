"""The command `cloudstate tck`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import click
from rich.console import Console

from cloudstate_core.log import configure
from cloudstate_core.settings import LogSettings
from cloudstate_tck.case import Case, Phase, Result, Verdict
from cloudstate_tck.examination import Conditions, Examination
from cloudstate_tck.meeting import (
    DEFAULT_LISTEN,
    ProxyAddress,
    examining_function,
    examining_hostile_proxy,
    examining_proxy,
    running_proxy,
)
from cloudstate_tck.model_function import serving_models
from cloudstate_tck.protocol import ENTITY_TYPES
from cloudstate_tck.registry import (
    FUNCTION_PHASES,
    HOSTILE_PHASES,
    PROXY_PHASES,
    all_cases,
    select,
)
from cloudstate_tck.report import Report, as_json
from cloudstate_tck.runner import run_case

__all__ = ["tck"]

EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be examined.

    Attributes:
        function: Where the user function is; empty if the suite brings its own.
        proxy: Where the proxy is; None if there is none.
        listen: Where the suite takes the user function's place for the proxy.
        conditions: How to examine them.
        cases: What to run.
        hostile: Whether the user function behind the proxy breaks the protocol.
    """

    function: str
    proxy: ProxyAddress | None
    listen: str
    conditions: Conditions
    cases: tuple[Case, ...]
    hostile: bool


@click.command("tck")
@click.option("--function", "function", metavar="HOST:PORT", default="", help="User function.")
@click.option("--proxy", metavar="HOST:PORT", default="", help="Front end of a proxy.")
@click.option(
    "--http", metavar="HOST:PORT", default="", help="The proxy's HTTP port, if it is another one."
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where the proxy finds its user function: this suite, which passes everything on.",
)
@click.option("--hostile", is_flag=True, help="Put a user function that breaks the protocol there.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(sorted(ENTITY_TYPES)),
    help="Examine this kind of entities alone. May be repeated.",
)
@click.option(
    "--only", multiple=True, metavar="PATTERN", help="Cases by id or title, such as 'E1*'."
)
@click.option("--list", "listing", is_flag=True, help="List the cases and run none.")
@click.option("--json", "as_json_", is_flag=True, help="Write the results to stdout as JSON.")
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=0.01),
    default=3.0,
    show_default=True,
    help="Seconds to wait for what must come.",
)
@click.option(
    "--startup-timeout",
    "startup_timeout_s",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds to wait for both sides to be there.",
)
@click.option(
    "--relay-timeout",
    "relay_timeout_s",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds that the proxy waits for one reply of a user function (with --hostile).",
)
@click.pass_context
def tck(
    context: click.Context,
    function: str,
    proxy: str,
    http: str,
    listen: str,
    hostile: bool,  # noqa: FBT001 - click passes every option by name
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    listing: bool,  # noqa: FBT001
    as_json_: bool,  # noqa: FBT001
    patience_s: float,
    startup_timeout_s: float,
    relay_timeout_s: float,
) -> None:
    """Examine a user function, or a proxy, against the Cloudstate protocol.

    --function examines a user function with the model entities, of any language. --proxy examines
    a proxy; start it with this suite as its user function (USER_FUNCTION_PORT=8090). With both,
    that user function stands behind the suite and is examined too.

    Exits with 0 if no case failed, with 1 if one did, with 2 if the cases could not be run.
    """
    phases = _phases(function=function, proxy=proxy, hostile=hostile)
    if listing:
        _list_cases(select(all_cases(), phases=phases or set(Phase), kinds=kinds, only=only))
        return
    if not phases:
        raise click.UsageError("name what to examine: --function HOST:PORT or --proxy HOST:PORT")
    conditions = Conditions(
        patience_s=patience_s,
        startup_timeout_s=startup_timeout_s,
        relay_timeout_s=relay_timeout_s,
        run_id=secrets.token_hex(3),
        kinds=frozenset(kinds or ENTITY_TYPES),
    )
    cases = select(all_cases(), phases=phases, kinds=kinds, only=only)
    if not cases:
        raise click.UsageError("no case matches: see `cloudstate tck --list`")
    address = ProxyAddress(proxy, http) if proxy else None
    order = Order(function, address, listen, conditions, cases, hostile)
    console = Console(stderr=as_json_, highlight=False)
    # The suite's own user function would say more than anybody wants to read here.
    configure(LogSettings(level="error"))
    results = asyncio.run(_run(order, Report(console)))
    if as_json_:
        click.echo(as_json(results))
    if any(result.verdict is Verdict.FAILED for result in results):
        context.exit(EXIT_FAILED)


def _phases(*, function: str, proxy: str, hostile: bool) -> frozenset[Phase]:
    if hostile:
        if not proxy:
            raise click.UsageError("--hostile examines a proxy: name it with --proxy HOST:PORT")
        if function:
            raise click.UsageError("--hostile brings its own user function: leave out --function")
        return HOSTILE_PHASES
    phases = FUNCTION_PHASES if function else frozenset[Phase]()
    return phases | (PROXY_PHASES if proxy else frozenset())


def _list_cases(cases: Sequence[Case]) -> None:
    for case in cases:
        click.echo(f"{case.id:<5} {case.kind:<13} {case.title}")


async def _run(order: Order, report: Report) -> list[Result]:
    results = []
    async with _examination(order) as examination:
        started_s = time.perf_counter()
        report.start(_examined(order), len(order.cases))
        for case in order.cases:
            with report.running(case):
                result = await run_case(case, examination)
            report.finished(result)
            results.append(result)
        report.end(results, time.perf_counter() - started_s)
    return results


@asynccontextmanager
async def _examination(order: Order) -> AsyncIterator[Examination]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(await _meeting(order, stack))


async def _meeting(order: Order, stack: AsyncExitStack) -> AbstractAsyncContextManager[Examination]:
    if order.proxy is None:
        return examining_function(order.function, order.conditions)
    start_proxy = running_proxy(order.proxy)
    if order.hostile:
        return examining_hostile_proxy(start_proxy, order.conditions, listen=order.listen)
    function = order.function or await stack.enter_async_context(serving_models())
    return examining_proxy(function, start_proxy, order.conditions, listen=order.listen)


def _examined(order: Order) -> str:
    function = f"user function {order.function or 'of this suite'}"
    if order.proxy is None:
        return function
    if order.hostile:
        function = "hostile user function"
    return f"proxy {order.proxy.grpc} · {function} behind {order.listen}"
