"""What went over the connections between a proxy and a user function, in order of arrival."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_tck.expectations import Mismatch, expect_equal, rendered

__all__ = ["CANCELLED", "Connection", "Discovery", "Ended", "Recorder"]

#: How the user function's side of a call ends that the proxy has cancelled.
CANCELLED = "cancelled by the proxy"

#: A failed case shows this many last lines of what went over the wire.
MAX_TRANSCRIPT_LINES = 40


@dataclass(frozen=True, slots=True)
class Ended:
    """One side of a connection is finished.

    Attributes:
        how: `completed`, or what went wrong.
    """

    how: str = "completed"

    def __str__(self) -> str:
        return f"the end of that side: {self.how}"


#: A message that cannot be parsed is kept as bytes.
Recorded = Message | bytes | Ended


@dataclass(frozen=True, slots=True)
class Discovery:
    """One answered `discover` call.

    Attributes:
        proxy_info: What the proxy said of itself.
        spec: What the user function announced.
    """

    proxy_info: ProxyInfo
    spec: EntitySpec


class Connection:
    """One call from the proxy to the user function.

    Attributes:
        path: The method.
    """

    def __init__(self, path: str, *, patience_s: float) -> None:
        self.path = path
        self._patience_s = patience_s
        self._incoming: asyncio.Queue[Recorded] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Recorded] = asyncio.Queue()
        self._log: list[tuple[str, Recorded]] = []

    # --- Recording ------------------------------------------------------------------------

    def incoming(self, recorded: Recorded) -> None:
        """Keep what the proxy has sent, or that it has finished."""
        self._log.append(("proxy", recorded))
        self._incoming.put_nowait(recorded)

    def outgoing(self, recorded: Recorded) -> None:
        """Keep what the user function has sent, or that it has finished."""
        self._log.append(("function", recorded))
        self._outgoing.put_nowait(recorded)

    # --- Examining ------------------------------------------------------------------------

    async def expect_incoming(self, *expected: Message) -> None:
        """Compare the next messages from the proxy.

        Raises:
            Mismatch: If one differs or is missing.
        """
        for message in expected:
            await self._expect(self._incoming, "the next message from the proxy", message)

    async def expect_outgoing(self, *expected: Message) -> None:
        """Compare the next messages from the user function.

        Raises:
            Mismatch: If one differs or is missing.
        """
        for message in expected:
            await self._expect(self._outgoing, "the next message from the user function", message)

    async def next_incoming(self, expected: object) -> Recorded:
        """Return what the proxy says next.

        Raises:
            Mismatch: If it says nothing in time.
        """
        what = "the next message from the proxy"
        return await self._next(self._incoming, what, expected, self._patience_s)

    async def next_outgoing(self, expected: object) -> Recorded:
        """Return what the user function says next.

        Raises:
            Mismatch: If it says nothing in time.
        """
        what = "the next message from the user function"
        return await self._next(self._outgoing, what, expected, self._patience_s)

    async def expect_completed(self, within_s: float | None = None) -> None:
        """Expect both sides to finish without another message.

        Raises:
            Mismatch: If one goes on, fails, or does not finish in time.
        """
        patience_s = self._patience_s if within_s is None else within_s
        for queue, who in ((self._incoming, "proxy"), (self._outgoing, "user function")):
            what = f"the end of the {who}'s side"
            found = await self._next(queue, what, Ended(), patience_s)
            if found != Ended():
                raise Mismatch(what, expected=Ended(), found=_shown(found))

    async def expect_cancelled(self) -> None:
        """Expect the proxy to cancel the call, with no further message from the user function.

        Raises:
            Mismatch: If there is one, or the call ends otherwise or not in time.
        """
        expected = Ended(CANCELLED)
        found = await self.next_outgoing(expected)
        if found != expected:
            what = "the end of the user function's side"
            raise Mismatch(what, expected=expected, found=_shown(found))

    def unexamined(self) -> Recorded | None:
        """Return the first message that no case has looked at; an end of a side is none."""
        for queue in (self._incoming, self._outgoing):
            while not queue.empty():
                recorded = queue.get_nowait()
                if not isinstance(recorded, Ended):
                    return recorded
        return None

    def transcript(self) -> list[str]:
        """Return what went over this connection, a line or more for each message."""
        method = self.path.rpartition("/")[0][1:]
        lines = [f"{who} → {method}: {_shown(recorded)}" for who, recorded in self._log]
        return [line for entry in lines for line in entry.splitlines()][-MAX_TRANSCRIPT_LINES:]

    async def _expect(self, queue: asyncio.Queue[Recorded], what: str, expected: Message) -> None:
        found = await self._next(queue, what, expected, self._patience_s)
        if isinstance(found, Message):
            expect_equal(what, expected, found)
        else:
            raise Mismatch(what, expected=expected, found=_shown(found))

    async def _next(
        self, queue: asyncio.Queue[Recorded], what: str, expected: object, patience_s: float
    ) -> Recorded:
        try:
            async with asyncio.timeout(patience_s):
                return await queue.get()
        except TimeoutError:
            found = f"nothing within {patience_s:g} s"
            raise Mismatch(what, expected=expected, found=found) from None


class Recorder:
    """All connections between one proxy and one user function.

    Attributes:
        discoveries: The answered `discover` calls.
        reports: What the proxy reported as errors.
    """

    def __init__(self, *, patience_s: float) -> None:
        self.discoveries: list[Discovery] = []
        self.reports: list[str] = []
        self._patience_s = patience_s
        self._opened: asyncio.Queue[Connection] = asyncio.Queue()
        self._examined: list[Connection] = []
        self._discovered = asyncio.Event()

    # --- Recording ------------------------------------------------------------------------

    def opened(self, path: str) -> Connection:
        """Keep that the proxy has opened a connection, and return where to record it."""
        connection = Connection(path, patience_s=self._patience_s)
        self._opened.put_nowait(connection)
        return connection

    def discovered(self, proxy_info: ProxyInfo, spec: EntitySpec) -> None:
        """Keep an answered `discover` call."""
        self.discoveries.append(Discovery(proxy_info, spec))
        self._discovered.set()

    def reported(self, message: str) -> None:
        """Keep a `reportError` call."""
        self.reports.append(message)

    # --- Examining ------------------------------------------------------------------------

    async def discovery(self, *, within_s: float) -> Discovery | None:
        """Wait for a `discover` call and return the latest; None if there is none in time."""
        try:
            async with asyncio.timeout(within_s):
                await self._discovered.wait()
        except TimeoutError:
            return None
        return self.discoveries[-1]

    async def expect_connection(self, path: str) -> Connection:
        """Return the next connection that the proxy has opened or opens.

        Raises:
            Mismatch: If it is to another method, or there is none in time.
        """
        what = "the next connection from the proxy"
        try:
            async with asyncio.timeout(self._patience_s):
                connection = await self._opened.get()
        except TimeoutError:
            found = f"none within {self._patience_s:g} s"
            raise Mismatch(what, expected=path, found=found) from None
        self._examined.append(connection)
        expect_equal(what, path, connection.path)
        return connection

    def forget(self) -> None:
        """Start anew: what earlier cases have left behind is not looked at."""
        self._examined.clear()
        while not self._opened.empty():
            self._opened.get_nowait()

    async def expect_quiet(self, quiet_s: float) -> None:
        """Expect that nothing was left unexamined and that nothing more comes for a while.

        Raises:
            Mismatch: If there is another connection, or a message on an examined one.
        """
        try:
            async with asyncio.timeout(quiet_s):
                connection = await self._opened.get()
        except TimeoutError:
            pass
        else:
            self._examined.append(connection)
            found = f"one to {connection.path}"
            raise Mismatch(
                "connections after the case", expected="no further connection", found=found
            )
        for connection in self._examined:
            left = connection.unexamined()
            if left is not None:
                what = f"messages on {connection.path} after the case"
                raise Mismatch(what, expected="no further message", found=_shown(left))

    def transcript(self) -> tuple[str, ...]:
        """Return what went over the connections since `forget`, oldest connection first."""
        waiting = []
        while not self._opened.empty():
            waiting.append(self._opened.get_nowait())
        return tuple(
            line for connection in [*self._examined, *waiting] for line in connection.transcript()
        )


def _shown(recorded: Recorded) -> str:
    if isinstance(recorded, bytes):
        return f"{len(recorded)} bytes that are no such message"
    return rendered(recorded)
