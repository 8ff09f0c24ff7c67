"""The whole of a runtime that a test of an entity needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from cloudstate_core.clock import Clock
from cloudstate_core.durable.preconditions import check_no_version
from cloudstate_core.entity import DeployedEntity, EntityDefinition
from cloudstate_core.entity_key import entity_id_reader
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.kind import EntityKind
from cloudstate_core.metadata import Metadata
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import EntityKey, StateStore
from cloudstate_core.testing.kit.answers import CannedAnswers
from cloudstate_core.testing.kit.deployed import deployed
from cloudstate_core.testing.kit.handled import (
    Failed,
    Handled,
    KitError,
    PassedOn,
    answer_in,
    unpacked,
)
from cloudstate_core.testing.kit.host import KitHost, WatchedLink
from cloudstate_core.testing.kit.outbox import Destinations, Outbox
from cloudstate_core.testing.kit.services import Course, Services
from cloudstate_core.testing.kit.shown_state import ShownState, ShownStates

__all__ = ["KitRuntime"]

#: How many events are read from the store at once.
_PAGE_EVENTS = 500


class KitRuntime:
    """Carries out commands and tells what came of them.

    Attributes:
        served: The services by name.
        host: What the kinds are given.
    """

    def __init__(
        self,
        entities: Sequence[EntityDefinition],
        plugins: Plugins,
        answers: CannedAnswers,
        clock: Clock,
        store: StateStore,
        passivation_timeout_s: float,
        *,
        delivers: bool,
    ) -> None:
        """Check the declarations; `open` begins.

        Raises:
            RegistrationError: An entity is declared wrongly.
            PluginError: The kind of an entity is not installed.
            InvalidSpec: No runtime would serve an entity.
        """
        function = UserFunction(entities, plugins, is_complete=False)
        self.served: dict[str, DeployedEntity] = {}
        reported: list[str] = []
        destinations, outbox = Destinations(self.served, reported), Outbox(store)
        self._services = Services(answers, destinations, outbox, delivers=delivers)
        function.caller.connect(self._services)
        link = WatchedLink(function, clock)
        self.host = KitHost(
            link, store, clock, passivation_timeout_s, destinations, outbox, reported
        )
        self.host.tell_of_commits(self._services.committed)
        self._kinds: dict[str, EntityKind] = {}
        for entity in function.entities:
            kind = plugins.kind_of(entity.entity_type)
            assert kind is not None, "the user function has found the kind of each entity"
            name = str(entity.service.full_name)
            self.served[name], self._kinds[name] = deployed(entity, kind), kind
        self._states = ShownStates()
        self._opened: AsyncExitStack | None = None

    async def open(self) -> None:
        """Take commands, if that has not begun."""
        if self._opened is not None:
            return
        async with AsyncExitStack() as opened:
            for name, entity in self.served.items():
                handler = self._kinds[name].open_handler(entity, self.host)
                self._services.handlers[name] = await opened.enter_async_context(handler)
            await self.host.restart()
            self._opened = opened.pop_all()

    async def restart(self) -> None:
        """Lose everything that is not in the store."""
        self._states.settle()
        if all(map(self.host.holds, self.served)):
            await self.host.restart()
            return
        # A kind with a home of its own for its entities: it has to leave it.
        await self.aclose()
        await self.open()

    async def aclose(self) -> None:
        """Let go of everything in memory."""
        self._states.settle()
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()

    async def handle(self, request: Request) -> Handled:
        """Carry out a command, and then what it passes on.

        Raises:
            KitError: The test made a mistake that only the handler could meet.
            CloudstateError: What the client would be told, with the reason as a note.
        """
        entity_id = self._entity_id(request)
        self._states.settle()
        before = await self._last_sequence(request.service, entity_id)
        course = Course()
        if request.service not in self.host.regions:
            check_no_version(request)
        outcome = await self._services.carry_out(request, course)
        entity_id = entity_id or self._named_entity_id(request)
        handled = Handled(
            entity_id=entity_id,
            asked=tuple(course.asked),
            events=tuple(await self.events(request.service, entity_id, after=before)),
            version=outcome.version,
            _state=await self.state(request.service, entity_id),
        )
        if outcome.side_effects or course.sent or outcome.action.HasField("forward"):
            self._states.settle()  # they may come back to the entity
        return await self._finished(request, outcome, course, handled)

    async def stream(self, request: Request) -> AsyncGenerator[Handled, None]:
        """Carry out a streamed command; yield what each answer came to."""
        self._states.settle()
        course = Course()
        async with aclosing(self._services.stream(request, course)) as outcomes:
            async for outcome in outcomes:
                asked = tuple(course.asked)
                course.asked.clear()
                yield await self._finished(request, outcome, course, Handled(asked=asked))

    async def deliver(self) -> list[PassedOn]:
        """Deliver what waits in the outbox; tell what came of it."""
        self._states.settle()
        try:
            return await self._services.deliver()
        finally:
            self._services.give_up()

    async def outbox(self) -> list[PassedOn]:
        """Tell what waits in the outbox."""
        return await self._services.waiting()

    async def state(self, service: str, entity_id: str) -> ShownState:
        """Return the state of an entity as it is now."""
        self._states.settle()  # if it was idle for long, it leaves memory and comes back
        region = self.host.regions.get(service)
        if not entity_id:
            return ShownState(lambda: None)
        if region is None:
            return await self._state_elsewhere(service, entity_id)
        conversation = await region.conversation(entity_id)
        if conversation is not None and hasattr(conversation, "state"):
            return self._states.show(lambda: conversation.state)
        stored = await self.host.store.value(self._key(service, entity_id))
        if stored.revision:
            return ShownState(lambda: None if stored.value is None else unpacked(stored.value))
        return ShownState(partial(_refuse_state, self._kinds[service].name))

    async def _state_elsewhere(self, service: str, entity_id: str) -> ShownState:
        """Return the state of an entity whose kind has a home of its own for it."""
        conversation = await self.host.conversation(service, entity_id)
        if conversation is None:
            return ShownState(lambda: None)
        return self._states.show(lambda: conversation.state)

    async def events(self, service: str, entity_id: str, *, after: int = 0) -> list[Any]:
        """Return the events that an entity has stored, later ones than `after`."""
        if service not in self.host.regions or not entity_id:
            return []
        found: list[Any] = []
        while True:
            page = await self.host.store.events(
                self._key(service, entity_id), after=after, limit=_PAGE_EVENTS
            )
            found += [unpacked(event.payload) for event in page]
            if len(page) < _PAGE_EVENTS:
                return found
            after = page[-1].sequence

    async def _finished(
        self, request: Request, outcome: Outcome, course: Course, handled: Handled
    ) -> Handled:
        """Carry out what a command passes on, and complete what is told of the command."""
        services, action = self._services, outcome.action
        forward = None
        try:
            effects = await services.pass_on(request, outcome, course)
            if action.HasField("forward"):
                forward, action = await services.follow(request, action.forward)
            await services.finish()
        finally:
            services.give_up()
        answer = answer_in(action)
        failed = isinstance(answer, Failed)
        return replace(
            handled,
            reply=None if failed else answer,
            failure=answer if failed else None,
            forward=forward,
            effects=tuple(effects),
            metadata=Metadata.from_wire(action.reply.metadata),
        )

    def _entity_id(self, request: Request) -> str:
        region = self.host.regions.get(request.service)
        return "" if region is None else region.entity_id_of(request)

    def _named_entity_id(self, request: Request) -> str:
        """Return which entity a request was for, if its kind has a home of its own for it."""
        method = self.served[request.service].methods[request.command]
        if not method.key_fields:
            return ""
        entity_id = entity_id_reader(method)(request.payload.value)
        is_known = self.host.watched.conversation(request.service, entity_id) is not None
        return entity_id if is_known else ""

    async def _last_sequence(self, service: str, entity_id: str) -> int:
        return (
            await self.host.store.last_sequence(self._key(service, entity_id)) if entity_id else 0
        )

    def _key(self, service: str, entity_id: str) -> EntityKey:
        return EntityKey(self.served[service].persistence_id, entity_id)


def _refuse_state(kind: str) -> NoReturn:
    raise KitError(f"kind {kind!r} shows no state: look at it with a command that tells it")
