"""The stream to the user function's end of one replicated entity, for both directions at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import structlog

from cloudstate.crdt_pb2 import CrdtStreamIn, CrdtStreamOut
from cloudstate_core.clock import Clock
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.exchange import LAST_WORDS_TIMEOUT_S
from cloudstate_core.links import EntityStream

__all__ = ["FunctionEnd", "Listener"]

log = structlog.get_logger()


class Listener(Protocol):
    """Who wants to know what becomes of a stream; none of it may wait or raise."""

    def received(self, message: CrdtStreamOut) -> None:
        """The user function has said something."""
        ...

    def lost(self, error: Exception) -> None:
        """The stream is of no use any more."""
        ...

    def has_sent(self) -> None:
        """Nothing waits to be sent any more."""
        ...


class FunctionEnd:
    """Sends and receives, each in a task of its own."""

    def __init__(
        self, stream: EntityStream[CrdtStreamIn, CrdtStreamOut], clock: Clock, listener: Listener
    ) -> None:
        """Begin to receive."""
        self._stream = stream
        self._clock = clock
        self._listener = listener
        # None stands for the end of the stream.
        self._unsent: deque[CrdtStreamIn | None] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._receiving = asyncio.create_task(self._receive_all())

    def is_sending(self) -> bool:
        """Return whether something waits to be sent."""
        return bool(self._unsent)

    def send(self, message: CrdtStreamIn | None) -> None:
        """Send a message, or say that nothing follows, after what was to be sent before."""
        self._unsent.append(message)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def aclose(self) -> None:
        """Say that nothing follows, without sending what waits, and close."""
        self._receiving.cancel()
        if self._sending is not None:
            self._sending.cancel()
        self._unsent.clear()
        await self._stream.aclose()

    async def _send_all(self) -> None:
        try:
            while self._unsent:
                message = self._unsent[0]
                if message is None:
                    self._receiving.cancel()
                    await self._stream.aclose()
                else:
                    await self._stream.send(message)
                self._unsent.popleft()
        except UserFunctionUnavailable as gone:
            self._unsent.clear()
            # It may have said why.
            await self._clock.sleep(LAST_WORDS_TIMEOUT_S)
            self._listener.lost(gone)
        except Exception as error:
            log.exception("entity_failed")
            self._listener.lost(error)
        finally:
            self._sending = None
        self._listener.has_sent()

    async def _receive_all(self) -> None:
        try:
            while True:
                self._listener.received(await self._stream.receive())
        except UserFunctionError as error:
            # How it ended says more than that it did.
            self._listener.lost(self._stream.unasked() or error)
        except Exception as error:
            log.exception("entity_failed")
            self._listener.lost(error)
