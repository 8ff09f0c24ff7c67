"""Brings messages from the outbox to those they are for, again and again until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Protocol, TypeVar

import structlog

from cloudstate.entity_pb2 import Failure
from cloudstate_core.clock import Clock
from cloudstate_core.durable.messages import Message, message_of, request_of, sender_of
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Request
from cloudstate_core.store import SLICES, StateStore
from cloudstate_runtime.activation.grace import Grace
from cloudstate_runtime.durable.machine import (
    Acknowledge,
    Acknowledged,
    Announced,
    Attempted,
    Closing,
    Deliver,
    DeliveryMachine,
    Input,
    Instruction,
    Numbered,
    Opening,
    Park,
    Parked,
    Read,
    ReadOutbox,
    Rest,
    Rested,
    Revoked,
    ServicesChanged,
    Stored,
    Unparked,
    Verdict,
)
from cloudstate_runtime.durable.verdicts import reason_of, verdict_of
from cloudstate_runtime.function.backoff import backoff_s
from cloudstate_runtime.routing.served import ServedNow
from cloudstate_runtime.settings import RuntimeSettings

__all__ = ["Delivery", "DeliveryLimits", "Receiver", "open_delivery"]

log = structlog.get_logger()

T = TypeVar("T")

_ALL_SLICES = range(SLICES)

#: Messages that are read from the outbox at once.
_PAGE_MESSAGES = 500

#: How long the store may take in the end to forget what is done, in seconds. What it has not
#: forgotten is delivered once more, without effect.
_LAST_WRITES_TIMEOUT_S = 1.0

#: Longer reasons are cut before they are stored.
_MAX_REASON_CHARACTERS = 2_000


class Receiver(Protocol):
    """What brings a request to its end."""

    async def deliver(self, request: Request) -> Failure | None:
        """Carry out a request with all that it leads to; return the failure it was answered with.

        Raises:
            CloudstateError: It was not carried out, or nobody knows.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """What can be set; see `RuntimeSettings`.

    Attributes:
        max_attempts: After so many attempts that failed a message is parked.
        backoff_min_s: First wait after a failed attempt, in seconds.
        backoff_max_s: Longest wait after a failed attempt, in seconds.
        timeout_s: How long one attempt may take, in seconds.
        max_at_once: How many messages may be on their way at once.
        max_held: How many messages memory holds.
    """

    max_attempts: int
    backoff_min_s: float
    backoff_max_s: float
    timeout_s: float
    max_at_once: int
    max_held: int

    @classmethod
    def of(cls, settings: RuntimeSettings) -> DeliveryLimits:
        """Return what the settings say."""
        return cls(
            max_attempts=settings.max_delivery_attempts,
            backoff_min_s=settings.delivery_backoff_min_s,
            backoff_max_s=settings.delivery_backoff_max_s,
            timeout_s=settings.delivery_timeout_s,
            max_at_once=settings.max_deliveries_at_once,
            max_held=settings.max_messages_in_memory,
        )


