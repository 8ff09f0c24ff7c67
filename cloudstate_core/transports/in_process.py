"""Nodes in one process, for tests and simulations.

Everything that a network does can be asked of it, and under one seed and a clock that a test moves
it does the same each time::

    network = Network(clock, Random(7))
    async with network.connect("a") as a, network.connect("b") as b:
        network.set_faults(Faults(loss=0.1, max_delay_s=0.05))
        network.cut("a", "b")  # what a sends does not reach b; the other way is open
        network.heal()
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import permutations
from random import Random
from typing import ClassVar

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.transport import (
    Receive,
    Transport,
    TransportBackend,
    check_node_name,
    check_topic,
)
from cloudstate_core.transports.faults import NO_FAULTS, Faults

__all__ = ["InProcessBackend", "InProcessSettings", "InProcessTransport", "Network"]

log = structlog.get_logger()

#: The longest message, unless a network is told otherwise.
_MAX_MESSAGE_BYTES = 1024 * 1024

#: How many messages may be on their way to one node. More are lost, which the node is told.
_MAX_UNDER_WAY = 100_000


class Network:
    """What nodes of one process are connected by.

    Args:
        clock: Decides when what is delayed arrives.
        random: Decides what becomes of each message.
        max_message_bytes: The longest message that is carried.
        max_under_way: How many messages may be on their way to one node; more are lost.
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        *,
        max_message_bytes: int = _MAX_MESSAGE_BYTES,
        max_under_way: int = _MAX_UNDER_WAY,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._max_under_way = max_under_way
        self._clock = clock
        self._random = random
        self._ends: list[InProcessTransport] = []
        self._faults: dict[tuple[str, str], Faults] = {}
        self._faults_elsewhere = NO_FAULTS
        self._cut: set[tuple[str, str]] = set()
        self._disconnected: set[str] = set()

    @asynccontextmanager
    async def connect(self, node: str) -> AsyncIterator[InProcessTransport]:
        """Connect a node while the context is open.

        Raises:
            ValueError: A node cannot have that name.
        """
        check_node_name(node)
        end = InProcessTransport(node, self)
        self._ends.append(end)
        try:
            yield end
        finally:
            self._ends.remove(end)
            await end.aclose()

    # --- What goes wrong -------------------------------------------------------------

    def set_faults(
        self, faults: Faults, *, sender: str | None = None, to: str | None = None
    ) -> None:
        """Say what becomes of messages from now on: on one link, or on all that have no own word.

        Raises:
            ValueError: Only one end of the link is named.
        """
        if (sender is None) != (to is None):
            raise ValueError("expected both ends of a link, or none for all links")
        if sender is None or to is None:
            self._faults_elsewhere = faults
        else:
            self._faults[sender, to] = faults

    def cut(self, sender: str, to: str) -> None:
        """Let nothing more through from one node to another, also not what is under way."""
        self._cut.add((sender, to))

    def partition(self, *groups: set[str]) -> None:
        """Cut every link between nodes of different groups, in both directions."""
        for one, other in permutations(groups, 2):
            self._cut.update((sender, to) for sender in one for to in other)

    def heal(self) -> None:
        """Open every link that was cut, and end all other faults. Who was disconnected stays so."""
        self._cut.clear()
        self._faults.clear()
        self._faults_elsewhere = NO_FAULTS

    def disconnect(self, node: str) -> None:
        """Let nothing through to a node and from it until `reconnect`."""
        self._disconnected.add(node)

    def reconnect(self, node: str) -> None:
        """Connect a node again, and tell it that it may have missed something."""
        self._disconnected.discard(node)
        for end in self._ends:
            if end.node == node:
                end.tell_gap()

    # --- Carrying --------------------------------------------------------------------

    def carry(self, source: InProcessTransport, to: str | None, topic: str, message: bytes) -> None:
        """Bring a message on its way: to one node, or to all others (None)."""
        for end in tuple(self._ends):
            if end is not source and (to is None or end.node == to):
                self._carry_to(end, source.node, topic, message)

    def _carry_to(self, end: InProcessTransport, sender: str, topic: str, message: bytes) -> None:
        faults = self._faults.get((sender, end.node), self._faults_elsewhere)
        # Chance is asked whether the link is open or not, so that a cut changes no other fate.
        for delay_s in faults.delays_s(self._random):
            if not self._is_open(sender, end.node):
                continue
            if end.under_way >= self._max_under_way:
                end.tell_gap()
                continue
            end.expect(
                sender,
                lambda: self._arrive(end, sender, topic, message),
                delay_s,
                self._clock,
                keeps_order=faults.keeps_order,
            )

    def _arrive(self, end: InProcessTransport, sender: str, topic: str, message: bytes) -> None:
        if self._is_open(sender, end.node):
            end.arrive(sender, topic, message)

    def _is_open(self, sender: str, to: str) -> bool:
        return (sender, to) not in self._cut and not self._disconnected & {sender, to}


