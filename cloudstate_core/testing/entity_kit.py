"""One entity in a plain test, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import finalize

from cloudstate_core.entity import EntityDefinition
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import StateStore
from cloudstate_core.testing.async_entity_kit import PASSIVATION_TIMEOUT_S, AsyncEntityKit
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.kit.answers import Answers
from cloudstate_core.testing.kit.commands import Headers
from cloudstate_core.testing.kit.handled import Handled, KitError, PassedOn

__all__ = ["EntityKit", "KitClock"]

T = TypeVar("T")

#: How long what runs in a kit that nobody has closed may take to end, in seconds.
_END_TIMEOUT_S = 1.0


class EntityKit:
    """Drives one entity, of whatever kind, in a plain `def` test.

    The entity is served as a runtime would serve it: found through the installed plugins, with a
    store, a link to the handlers and commands one at a time; but without a socket, and with time
    that the test moves::

        def test_what_is_added_is_in_the_cart():
            kit = EntityKit(entity)

            handled = kit.handle("AddItem", AddLineItem(user_id="joe", product_id="socks"))

            assert handled.reply == Empty()
            assert handled.events == (ItemAdded(...),)

    In an `async def` test use `AsyncEntityKit`.

    Attributes:
        clock: The time, which stands still until the test moves it.
        store: Where state is kept; `run` calls its methods.
    """

    def __init__(
        self,
        entity: EntityDefinition,
        *others: EntityDefinition,
        answers: Answers | None = None,
        clock: ManualClock | None = None,
        store: StateStore | None = None,
        passivation_timeout_s: float = PASSIVATION_TIMEOUT_S,
        delivers: bool = True,
        plugins: Plugins | None = None,
    ) -> None:
        """Check the declarations; nothing is carried out yet.

        Args:
            entity: What is tested.
            others: Entities that it passes commands on to. What goes to any other service is told
                and not carried out.
            answers: What `ctx.ask` is answered, by target as `cloudstate_core.targets.target_of`
                takes it, or as a pair of service and command: a reply's message, a `Failed`, an
                exception to raise, or a function of the message that returns one of these. Or one
                function of the `PassedOn` for all. They come before `others`.
            clock: The time; a new one if not given.
            store: Where state is kept; a new memory store if not given.
            passivation_timeout_s: Idle time after which an entity leaves memory, unless it says
                otherwise, in seconds of `clock`.
            delivers: Whether asynchronous effects are carried out at the end of `handle`. If not,
                they wait for `deliver`.
            plugins: Where kinds come from; the installed plugins if not given.

        Raises:
            RegistrationError: An entity is declared wrongly.
            PluginError: The kind of an entity is not installed.
            InvalidSpec: No runtime would serve an entity.
            KitError: A key of `answers` names no command.
        """
        self._kit = AsyncEntityKit(
            entity,
            *others,
            answers=answers,
            clock=clock,
            store=store,
            passivation_timeout_s=passivation_timeout_s,
            delivers=delivers,
            plugins=plugins,
        )
        # A loop of its own, so that whatever the test does with loops is the test's own affair.
        self._loop = asyncio.new_event_loop()
        # Whatever the kit has begun must not be garbage before it has been ended.
        self._closing = finalize(self, _let_go, self._loop, self._kit)
        self.clock = KitClock(self._kit.clock, self)
        self.store = self._kit.store

    @property
    def reported(self) -> list[str]:
        """What a runtime would have told the author of the user function so far."""
        return self._kit.reported

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def handle(
        self,
        command: Any,
        message: Any,
        *,
        metadata: Headers = None,
        key: str | None = None,
        if_match: int | str | None = None,
    ) -> Handled:
        """Carry out one command as if a client had sent it, and then what it passes on.

        Side effects that the answer does not wait for are carried out as well, at the end.
        A command that is sent again with its key is not carried out again, and gets the same
        answer.

        Args:
            command: The command's bare name; or, for a service of `others`, what
                `cloudstate_core.targets.target_of` takes, such as "shop.Stock/Reserve".
            message: The command's request. It names the entity.
            metadata: The client's headers. The handler gets all of them; a runtime passes none to
                entities that it is not told to.
            key: The client's name for the command, as in the header `idempotency-key`.
            if_match: The version that the entity must have, as `Handled.version` tells it.

        Raises:
            KitError: There is no such command, it takes another message, or the handler asked for
                something that nothing answers.
            CloudstateError: What the client would be told, except for failures that the handler
                answered: `KeyReused` for another command under the same key, `VersionMismatch` for
                another version. What the handler raised is in the note and, with its traceback,
                in the log.
        """
        return self.run(
            self._kit.handle(command, message, metadata=metadata, key=key, if_match=if_match)
        )

    def stream(self, command: Any, messages: Any, *, metadata: Headers = None) -> list[Handled]:
        """Carry out a streamed command and return one `Handled` for each of its answers.

        Args:
            command: As in `handle`.
            messages: An iterable of requests; one request for a command that takes one.
            metadata: As in `handle`.

        Raises:
            KitError: As in `handle`.
            CloudstateError: As in `handle`.
        """

        async def collected() -> list[Handled]:
            answers = self._kit.stream(command, messages, metadata=metadata)
            return [handled async for handled in answers]

        return self.run(collected())

    def outbox(self) -> list[PassedOn]:
        """Return the messages that wait to be delivered, in the order in which they were stored.

        They are the asynchronous effects of stateful entities, and are stored with what the command
        changed. Those on services that the kit does not have wait for ever.
        """
        return self.run(self._kit.outbox())

    def deliver(self) -> list[PassedOn]:
        """Deliver what waits in the outbox, and what that causes; return it with the answers.

        A message has its effect once, however often it comes.

        Raises:
            CloudstateError: A message could not be delivered. It stays in the outbox, as those
                after it do.
        """
        return self.run(self._kit.deliver())

    def crash(self) -> None:
        """Lose everything that is not in the store, as a process does that is killed.

        The next command finds its entity as the store has it: from the snapshot and the events
        after it, or the value.
        """
        self.run(self._kit.crash())

    def state(self, entity_id: str) -> Any:
        """Return a copy of an entity's state, as its next handler would get it.

        It is what handlers hold in memory, if the kind shows that, else the stored value.

        Raises:
            KitError: The kind shows no state.
        """
        return self.run(self._kit.state(entity_id))

    def events(self, entity_id: str) -> list[Any]:
        """Return all events that an entity has stored, in order."""
        return self.run(self._kit.events(entity_id))

    def is_live(self, entity_id: str) -> bool:
        """Return whether an entity is in memory."""
        return self._kit.is_live(entity_id)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the kit's loop, such as a call of `store`, and return its result.

        Raises:
            KitError: A loop runs already, or the kit is closed. Nothing was done.
        """
        reason = "this kit is closed" if self._loop.is_closed() else ""
        with suppress(RuntimeError):  # there is none, and errors of handlers must not tell of it
            asyncio.get_running_loop()
            reason = "EntityKit is for plain tests; in an `async def` use AsyncEntityKit"
        if not reason:
            return self._loop.run_until_complete(coroutine)
        coroutine.close()
        raise KitError(reason)

    def close(self) -> None:
        """End everything that runs or is in memory. Nothing must be called after it.

        Only a test whose handlers leave threads or slow tasks behind needs it.
        """
        if self._closing.alive:
            self.run(self._kit.aclose())
            self._loop.run_until_complete(_end_others())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._closing()