class Delivery:
    """Carries out what the delivery machine asks for. Run by `open_delivery`."""

    def __init__(
        self,
        store: StateStore,
        receiver: Receiver,
        served: ServedNow,
        report: Callable[[str, str], None],
        is_complete: Callable[[], bool],
        clock: Clock,
        random: Random,
        limits: DeliveryLimits,
    ) -> None:
        """Keep the collaborators.

        Args:
            store: Where the outbox is.
            receiver: Carries out what messages bring.
            served: What is served.
            report: Tells the author of a service's user function what is wrong: service, message.
            is_complete: Whether all user functions are served; until then a service that is not may
                still come.
            clock: The time.
            random: For the spread of waits.
            limits: What can be set.
        """
        self._store = store
        self._receiver = receiver
        self._served = served
        self._report = report
        self._is_complete = is_complete
        self._clock = clock
        self._random = random
        self._limits = limits
        self._machine = DeliveryMachine(
            max_attempts=limits.max_attempts,
            max_at_once=limits.max_at_once,
            max_held=limits.max_held,
            page_messages=min(_PAGE_MESSAGES, limits.max_held),
        )
        self._attempts: set[asyncio.Task[None]] = set()
        self._rests: set[asyncio.Task[None]] = set()
        self._store_work: set[asyncio.Task[None]] = set()
        self._backing_off: set[asyncio.Task[None]] = set()  # store work that waits to try again
        self._is_closed = False

    # --- What commits tell ----------------------------------------------------------------------

    def announce(self, message_ids: Iterable[str]) -> None:
        """Messages of these names are about to be stored: leave them alone until then."""
        self._feed(Announced(tuple(message_ids)))

    def take(self, messages: Sequence[Message]) -> None:
        """These are stored, and nobody else will deliver them."""
        self._feed(Stored(messages))

    def revoke(self, message_ids: Iterable[str], *, may_be_stored: bool) -> None:
        """These were not stored; or nobody knows."""
        self._feed(Revoked(tuple(message_ids), may_be_stored))

    def unparked(self) -> None:
        """Parked messages wait in the outbox again."""
        self._feed(Unparked())

    # --- From beginning to end ------------------------------------------------------------------

    def open(self) -> None:
        """Begin with what an earlier run has left in the outbox."""
        self._served.listen(self._services_changed)
        self._feed(Opening())

    def begin_drain(self) -> None:
        """Begin nothing new; what is on its way goes on."""
        self._feed(Closing())

    async def aclose(self, grace_s: float) -> None:
        """Wait for what is on its way and for the store, and give up the rest.

        Args:
            grace_s: How long what is on its way may take, in seconds.
        """
        self.begin_drain()
        await self._wait_for(self._attempts, grace_s)
        await self._give_up(self._attempts)
        await self._give_up(self._rests)
        await self._give_up(self._backing_off)
        await self._wait_for(self._store_work, _LAST_WRITES_TIMEOUT_S)
        self._is_closed = True
        await self._give_up(self._store_work)

    async def _wait_for(self, tasks: set[asyncio.Task[None]], timeout_s: float) -> None:
        try:
            async with self._clock.timeout(timeout_s):
                while tasks:
                    await asyncio.wait(tasks)
        except TimeoutError:
            log.warning("deliveries_given_up", count=len(tasks))

    async def _give_up(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tuple(tasks):
            task.cancel()
        while tasks:
            await asyncio.wait(tasks)

    def _services_changed(self) -> None:
        self._feed(ServicesChanged())

    def _feed(self, input_: Input) -> None:
        if self._is_closed:
            return
        for instruction in self._machine.receive(input_):
            self._begin(instruction)

    def _begin(self, instruction: Instruction) -> None:
        match instruction:
            case Deliver(message):
                _start(self._deliver(message), self._attempts)
            case Acknowledge(message_ids):
                _start(self._acknowledge(message_ids), self._store_work)
            case Rest(lane, rest, rests_in_a_row):
                _start(self._rest(Rested(lane, rest), rests_in_a_row), self._rests)
            case ReadOutbox(after, limit):
                _start(self._read(after, limit), self._store_work)
            case Park(message, reason):
                _start(self._park(message, reason), self._store_work)

    # --- Instructions ---------------------------------------------------------------------------

    async def _deliver(self, message: Message) -> None:
        try:
            attempted = await self._attempt(message)
        except CloudstateError as error:
            attempted = Attempted(message, verdict_of(error), reason_of(error))
        except Exception as error:
            log.exception("delivery_failed", message_id=message.id, destination=message.destination)
            attempted = Attempted(message, verdict_of(error), reason_of(error))
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            attempted = Attempted(message, Verdict.FAILED, "the attempt was cancelled")
        if attempted.verdict in (Verdict.FAILED, Verdict.NOT_NOW):
            log.info(
                "message_not_delivered",
                message_id=message.id,
                destination=message.destination,
                reason=attempted.reason,
            )
        self._feed(attempted)

    async def _attempt(self, message: Message) -> Attempted:
        request = request_of(message)
        service, command = request.service, request.command
        entity = self._served.entities.get(service)
        if entity is None:
            verdict = Verdict.FAILED if self._is_complete() else Verdict.NOT_NOW
            return Attempted(message, verdict, f"service {service!r} is not served here")
        if command not in entity.methods:
            reason = f"service {service!r} has no command {command!r}"
            return Attempted(message, Verdict.REFUSED, reason)
        timeout_s = self._limits.timeout_s
        # So that an attempt which was given up is not begun any more.
        request = replace(request, deadline_s=self._clock.monotonic_s() + timeout_s)
        try:
            async with self._clock.timeout(timeout_s):
                failure = await self._receiver.deliver(request)
        except TimeoutError:
            return Attempted(message, Verdict.FAILED, f"no answer within {timeout_s:g} s")
        if failure is None:
            return Attempted(message, Verdict.DONE)
        return Attempted(message, Verdict.REFUSED, f"refused: {failure.description}")

    async def _rest(self, rested: Rested, rests_in_a_row: int) -> None:
        waits = backoff_s(
            self._random, min_s=self._limits.backoff_min_s, max_s=self._limits.backoff_max_s
        )
        # The waits do not grow beyond their longest, which comes soon.
        (wait_s,) = islice(waits, min(rests_in_a_row, 64) - 1, min(rests_in_a_row, 64))
        await self._clock.sleep(wait_s)
        self._feed(rested)

    async def _acknowledge(self, message_ids: Sequence[str]) -> None:
        await self._until_stored(lambda: self._store.acknowledge(message_ids))
        self._feed(Acknowledged(message_ids))

    async def _park(self, message: Message, reason: str) -> None:
        reason = reason[:_MAX_REASON_CHARACTERS]
        await self._until_stored(lambda: self._store.park(message.id, reason))
        log.warning(
            "message_parked", message_id=message.id, destination=message.destination, reason=reason
        )
        sender = sender_of(message)
        self._report(
            sender.service,
            f"{sender.service}.{sender.command}: its message to {message.destination} is parked: "
            f"{reason}",
        )
        self._feed(Parked(message))

    async def _read(self, after: int, limit: int) -> None:
        page = await self._until_stored(
            lambda: self._store.outbox(_ALL_SLICES, after=after, limit=limit)
        )
        numbered = [Numbered(each.number, message_of(each.sender, each)) for each in page]
        self._feed(Read(numbered, is_all=len(page) < limit))

    async def _until_stored(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it does what it is asked."""
        for wait_s in backoff_s(
            self._random, min_s=self._limits.backoff_min_s, max_s=self._limits.backoff_max_s
        ):
            try:
                return await ask()
            except CloudstateError as error:
                log.warning("outbox_unavailable", reason=str(error), retry_in_s=round(wait_s, 2))
            except Exception:
                log.exception("outbox_unavailable", retry_in_s=round(wait_s, 2))
            await self._back_off(wait_s)
        raise AssertionError("the waits never end")

    async def _back_off(self, wait_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._backing_off.add(task)
        try:
            await self._clock.sleep(wait_s)
        finally:
            self._backing_off.discard(task)


@asynccontextmanager
async def open_delivery(delivery: Delivery, grace: Grace) -> AsyncIterator[Delivery]:
    """Deliver messages; in the end let those that are on their way arrive."""
    delivery.open()
    try:
        yield delivery
    finally:
        grace.begin()
        await delivery.aclose(grace.left_s())


def _start(work: Coroutine[object, object, None], running: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    running.add(task)
    task.add_done_callback(running.discard)


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
