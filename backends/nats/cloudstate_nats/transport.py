"""One node's connection to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from cloudstate_core.clock import Clock
from cloudstate_core.transport import Receive, Transport, check_topic
from cloudstate_nats.frames import Assembly, MalformedFrame, frames_of
from cloudstate_nats.security import CarefulClient
from cloudstate_nats.settings import NatsSettings
from cloudstate_nats.subjects import Subjects, token

__all__ = ["FAILURES", "Connect", "NatsTransport", "NotConnected"]

log = structlog.get_logger()

#: How long the server may take to confirm, in seconds, before nobody waits for it any longer.
_CONFIRM_TIMEOUT_S = 5
_FAREWELL_TIMEOUT_S = 1

#: How often to look whether there is a connection, while it may be away for so long.
_LOOKS = 5

#: What goes wrong over and over is logged once in so many seconds.
_LOG_INTERVAL_S = 10.0

#: What the client raises where a message cannot leave: it is lost then.
_LOST = (nats.errors.Error, OSError)


class NotConnected(Exception):
    """The first attempt to connect has failed."""


#: What an attempt to connect may end with.
FAILURES = (*_LOST, NotConnected)

#: Connects a client, whose callbacks are the methods of the transport.
Connect = Callable[[Client, "NatsTransport"], Awaitable[None]]


class NatsTransport(Transport):
    """The transport; nothing is sent or heard before `begin`.

    Attributes:
        settings: How it is connected.
    """

    def __init__(
        self, node: str, connect: Connect, settings: NatsSettings, clock: Clock, *, process: int
    ) -> None:
        """Keep what it is given."""
        self.node = node
        self.max_message_bytes = settings.max_message_bytes
        self.settings = settings
        self._is_connecting = False
        self._is_reconnecting = False
        self._client = CarefulClient(settings)
        self._connect = connect
        self._clock = clock
        self._process = process
        self._sent = 0
        self._subjects = Subjects(settings.subject_prefix)
        self._assembly = Assembly(settings.max_message_bytes, settings.max_incomplete_bytes)
        self._listeners: dict[str, Receive] = {}
        self._subscriptions: dict[str, Subscription | None] = {}  # by subject
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
                await _unless_cancelled(self._client.publish(subject, frame))
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
            async with self._subscribed(self._subjects.to_all(topic)):
                yield
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
        """Connect, and receive what is sent to this node.

        Raises:
            OSError, nats.errors.Error, NotConnected: That has failed; it can be tried again.
        """
        self._subscriptions[self._subjects.inbox(self.node)] = None
        await self._connect_anew()
        await self._confirmed(_CONFIRM_TIMEOUT_S)
        self._spawn(self._watch())

    async def aclose(self) -> None:
        """Send what is left, and disconnect."""
        self._is_closing = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subject in tuple(self._subscriptions):
            await self._unsubscribe(subject)
        if self._client.is_connected and not await self._confirmed(_FAREWELL_TIMEOUT_S):
            self._client.cut()
        await self._close(self._client)

    async def _connect_anew(self) -> None:
        client = CarefulClient(self.settings)
        self._is_connecting = True
        try:
            await self._connect(client, self)
            await self._check_connected(client)
        except FAILURES:
            # It has begun nothing yet. To close it would wait for the end of a connection that was
            # about to be secured, of which the client does not hear.
            client.cut()
            raise
        except BaseException:
            await self._close(client)
            raise
        finally:
            self._is_connecting = False
        self._client = client
        for subject in tuple(self._subscriptions):
            await self._subscribe(subject)

    async def _check_connected(self, client: CarefulClient) -> None:
        # The client takes a connection that ends in the middle for one that is made.
        if not client.is_connected:
            await self._close(client)
            raise NotConnected("the server has ended the connection")

    async def _close(self, client: CarefulClient) -> None:
        # A server that does not read would be waited for without end. That it has nothing to close
        # a client says by an assertion.
        with suppress(TimeoutError, AssertionError, *FAILURES):
            async with self._clock.timeout(_FAREWELL_TIMEOUT_S):
                await client.close()
        await client.stop_connecting()

    @asynccontextmanager
    async def _subscribed(self, subject: str) -> AsyncIterator[None]:
        await self._subscribe(subject)
        try:
            # From now on what others send arrives: the server has answered, so it knows.
            await self._confirmed(_CONFIRM_TIMEOUT_S)
            yield
        finally:
            await self._unsubscribe(subject)

    async def _unsubscribe(self, subject: str) -> None:
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:
            with suppress(*_LOST):
                await subscription.unsubscribe()

    async def _subscribe(self, subject: str) -> None:
        self._subscriptions[subject] = None
        # Without a connection it is done as soon as there is one.
        with suppress(*_LOST):
            self._subscriptions[subject] = await self._client.subscribe(
                subject,
                cb=self._arrived,
                pending_msgs_limit=self.settings.max_pending_messages,
                pending_bytes_limit=self.settings.max_pending_bytes,
            )

    async def _confirmed(self, timeout_s: int) -> bool:
        """Wait until the server has taken all that was sent; return False if it does not say so."""
        with suppress(TimeoutError, *_LOST):
            async with self._clock.timeout(timeout_s):
                # The client may swallow that this is over; then its own limit holds. Its first ping
                # overtakes what waits to be sent; when that is answered, the rest has been sent.
                await self._client.flush(timeout_s)
                await self._client.flush(timeout_s)
                return True
        return False

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
            NotConnected: While it connects. Left to itself, the client would try again for ever.
        """
        if self._is_connecting:
            raise NotConnected(str(error) or type(error).__name__) from error
        if isinstance(error, nats.errors.SlowConsumerError):
            self._log_now_and_then("nats_messages_not_taken_in_time", subject=error.subject)
            self._tell_gap()
        elif self._client.is_connected:
            self._log_now_and_then("nats_error", error=str(error) or type(error).__name__)
        else:
            self._say_why_not(error)

    async def disconnected(self) -> None:
        """Note that the server has gone."""
        # A client that is replaced says so once more when it is closed.
        if not (self._is_closing or self._is_reconnecting):
            log.warning("nats_disconnected", node=self.node)

    async def reconnected(self) -> None:
        """Tell of the gap, once the server has this node's subscriptions again."""
        # The client waits for this to return before it reads the server's answers.
        self._spawn(self._tell_gap_when_subscribed())

    async def closed(self) -> None:
        """Connect again where the client has given up, as it does when the server refuses it."""
        if self._client.is_closed and not self._is_closing and not self._is_reconnecting:
            reason = self._client.last_error
            log.warning("nats_connection_closed", node=self.node, reason=str(reason))
            self._is_reconnecting = True
            self._spawn(self._connect_again())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_again(self) -> None:
        is_lost = True
        # The client takes a cancellation for a failed attempt.
        while is_lost and not self._is_closing:
            await self._clock.sleep(self.settings.reconnect_wait_s)
            try:
                await self._connect_anew()
            except FAILURES as error:
                self._say_why_not(error)
            else:
                is_lost = self._client.is_closed
        self._is_reconnecting = False
        if not self._is_closing:
            await self._tell_gap_when_subscribed()

    async def _watch(self) -> None:
        """Replace a client whose own attempts to connect again do not come to an end."""
        seen_at_s = self._clock.monotonic_s()
        while not self._is_closing:
            await self._clock.sleep(self.settings.renew_after_s / _LOOKS)
            if self._client.is_connected or self._is_reconnecting:
                seen_at_s = self._clock.monotonic_s()
            elif self._clock.monotonic_s() - seen_at_s >= self.settings.renew_after_s:
                await self._renew()

    async def _renew(self) -> None:
        log.warning("nats_client_replaced", node=self.node, after_s=self.settings.renew_after_s)
        self._is_reconnecting = True
        try:
            await self._close(self._client)
        except Exception:  # nobody knows in which state it is
            log.exception("nats_client_not_closed", node=self.node)
        await self._connect_again()

    async def _tell_gap_when_subscribed(self) -> None:
        log.info("nats_reconnected", node=self.node)
        await self._confirmed(_CONFIRM_TIMEOUT_S)
        self._tell_gap()

    def _say_why_not(self, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        self._log_now_and_then("nats_not_connected_yet", reason=reason)

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


async def _unless_cancelled(work: Awaitable[None]) -> None:
    """Wait for something that may swallow the cancellation of this task."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    await work
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
