"""One listening port for all front ends.

A connection is accepted, its first bytes are looked at without taking them, and the first front end
that recognises them gets the socket.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from cloudstate_core.errors import ConfigurationError
from cloudstate_core.frontend import Acceptor, FrontEnd, FrontEndHost

__all__ = ["Port", "open_port"]

log = structlog.get_logger()

#: Connections that wait to be accepted. The system may allow fewer.
_BACKLOG = 1024

#: Connections that are accepted before anybody else gets his turn.
_ACCEPTED_AT_ONCE = 64

_MAX_PORT = 65535

#: What a front end may ask to see; nobody needs more to tell protocols apart.
_MAX_PEEK_BYTES = 1024

#: How long accepting rests when the process has no file descriptor left, in seconds.
_REST_S = 0.1


class Port:
    """A port that is open.

    Attributes:
        address: Host and port it really listens on.
    """

    def __init__(
        self,
        listener: socket.socket,
        front_ends: list[tuple[FrontEnd, Acceptor]],
        host: FrontEndHost,
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        self._front_ends = front_ends
        self._limits = host.limits
        self._clock = host.clock
        self._open = 0
        self._is_full = False
        self._strangers: set[socket.socket] = set()  # those that no front end has taken over
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._open

    async def drain(self, grace_s: float) -> None:
        """Stop listening, and let every front end finish what runs.

        Returns when nothing runs any more, after `grace_s` seconds at the latest.
        """
        await self._stop_listening()
        await asyncio.gather(*(acceptor.drain(grace_s) for _, acceptor in self._front_ends))

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        self._loop.add_reader(self._listener, self._accept_waiting)
        try:
            yield
        finally:
            await self._stop_listening()

    async def _stop_listening(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in tuple(self._strangers):
            self._dismiss(connection)  # a task cancelled before its first step has not done it

    def _accept_waiting(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Mostly: no descriptor is left. The connection waits in the backlog meanwhile.
                log.warning("cannot_accept", reason=str(error), open_connections=self._open)
                self._loop.remove_reader(self._listener)
                self._start(self._rest())
                return
            connection = _CountedSocket(accepted, self._closed)
            self._open += 1
            if self._has_room(connection):
                self._strangers.add(connection)
                self._start(self._introduce(connection))

    def _start(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rest(self) -> None:
        await self._clock.sleep(_REST_S)
        self._loop.add_reader(self._listener, self._accept_waiting)

    def _has_room(self, connection: _CountedSocket) -> bool:
        if self._open <= self._limits.max_connections:
            self._is_full = False
            return True
        if not self._is_full:  # once for each time it fills up, not for each connection
            self._is_full = True
            log.warning("too_many_connections", max_connections=self._limits.max_connections)
        connection.close()
        return False

    def _closed(self) -> None:
        self._open -= 1

    def _dismiss(self, connection: socket.socket) -> None:
        self._strangers.discard(connection)
        connection.close()

    async def _introduce(self, connection: socket.socket) -> None:
        """Give a connection to a front end, or close it."""
        acceptor = None
        try:
            async with self._clock.timeout(self._limits.handshake_timeout_s):
                acceptor = await self._recognise(connection)
        except (TimeoutError, OSError) as error:
            log.debug("connection_dropped", reason=str(error) or "no first bytes in time")
        except Exception:
            log.exception("connection_dropped")
        if acceptor is None:
            self._dismiss(connection)
            return
        # From here on it is the front end's, which may have a transport on it already when it is
        # cancelled.
        self._strangers.discard(connection)
        try:
            await acceptor.accept(connection)
        except Exception:
            log.exception("connection_dropped")
            connection.close()

    async def _recognise(self, connection: socket.socket) -> Acceptor | None:
        """Return whose connection this is; None if it is nobody's or it ended."""
        seen = 0
        while True:
            try:
                first_bytes = connection.recv(_MAX_PEEK_BYTES, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await _readable(connection)
                continue
            if len(first_bytes) <= seen:
                return None  # it ended before anybody could tell
            acceptor, is_settled = self._whose(first_bytes)
            if is_settled or len(first_bytes) == _MAX_PEEK_BYTES:
                if seen:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                return acceptor
            seen = len(first_bytes)
            # The bytes stay in the socket, which is therefore readable all the time. Ask to be
            # woken only when there are more than those.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
            await _readable(connection)

    def _whose(self, first_bytes: bytes) -> tuple[Acceptor | None, bool]:
        """Return whose these bytes are, and whether that is settled."""
        for front_end, acceptor in self._front_ends:
            answer = front_end.recognises(first_bytes)
            if answer is None:
                return None, False
            if answer:
                return acceptor, True
        return None, True


@asynccontextmanager
async def open_port(
    front_ends: Iterable[FrontEnd], host: FrontEndHost, bind_host: str, bind_port: int
) -> AsyncIterator[Port]:
    """Open all front ends behind one port, and close them in the end.

    Args:
        front_ends: In any order; each says its own.
        host: What the runtime gives them.
        bind_host: The interface; anything but a loopback address opens it to other machines.
        bind_port: The port; 0 lets the system choose, see `Port.address`.

    Raises:
        ConfigurationError: The address cannot be listened on. Nothing was opened.
    """
    listener = await _listen(bind_host, bind_port)
    async with AsyncExitStack() as opened:
        opened.callback(listener.close)
        in_order = sorted(front_ends, key=lambda front_end: front_end.order)
        acceptors = [
            (front_end, await opened.enter_async_context(front_end.open(host)))
            for front_end in in_order
        ]
        port = Port(listener, acceptors, host)
        await opened.enter_async_context(port._listening())  # noqa: SLF001
        yield port


async def _listen(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    where = f"{host}:{port}"
    if not 0 <= port <= _MAX_PORT:  # the system would take it modulo 65536
        raise ConfigurationError(
            f"cannot listen on {where!r}: expected a port from 0 to {_MAX_PORT}, found {port}"
        )
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConfigurationError(
            f"cannot listen on {where!r}: {error}; set host and port to an address of this machine"
        ) from error
    # A name may stand for several addresses; an IPv4 one suits every client of this machine.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(_reason(where, error)) from error
    listener.setblocking(False)
    return listener


def _reason(where: str, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"cannot listen on {where!r}: the address is in use; stop the process that uses "
                "it, or set another port"
            )
        case errno.EACCES:
            return f"cannot listen on {where!r}: permission denied; set a port above 1023"
        case _:
            return (
                f"cannot listen on {where!r}: {error.strerror}; set host and port to an address "
                "of this machine"
            )


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _resolve, future)
    try:
        await future
    finally:
        loop.remove_reader(connection)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _CountedSocket(socket.socket):
    """An accepted connection that says when it is over, whoever closes it."""

    def __init__(self, accepted: socket.socket, closed: Callable[[], None]) -> None:
        self._closed_callback: Callable[[], None] | None = closed
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.setblocking(False)
        with suppress(OSError):  # some systems refuse once the peer has hung up
            # An answer is written in one piece; waiting for more would only delay it.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        super().close()
        self._count_down()

    def detach(self) -> int:
        # An event loop may take the descriptor to close it by itself.
        descriptor = super().detach()
        self._count_down()
        return descriptor

    def _count_down(self) -> None:
        closed, self._closed_callback = self._closed_callback, None
        if closed is not None:
            closed()