class InProcessTransport(Transport):
    """One node's end of a `Network`."""

    def __init__(self, node: str, network: Network) -> None:
        self.node = node
        self.max_message_bytes = network.max_message_bytes
        self._network = network
        self._listeners: dict[str, Receive] = {}
        self._missed: list[Callable[[], None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_due_s: dict[str, float] = {}
        self._is_closed = False

    async def send(self, to: str, topic: str, message: bytes) -> None:
        self._carry(to, topic, message)

    async def broadcast(self, topic: str, message: bytes) -> None:
        self._carry(None, topic, message)

    def _carry(self, to: str | None, topic: str, message: bytes) -> None:
        check_topic(topic)
        if len(message) > self.max_message_bytes:
            raise ValueError(
                f"expected a message of at most {self.max_message_bytes} bytes, found "
                f"{len(message)}"
            )
        if not self._is_closed:
            self._network.carry(self, to, topic, bytes(message))

    @asynccontextmanager
    async def listen(self, topic: str, receive: Receive) -> AsyncIterator[None]:
        check_topic(topic)
        if topic in self._listeners:
            raise ValueError(f"node {self.node!r} listens to topic {topic!r} already")
        self._listeners[topic] = receive
        try:
            yield
        finally:
            del self._listeners[topic]

    @contextmanager
    def on_gap(self, missed: Callable[[], None]) -> Iterator[None]:
        self._missed.append(missed)
        try:
            yield
        finally:
            self._missed.remove(missed)

    # --- The network's side ----------------------------------------------------------

    @property
    def under_way(self) -> int:
        """How many messages are on their way to this node."""
        return len(self._under_way)

    def expect(
        self,
        sender: str,
        arrive: Callable[[], None],
        delay_s: float,
        clock: Clock,
        *,
        keeps_order: bool,
    ) -> None:
        """Have a message arrive after some time, or after those that its sender sent before."""
        due_s = clock.monotonic_s() + delay_s
        if keeps_order:
            due_s = max(due_s, self._last_due_s.get(sender, due_s))
            self._last_due_s[sender] = due_s
        task = asyncio.create_task(_later(clock, due_s, arrive))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def arrive(self, sender: str, topic: str, message: bytes) -> None:
        """Hand a message to whoever listens."""
        receive = self._listeners.get(topic)
        if receive is None:
            return
        try:
            receive(sender, message)
        except Exception:
            log.exception("message_not_received", sender=sender, topic=topic)

    def tell_gap(self) -> None:
        """Say that messages may have been lost."""
        for missed in tuple(self._missed):
            try:
                missed()
            except Exception:
                log.exception("gap_not_taken", node=self.node)

    async def aclose(self) -> None:
        """Lose what is under way."""
        self._is_closed = True
        under_way = tuple(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _later(clock: Clock, due_s: float, arrive: Callable[[], None]) -> None:
    await clock.sleep(due_s - clock.monotonic_s())
    arrive()


@dataclass(frozen=True, slots=True)
class InProcessSettings:
    """Section `in-process`: there is nothing to set."""


class InProcessBackend(TransportBackend):
    """Connects the nodes that tests run in one process.

    Args:
        network: What they are connected by, whatever address they are told.
    """

    scheme: ClassVar[str] = "in-process"
    settings_type: ClassVar[type] = InProcessSettings

    def __init__(self, network: Network) -> None:
        self._network = network

    @asynccontextmanager
    async def open(
        self, settings: object, address: str, node: str, clock: Clock
    ) -> AsyncIterator[Transport]:
        async with self._network.connect(node) as transport:
            yield transport