class KitClock:
    """The time of an `EntityKit`."""

    def __init__(self, clock: ManualClock, kit: EntityKit) -> None:
        """Move `clock` in the loop of `kit`."""
        self._clock = clock
        self._kit = kit

    def monotonic_s(self) -> float:
        """Return seconds since the kit was made."""
        return self._clock.monotonic_s()

    def unix_time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return self._clock.unix_time_s()

    def advance(self, delay_s: float) -> None:
        """Let `delay_s` seconds go by; see `ManualClock.advance`."""
        self._kit.run(self._clock.advance(delay_s))


def _let_go(loop: asyncio.AbstractEventLoop, kit: AsyncEntityKit) -> None:
    """Close the loop of a kit that nobody has closed, after what runs in it."""
    if asyncio.all_tasks(loop):
        # Kits are collected at any time, also while another loop runs in this thread.
        if _is_in_a_loop():
            ending = Thread(target=lambda: loop.run_until_complete(_end(kit)))
            ending.start()
            ending.join()
        else:
            loop.run_until_complete(_end(kit))
    loop.close()


async def _end(kit: AsyncEntityKit) -> None:
    with suppress(Exception):  # nobody is there to be told
        async with asyncio.timeout(_END_TIMEOUT_S):
            await kit.aclose()
            await _end_others()


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
