"""What the hostile cases of all stateful kinds have in common: an entity is provoked, and judged.

What of its command is stored, and how that shows, is the affair of each kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from cloudstate_core.status import Status
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch
from cloudstate_tck.proxy_client import Failed

__all__ = [
    "beside_a_neighbour",
    "expect_one_of",
    "expect_report",
    "next_reply",
    "status_of",
]

Response = TypeVar("Response", bound=Message)

#: The method of every model service that takes a command.
_PROCESS = "Process"


async def beside_a_neighbour(
    provoked: Awaitable[None],
    examination: Examination,
    be_a_neighbour: Callable[[Examination, asyncio.Event], Awaitable[None]],
) -> None:
    """Provoke an entity, with a neighbour at work all the time.

    Args:
        provoked: What is done to the entity.
        examination: The examination.
        be_a_neighbour: Sends commands to good entities until the event is set.

    Raises:
        Mismatch: The entity or the neighbour fares otherwise than it should.
    """
    finish = asyncio.Event()
    neighbour = asyncio.ensure_future(be_a_neighbour(examination, finish))
    try:
        await provoked
    finally:
        finish.set()
        await neighbour


async def status_of(examination: Examination, service: str, message: Message) -> Status:
    """Send a command and return how it ended, whatever the answer is."""
    conditions = examination.conditions
    patience_s = conditions.relay_timeout_s + conditions.patience_s
    try:
        await examination.the_proxy().call_for_bytes(
            service, _PROCESS, message, patience_s=patience_s
        )
    except Failed as failed:
        return Status(failed.code.value[0])
    return Status.OK


def expect_one_of(what: str, expected: frozenset[Status], found: Status) -> None:
    """Return if something ended as it may.

    Raises:
        Mismatch: If it did not.
    """
    if found not in expected:
        names = " or ".join(sorted(status.name for status in expected))
        raise Mismatch(what, expected=names, found=found.name)


async def next_reply(
    what: str,
    examination: Examination,
    service: str,
    message: Message,
    response_class: type[Response],
) -> Response:
    """Send the command that comes next after a provocation, and return its reply.

    Raises:
        Mismatch: If it fails.
    """
    try:
        return await examination.the_proxy().call(service, _PROCESS, message, response_class)
    except Failed as failed:
        raise Mismatch(what, expected="a reply", found=f"the failure {failed}") from None


async def expect_report(what: str, examination: Examination, before: int, within_s: float) -> None:
    """Wait until the proxy reports something to the hostile user function.

    Args:
        what: On which occasion, for the mismatch.
        examination: The examination.
        before: How many reports there were before.
        within_s: How long to wait, in seconds.

    Raises:
        Mismatch: If it does not.
    """
    if not await examination.the_hostile_function().reported_since(before, within_s):
        raise Mismatch(
            what,
            expected="a reportError call to the user function",
            found=f"none within {within_s:g} s",
        )
