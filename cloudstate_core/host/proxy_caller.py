"""From a handler to another service through the proxy, when that is another process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.protobuf.any_pb2 import Any
from grpc import aio

from cloudstate_core.anys import MESSAGE_PREFIX
from cloudstate_core.caller import Ask
from cloudstate_core.conditions import checked_command_key
from cloudstate_core.errors import AskFailed
from cloudstate_core.status import Status
from cloudstate_core.targets import target_of
from cloudstate_core.waiting import with_waiting

__all__ = ["ProxyCaller", "open_proxy_caller"]


class ProxyCaller:
    """Sends what handlers ask to a proxy, as its clients do."""

    def __init__(self, channel: aio.Channel, address: str) -> None:
        """Keep the channel; `open_proxy_caller` makes and closes it."""
        self._channel = channel
        self._address = address

    async def ask(self, ask: Ask) -> Any:
        """Send a command and return the reply's message; see `Caller.ask`."""
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            f"/{ask.service}/{ask.command}"
        )
        try:
            reply = await call(ask.payload.value, timeout=ask.timeout_s, metadata=_headers(ask))
        except aio.AioRpcError as error:
            raise self._failed(ask, error) from error
        return Any(type_url=_reply_type_url(ask), value=reply)

    def _failed(self, ask: Ask, error: aio.AioRpcError) -> AskFailed:
        code = Status(error.code().value[0])
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return AskFailed(
                f"{ask.service}.{ask.command}: no answer from the proxy at {self._address} "
                f"(setting host.proxy): {error.details()}",
                code=code,
            )
        return AskFailed(error.details() or code.name, code=code)


@asynccontextmanager
async def open_proxy_caller(address: str, max_message_bytes: int) -> AsyncIterator[ProxyCaller]:
    """Open the way to a proxy's front door; nothing is connected before the first command.

    Args:
        address: Host and port.
        max_message_bytes: Largest message in either direction.
    """
    options = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
    async with aio.insecure_channel(address, options=options) as channel:
        yield ProxyCaller(channel, address)


def _headers(ask: Ask) -> list[tuple[str, str | bytes]]:
    headers = [
        (name.lower(), value)
        for name, value in with_waiting(ask.metadata, ask.waiting)
        # gRPC tells bytes from text by the name alone.
        if name.lower().endswith("-bin") == isinstance(value, bytes)
    ]
    if ask.command_key:
        headers.append(("idempotency-key", checked_command_key(ask.command_key)))
    return headers


def _reply_type_url(ask: Ask) -> str:
    """Return what the reply's `Any` says; nothing for a service whose module is not imported."""
    method = target_of(ask.service, ask.command).method
    return MESSAGE_PREFIX + method.output_type.full_name if method else ""
