"""One node's connection to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cloudstate_core.clock import Clock
from cloudstate_core.transport import Receive, Transport, check_topic
from cloudstate_nats.frames import Assembly, MalformedFrame, frames_of
from cloudstate_nats.settings import NatsSettings
from cloudstate_nats.subjects import Subjects, token

__all__ = ["NatsTransport", "NotConnected"]

log = structlog.get_logger()

#: How long the server may take to confirm, in seconds, before nobody waits for it any longer.
_CONFIRM_TIMEOUT_S = 5.0
_FAREWELL_TIMEOUT_S = 1.0

#: What goes wrong over and over is logged once in so many seconds.
_LOG_INTERVAL_S = 10.0

#: What the client raises where a message cannot leave: it is lost then.
_LOST = (nats.errors.Error, OSError)


class NotConnected(Exception):
    """The first attempt to connect has failed."""


class NatsTransport(Transport):
    """The transport; the client must be connected before `begin`.

    Attributes:
        settings: How it is connected.
    """

    def __init__(
        self, node: str, client: Client, settings: NatsSettings, clock: Clock, *, process: int
    ) -> None:
        """Keep what it is given."""
        self.node = node
        self.max_message_bytes = settings.max_message_bytes
        self.settings = settings
        self._has_begun = False
        self._client = client
        self._clock = clock
        self._process = process
        self._sent = 0
        self._subjects = Subjects(settings.subject_prefix)
        self._assembly = Assembly(settings.max_message_bytes, settings.max_incomplete_bytes)
        self._listeners: dict[str, Receive] = {}
        self._missed: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged_at_s: dict[str, float] = {}
        self._is_closing = False

    # --- Transport -------------------------------------------------------------------

    async def send(self, to: str, topic: str, message: bytes) -> None:
        check_topic(topic)
        await self._publish(self._subjects.to_node(to, topic), message)

    async def broadcast(self, topic: str, message: bytes) -> None:
        check_topic(topic)
        await self._publish(self._subjects.to_all(topic), message)

    async def _publish(self, subject: str, message: bytes) -> None:
        if len(message) > self.max_message_bytes:
            raise ValueError(
                f"expected a message of at most {self.max_message_bytes} bytes, found "
                f"{len(message)}"
            )
        self._sent += 1
        frames = frames_of(
            self.node,
            bytes(message),
            self._client.max_payload,
            process=self._process,
            number=self._sent,
        )
        for frame in frames:
            if not self._client.is_connected:
                return  # lost; whoever must know is told of a gap
            try:
                await self._client.publish(subject, frame)
            except _LOST as error:
                self._log_now_and_then("nats_message_lost", error=type(error).__name__)
                return

    @asynccontextmanager
    async def listen(self, topic: str, receive: Receive) -> AsyncIterator[None]:
        check_topic(topic)
        key = token(topic)
        if key in self._listeners:
            raise ValueError(f"node {self.node!r} listens to topic {topic!r} already")
        self._listeners[key] = receive
        try:
            subscription = await self._subscribe(self._subjects.to_all(topic))
            try:
                yield
            finally:
                await self._unsubscribe(subscription)
        finally:
            del self._listeners[key]

    @contextmanager
    def on_gap(self, missed: Callable[[], None]) -> Iterator[None]:
        self._missed.append(missed)
        try:
            yield
        finally:
            self._missed.remove(missed)

    # --- Life ------------------------------------------------------------------------

    async def begin(self) -> None:
        """Receive what is sent to this node."""
        self._has_begun = True
        await self._subscribe(self._subjects.inbox(self.node))

    async def aclose(self) -> None:
        """Send what is left, and disconnect."""
        self._is_closing = True
        if self._client.is_connected:
            await self._confirmed(_FAREWELL_TIMEOUT_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(NotConnected, *_LOST):
            await self._client.close()

    async def _subscribe(self, subject: str) -> Subscription:
        subscription = await self._client.subscribe(
            subject,
            cb=self._arrived,
            pending_msgs_limit=self.settings.max_pending_messages,
            pending_bytes_limit=self.settings.max_pending_bytes,
        )
        # From now on what others send arrives: the server has answered, so it knows.
        await self._confirmed(_CONFIRM_TIMEOUT_S)
        return subscription

    async def _unsubscribe(self, subscription: Subscription) -> None:
        with suppress(*_LOST):
            await subscription.unsubscribe()

    async def _confirmed(self, timeout_s: float) -> None:
        """Wait until the server has taken all that was sent, unless it is away."""
        with suppress(TimeoutError, *_LOST):
            async with self._clock.timeout(timeout_s):
                await self._client.flush()

    # --- What comes ------------------------------------------------------------------

    async def _arrived(self, message: Msg) -> None:
        receive = self._listeners.get(message.subject.rpartition(".")[2])
        if receive is None:
            return
        given_up = self._assembly.given_up
        try:
            complete = self._assembly.take(message.data)
        except MalformedFrame as error:
            self._log_now_and_then("nats_message_not_understood", reason=str(error))
            return
        if self._assembly.given_up > given_up:
            self._tell_gap()
        if complete is None:
            return
        sender, content = complete
        try:
            receive(sender, content)
        except Exception:
            log.exception("message_not_received", sender=sender)

    # --- What happens to the connection ----------------------------------------------

    async def failed(self, error: Exception) -> None:
        """Note what the client says.

        Raises:
            NotConnected: Before `begin`. Left to itself, the client would try again for ever.
        """
        if not self._has_begun:
            raise NotConnected(str(error) or type(error).__name__) from error
        if isinstance(error, nats.errors.SlowConsumerError):
            self._log_now_and_then("nats_messages_not_taken_in_time", subject=error.subject)
            self._tell_gap()
        elif self._client.is_connected:
            self._log_now_and_then("nats_error", error=str(error) or type(error).__name__)

    async def disconnected(self) -> None:
        """Note that the server has gone."""
        if not self._is_closing:
            log.warning("nats_disconnected", node=self.node)

    async def reconnected(self) -> None:
        """Tell of the gap, once the server has this node's subscriptions again."""
        log.info("nats_reconnected", node=self.node)
        # The client waits for this to return before it reads the server's answers.
        task = asyncio.create_task(self._tell_gap_when_subscribed())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def closed(self) -> None:
        """Note that the client has given up, which it does where the server refuses this node."""
        if not self._is_closing:
            log.error("nats_connection_closed", node=self.node)

    async def _tell_gap_when_subscribed(self) -> None:
        await self._confirmed(_CONFIRM_TIMEOUT_S)
        self._tell_gap()

    def _tell_gap(self) -> None:
        for missed in tuple(self._missed):
            try:
                missed()
            except Exception:
                log.exception("gap_not_taken", node=self.node)

    def _log_now_and_then(self, event: str, **fields: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_at_s.get(event, float("-inf")) >= _LOG_INTERVAL_S:
            self._logged_at_s[event] = now_s
            log.warning(event, node=self.node, **fields)
