"""One entity in an asynchronous test, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from types import TracebackType
from typing import Any, Self

from cloudstate_core.entity import EntityDefinition
from cloudstate_core.plugins import Plugins, load_plugins
from cloudstate_core.store import StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_core.testing.kit.answers import Answers, CannedAnswers
from cloudstate_core.testing.kit.commands import (
    Headers,
    called_request,
    conditions,
    streamed_request,
)
from cloudstate_core.testing.kit.handled import Handled, PassedOn
from cloudstate_core.testing.kit.runtime import KitRuntime

__all__ = ["PASSIVATION_TIMEOUT_S", "AsyncEntityKit"]

#: Idle time after which an entity leaves memory, in seconds. It is the runtime's default.
PASSIVATION_TIMEOUT_S = 30.0

_installed_plugins = cache(load_plugins)


class AsyncEntityKit:
    """Drives one entity, of whatever kind, in an `async def` test.

    Everything is as in `EntityKit`, whose docstrings say it all, but that what takes time is
    awaited: `await kit.handle(...)`, `await kit.crash()`, `await kit.clock.advance(...)`,
    `await kit.store.events(...)`. Commands are carried out one at a time.

    Attributes:
        clock: The time, which stands still until the test moves it.
        store: Where state is kept.
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
        """Check the declarations; nothing is opened yet. `EntityKit` tells of the arguments."""
        self.clock = clock or ManualClock()
        self.store = store or MemoryStore(self.clock)
        self._service = str(entity.service.full_name)
        self._runtime = KitRuntime(
            (entity, *others),
            plugins or _installed_plugins(),
            CannedAnswers(answers or {}),
            self.clock,
            self.store,
            passivation_timeout_s,
            delivers=delivers,
        )
        self._turn = asyncio.Lock()

    @property
    def reported(self) -> list[str]:
        """What a runtime would have told the author of the user function so far."""
        return self._runtime.host.reported

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def handle(
        self,
        command: Any,
        message: Any,
        *,
        metadata: Headers = None,
        key: str | None = None,
        if_match: int | str | None = None,
    ) -> Handled:
        """Carry out one command; see `EntityKit.handle`."""
        request = called_request(
            self._runtime.served,
            self._service,
            command,
            message,
            metadata,
            conditions(key, if_match),
        )
        async with self._turn:
            await self._runtime.open()
            return await self._runtime.handle(request)

    async def stream(
        self, command: Any, messages: Any, *, metadata: Headers = None
    ) -> AsyncGenerator[Handled, None]:
        """Carry out a streamed command and yield one `Handled` for each of its answers.

        Nothing goes on in advance of who asks. `messages` may also be an asynchronous iterable;
        closing the generator is a client that hangs up.
        """
        request = streamed_request(self._runtime.served, self._service, command, messages, metadata)
        await self._runtime.open()
        async with aclosing(self._runtime.stream(request)) as answers:
            async for handled in answers:
                yield handled

    async def outbox(self) -> list[PassedOn]:
        """Return the messages that wait to be delivered; see `EntityKit.outbox`."""
        async with self._turn:
            await self._runtime.open()
            return await self._runtime.outbox()

    async def deliver(self) -> list[PassedOn]:
        """Deliver what waits in the outbox; see `EntityKit.deliver`."""
        async with self._turn:
            await self._runtime.open()
            return await self._runtime.deliver()

    async def crash(self) -> None:
        """Lose everything that is not in the store; see `EntityKit.crash`."""
        async with self._turn:
            await self._runtime.open()
            await self._runtime.restart()

    async def state(self, entity_id: str) -> Any:
        """Return a copy of an entity's state; see `EntityKit.state`."""
        async with self._turn:
            await self._runtime.open()
            found = await self._runtime.state(self._service, entity_id)
        return found()

    async def events(self, entity_id: str) -> list[Any]:
        """Return all events that an entity has stored, in order."""
        await self._runtime.open()
        return await self._runtime.events(self._service, entity_id)

    def is_live(self, entity_id: str) -> bool:
        """Return whether an entity is in memory."""
        region = self._runtime.host.regions.get(self._service)
        return region is not None and region.is_live(entity_id)

    async def aclose(self) -> None:
        """Let go of everything in memory. A later command begins again from the store."""
        await self._runtime.aclose()
