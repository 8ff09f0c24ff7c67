"""Requests on their way to the handler, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.errors import CloudstateError, DeadlineExceeded, LimitExceeded
from cloudstate_core.frontend import FrontEndHost
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.status import Status
from cloudstate_runtime.allowance import Allowance

__all__ = ["NO_REPLY", "STOPPING", "Calls", "Refusal", "random_error_id"]

log = structlog.get_logger()

#: What a client is told whose command was answered with neither a reply nor a failure.
NO_REPLY = "the user function gave no reply"

#: While a user function is down every request fails, for one reason. So many are logged at once,
#: and so many a second in the long run; of the others it is logged how many they were.
_LOGGED_AT_ONCE = 100
_LOGGED_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told when its request was not carried out.

    Attributes:
        status: The status.
        message: The reason, for a person.
        retry_after_s: When trying again makes sense, in seconds; None if nobody knows.
        http_status: What it is over HTTP; None for what the status becomes there.
    """

    status: Status
    message: str
    retry_after_s: float | None = None
    http_status: int | None = None


STOPPING = Refusal(Status.UNAVAILABLE, "this server is stopping; try another, or later")


def random_error_id() -> str:
    """Return what connects the answer to a client with the line in the log."""
    return uuid4().hex[:16]


class Calls:
    """Runs requests to their end, even if their callers leave.

    Args:
        host: Where requests go.
        new_error_id: Makes an id for an unforeseen error.
    """

    def __init__(
        self, host: FrontEndHost, new_error_id: Callable[[], str] = random_error_id
    ) -> None:
        self._host = host
        self._new_error_id = new_error_id
        self._may_log = Allowance(host.clock, at_once=_LOGGED_AT_ONCE, per_s=_LOGGED_PER_S)
        self._not_logged = 0
        self._running: dict[asyncio.Task[Outcome], asyncio.Future[None]] = {}

    async def run(self, request: Request) -> Outcome:
        """Carry out one request.

        When the caller is cancelled or its deadline passes, the request goes on: what the command
        changed may be durable already, and its side effects still have to happen.

        Raises:
            DeadlineExceeded: The deadline passed first.
            Exception: Whatever the handler raises.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._host.handler.handle(request))
        # Waited for in place of the task, which is not cancelled together with its caller.
        ended = self._running[task] = loop.create_future()
        task.add_done_callback(self._ended)
        if request.deadline_s is None:
            await ended
            return task.result()
        clock = self._host.clock
        try:
            async with clock.timeout(request.deadline_s - clock.monotonic_s()):
                await ended
        except TimeoutError:
            if not task.done():
                raise DeadlineExceeded("the deadline passed before there was an answer") from None
        return task.result()

    async def drain(self, grace_s: float) -> None:
        """Wait for what runs, at most `grace_s` seconds; nothing is cancelled."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=grace_s)

    async def close(self) -> None:
        """Cancel what still runs."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        ended = self._running.pop(task)
        if not ended.done():
            ended.set_result(None)
        if not task.cancelled():
            # Its caller may have left at its deadline; that is no reason to complain in the log.
            task.exception()

    def refusal(self, error: Exception, service: str, command: str) -> Refusal:
        """Return what to tell the client about an error, and log what it must not see."""
        if isinstance(error, CloudstateError):
            if error.detail:
                self._log_failure(error, service, command)
            retry_after_s = error.retry_after_s if isinstance(error, LimitExceeded) else None
            return Refusal(error.status, str(error), retry_after_s, error.http_status)
        error_id = self._new_error_id()
        log.error(
            "internal_error", error_id=error_id, service=service, command=command, exc_info=error
        )
        return Refusal(Status.INTERNAL, f"internal error, id {error_id}")

    def _log_failure(self, error: CloudstateError, service: str, command: str) -> None:
        if not self._may_log.take():
            self._not_logged += 1
            return
        if self._not_logged:
            log.warning("failed_requests_not_logged", count=self._not_logged)
            self._not_logged = 0
        log.warning(
            "request_failed",
            service=service,
            command=command,
            reason=str(error),
            detail=error.detail,
        )

    def no_reply(self, action: ClientAction, service: str, command: str) -> Refusal:
        """Return what to tell the client about an answer without a reply or a failure."""
        log.error("no_reply", service=service, command=command, action=action.WhichOneof("action"))
        return Refusal(Status.INTERNAL, NO_REPLY)
