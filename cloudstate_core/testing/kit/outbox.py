"""Messages that wait in a test: stored with the commands that sent them, as in a runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloudstate.entity_pb2 import Forward, SideEffect
from cloudstate_core.durable.messages import Message, message_of
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CloudstateError
from cloudstate_core.handler import Conditions, Hop, Request
from cloudstate_core.metadata import Metadata
from cloudstate_core.passing_on import Targets
from cloudstate_core.store import SLICES, StateStore
from cloudstate_core.testing.kit.handled import PassedOn, unpacked

__all__ = ["Destinations", "Outbox", "told"]

#: How often a command may be passed on. It is the runtime's default.
_MAX_HOPS = 16

#: How many messages are read from the store at once.
_PAGE_MESSAGES = 500


class Destinations:
    """Where commands of a kit lead: to its own services as in a runtime, or out of the kit."""

    def __init__(self, entities: Mapping[str, DeployedEntity], reported: list[str]) -> None:
        """Keep the kit's services, and where their authors are told what is wrong."""
        self.entities = entities
        self._targets = Targets(
            self, lambda _, message: reported.append(message), max_hops=_MAX_HOPS
        )

    def passed_on(
        self, request: Request, target: Forward | SideEffect, conditions: Conditions | None = None
    ) -> Request:
        """Return the request that a forward or a side effect makes; see `Targets.passed_on`."""
        if target.service_name in self.entities:
            return self._targets.passed_on(request, target, conditions)
        return Request(
            target.service_name,
            target.command_name,
            target.payload,
            Metadata.from_wire(target.metadata),
            hops=(*request.hops, Hop(request.service, request.command, "side effect")),
            conditions=conditions,
        )

    def entity_id(self, passed_on: Request) -> str:
        """Return for which entity it is; empty if the kit does not know."""
        return self._targets.entity_id(passed_on) if passed_on.service in self.entities else ""

    def misrouted(self, passed_on: Request, reason: str) -> CloudstateError:
        """Return what to raise for a request that leads nowhere."""
        return self._targets.misrouted(passed_on, reason)


class Outbox:
    """The messages that commands have stored; it is the `Postman` of a kit."""

    def __init__(self, store: StateStore) -> None:
        """Start with none in memory; what the store holds is found by `waiting`."""
        self._taken: list[Message] = []
        self._store = store
        # By name, so that the test that was told of a message is told what came of it.
        self._told: dict[str, PassedOn] = {}

    def announce(self, message_ids: Iterable[str]) -> None:
        """Do nothing: nobody reads the outbox while a command runs."""

    def take(self, messages: Sequence[Message]) -> None:
        """Keep what was stored."""
        self._taken += messages

    def take_out(self) -> list[Message]:
        """Return what was stored since the last time, in order."""
        taken, self._taken = self._taken, []
        return taken

    def revoke(self, message_ids: Iterable[str], *, may_be_stored: bool) -> None:
        """Do nothing: what was stored is in the store."""

    def told(self, message: Message) -> PassedOn:
        """Return what the test is told of a message, always the same."""
        passed = self._told.get(message.id)
        if passed is None:
            effect = SideEffect()
            message.payload.Unpack(effect)
            passed = self._told[message.id] = told(effect)
        return passed

    async def waiting(self) -> list[Message]:
        """Return all messages that wait in the store, the oldest first."""
        found: list[Message] = []
        after = 0
        while True:
            page = await self._store.outbox(range(SLICES), after=after, limit=_PAGE_MESSAGES)
            found += [message_of(each.sender, each) for each in page]
            if len(page) < _PAGE_MESSAGES:
                return found
            after = page[-1].number

    async def done(self, message: Message) -> None:
        """Take a message out, for good."""
        self._told.pop(message.id, None)
        await self._store.acknowledge([message.id])


def told(passed_on: Forward | SideEffect) -> PassedOn:
    """Return what the test is told of a command that was passed on."""
    return PassedOn(
        passed_on.service_name,
        passed_on.command_name,
        unpacked(passed_on.payload),
        Metadata.from_wire(passed_on.metadata),
        isinstance(passed_on, SideEffect) and passed_on.synchronous,
    )
