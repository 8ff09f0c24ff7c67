"""From a handler in the same process to another service: the asking side of the request path."""

from __future__ import annotations

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

    async def ask(self, ask: Ask) -> Any:
        """Send a command and return the reply's message; see `Caller.ask`."""
        self._check_one_reply(ask)
        request = self._request(ask)
        try:
            async with self._clock.timeout(ask.timeout_s):
                outcome = await self._handler.handle(request)
        except TimeoutError:
            raise AskFailed(
                f"{_name(ask)}: no answer within {ask.timeout_s:g} s", code=Status.DEADLINE_EXCEEDED
            ) from None
        except CloudstateError as error:
            log.info("ask_failed", asked=_name(ask), reason=str(error), detail=error.detail)
            raise AskFailed(f"{_name(ask)}: {error}", code=error.status) from error
        return _reply(ask, outcome)

    def _request(self, ask: Ask) -> Request:
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
