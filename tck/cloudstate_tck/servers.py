"""gRPC servers of this suite: how they listen, and how they end without leaving anything behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from cloudstate_core.errors import ConfigurationError

__all__ = ["StreamHandlers", "serving"]

_OPTIONS = (
    # The suite judges sizes itself.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A second suite on the same port must be an error, not half of the connections.
    ("grpc.so_reuseport", 0),
)

#: Serves one stream, bytes in and bytes out; a unary call is a stream of one message.
Handle = Callable[[str, AsyncIterator[bytes], Any], Coroutine[Any, Any, None]]


class StreamHandlers(grpc.GenericRpcHandler):
    """Serves every method as a stream of bytes in both directions."""

    def __init__(self, handle: Handle, *, serves: Callable[[str], bool] = lambda _: True) -> None:
        """Serve methods with `handle`, which is given the path first.

        Args:
            handle: Called for every call.
            serves: Whether there is a method of that path.
        """
        self._handle = handle
        self._serves = serves
        self._running: set[asyncio.Task[Any]] = set()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = details.method
        if not self._serves(path):
            return None

        async def handle(requests: AsyncIterator[bytes], context: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._running.add(task)
            try:
                await self._handle(path, requests, context)
            finally:
                self._running.discard(task)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def aclose(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


@asynccontextmanager
async def serving(handlers: StreamHandlers, listen: str) -> AsyncIterator[str]:
    """Serve on `HOST:PORT`, port 0 for any; gives the address with the port.

    Raises:
        ConfigurationError: If the address cannot be bound. Nothing is served.
    """
    server = grpc.aio.server(options=_OPTIONS)
    host = listen.rpartition(":")[0]
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if not port:
        raise ConfigurationError(
            f"cannot listen on {listen!r}: expected HOST:PORT of this machine that nobody uses"
        )
    server.add_generic_rpc_handlers([handlers])
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        # Handlers first: a server that is stopped leaves its handlers to the event loop.
        await handlers.aclose()
        await server.stop(None)
