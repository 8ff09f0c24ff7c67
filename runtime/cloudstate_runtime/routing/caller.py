"""From a handler in the same process to another service: the asking side of the request path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from google.protobuf.any_pb2 import Any

from cloudstate_core.caller import Ask
from cloudstate_core.clock import Clock
from cloudstate_core.conditions import checked_command_key
from cloudstate_core.errors import AskFailed, CloudstateError
from cloudstate_core.failure_code import code_of
from cloudstate_core.frontend import Served
from cloudstate_core.handler import CommandHandler, Conditions, Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.waiting import with_waiting

__all__ = ["RuntimeCaller"]

log = structlog.get_logger()


class _Asker:
    """A handler that waits for an answer; it is a `Departure`."""

    __slots__ = ("_has_left", "_listener")

    def __init__(self) -> None:
        self._has_left = False
        self._listener: Callable[[], object] | None = None

    def has_left(self) -> bool:
        return self._has_left

    def when_left(self, listener: Callable[[], object] | None) -> None:
        self._listener = listener

    def leave(self) -> None:
        self._has_left = True
        if self._listener is not None:
            self._listener()


class RuntimeCaller:
    """Sends what handlers ask to the router."""

    def __init__(self, handler: CommandHandler, served: Served, clock: Clock) -> None:
        """Keep the collaborators.

        Args:
            handler: Where requests go. What bounds the requests of clients does not stand before
                it: those who ask hold a place already, and would wait for one another.
            served: What is served.
            clock: The time.
        """
        self._handler = handler
        self._served = served
        self._clock = clock
        self._running: set[asyncio.Task[Outcome]] = set()

    async def ask(self, ask: Ask) -> Any:
        """Send a command and return the reply's message; see `Caller.ask`.

        Whoever asks may be cancelled, or lose patience. What he asked for goes on, with everything
        that its answer asks for, as if he were any other client.
        """
        self._check_one_reply(ask)
        asker = _Asker()
        request = self._request(ask, asker)
        try:
            async with self._clock.timeout(ask.timeout_s):
                outcome = await self._carry_out(request, asker)
        except TimeoutError:
            raise AskFailed(
                f"{_name(ask)}: no answer within {ask.timeout_s:g} s", code=Status.DEADLINE_EXCEEDED
            ) from None
        except CloudstateError as error:
            log.info("ask_failed", asked=_name(ask), reason=str(error), detail=error.detail)
            raise AskFailed(f"{_name(ask)}: {error}", code=error.status) from error
        return _reply(ask, outcome)

    async def _carry_out(self, request: Request, asker: _Asker) -> Outcome:
        task = asyncio.create_task(self._handler.handle(request))
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asker.leave()
            raise

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may not have waited for it

    def _request(self, ask: Ask, asker: _Asker) -> Request:
        key = checked_command_key(ask.command_key) if ask.command_key else ""
        return Request(
            service=ask.service,
            command=ask.command,
            payload=ask.payload,
            metadata=with_waiting(ask.metadata, ask.waiting),
            deadline_s=self._clock.monotonic_s() + ask.timeout_s,
            hops=(ask.hop,),
            conditions=Conditions(command_key=key) if key else None,
            waiting=ask.waiting,
            departure=asker,
        )

    def _check_one_reply(self, ask: Ask) -> None:
        entity = self._served.entities.get(ask.service)
        method = entity.methods.get(ask.command) if entity else None
        if method is not None and (method.client_streaming or method.server_streaming):
            raise AskFailed(
                f"{_name(ask)}: expected a command with one message and one reply, found a stream",
                code=Status.UNIMPLEMENTED,
            )


def _reply(ask: Ask, outcome: Outcome) -> Any:
    action = outcome.action
    if action.HasField("failure"):
        code = code_of(action.failure) or Status.UNKNOWN
        raise AskFailed(action.failure.description, code=code)
    if not action.HasField("reply"):
        raise AskFailed(f"{_name(ask)}: the user function gave no reply", code=Status.INTERNAL)
    return action.reply.payload


def _name(ask: Ask) -> str:
    return f"{ask.service}.{ask.command}"
