"""The one commit of a command: what its kind writes, and what belongs to a command of any kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

from cloudstate.entity_pb2 import ClientAction, Forward, Reply, SideEffect
from cloudstate_core.durable.messages import Message, enqueued, message_of
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.errors import AlreadyReceived, CloudstateError, StoreUnavailable
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.store import (
    Commit,
    EnqueueMessage,
    EntityKey,
    Received,
    StateStore,
    Write,
)

__all__ = ["Committer", "Destinations", "Postman"]

#: Random bits in a message's name: enough that no two are ever the same.
_ID_BITS = 128


class Destinations(Protocol):
    """Where commands pass on to, as far as a commit has to know."""

    def passed_on(self, request: Request, target: Forward | SideEffect, /) -> Request:
        """Return the request that a forward or a side effect makes.

        Raises:
            RoutingError: It leads nowhere; the author was told.
        """
        ...

    def entity_id(self, passed_on: Request, /) -> str:
        """Return for which entity a request is that was passed on; empty if it names none.

        Raises:
            RoutingError: Its message cannot be read or misses its key; the author was told.
        """
        ...

    def misrouted(self, passed_on: Request, reason: str, /) -> CloudstateError:
        """Return what to raise for a request that leads nowhere, after telling its author."""
        ...


class Postman(Protocol):
    """Who delivers messages, as far as a commit has to know."""

    def announce(self, message_ids: Iterable[str]) -> None:
        """Messages of these names are about to be stored: leave them alone until then."""
        ...

    def take(self, messages: Sequence[Message]) -> None:
        """These are stored, and nobody else will deliver them."""
        ...

    def revoke(self, message_ids: Iterable[str], *, may_be_stored: bool) -> None:
        """These were not stored; or nobody knows."""
        ...


class Committer:
    """Stores what commands change.

    To what the kind writes come, in the same commit, the messages that the command sends, the note
    that it was brought by a message, and the answer under the caller's name for it. What the
    command passes on is looked at before, so that a command which passes on to nowhere changes
    nothing.
    """

    def __init__(
        self,
        store: StateStore,
        epoch: int,
        targets: Destinations,
        postman: Postman,
        memory: Memory,
        random: Random,
        *,
        max_message_hops: int,
    ) -> None:
        """Keep the collaborators.

        Args:
            store: Where state is kept.
            epoch: The epoch to commit under.
            targets: Where commands pass on to.
            postman: Delivers what is stored.
            memory: How answers are remembered.
            random: For the names of messages.
            max_message_hops: Through how many messages, one causing the next, a command may come.
        """
        self._store = store
        self._epoch = epoch
        self._targets = targets
        self._postman = postman
        self._memory = memory
        self._random = random
        self._max_message_hops = max_message_hops

    async def commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        """Make everything that one command changes durable, in one commit, or nothing.

        Returns:
            The outcome, with what is still to be done by whoever waits for the answer.

        Raises:
            RoutingError: It passes on to nowhere. Nothing was written, and its author was told.
            AlreadyReceived: The message that brings it had its effect before. Nothing was written.
            StoreError: As `StateStore.commit` says.
        """
        conditions = request.conditions
        if (
            conditions is None
            and not outcome.side_effects
            and outcome.action.WhichOneof("action") != "forward"
        ):
            if writes:
                await self._store.commit(Commit(key, self._epoch, tuple(writes)))
            return outcome
        if conditions is not None and conditions.message_id:
            return await self._commit_of_message(request, key, writes, outcome)
        return await self._commit_of_call(request, key, writes, outcome)

    async def _commit_of_call(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        """Store the command of a caller, who waits for the answer and what is synchronous in it."""
        sent: list[SideEffect] = []
        left: list[SideEffect] = []
        for effect in outcome.side_effects:
            (left if effect.synchronous else sent).append(effect)
        if outcome.action.HasField("forward"):
            self._targets.passed_on(request, outcome.action.forward)
        for effect in left:
            self._targets.passed_on(request, effect)
        messages = self._messages(request, sent)
        if messages:
            outcome = replace(outcome, side_effects=tuple(left))
        remembered = self._memory.write_of(request, outcome)
        notes = () if remembered is None else (remembered,)
        await self._write(key, (*writes, *notes), messages)
        return outcome

    async def _commit_of_message(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        """Store a command that a message brings.

        Nobody waits for its answer. So everything it passes on becomes a message as well: then
        nothing is left to be done that could be lost between this commit and the message's end.
        """
        assert request.conditions is not None
        message_id = request.conditions.message_id
        effects = list(outcome.side_effects)
        if outcome.action.HasField("forward"):
            effects.append(_as_effect(outcome.action.forward))
        messages = self._messages(request, effects)
        if outcome.action.HasField("forward"):
            left = Outcome(ClientAction(reply=Reply()), version=outcome.version)
        else:
            left = replace(outcome, side_effects=())
        if not outcome.action.HasField("failure"):
            await self._write(key, (*writes, Received(message_id)), messages)
        elif messages:
            # A refusal is no effect of the message, and whoever retries it asks again; but what it
            # made the handler send is sent once.
            try:
                await self._write(key, (*writes, Received(f"{message_id}.refused")), messages)
            except AlreadyReceived:
                if writes:
                    raise
        elif writes:
            await self._write(key, writes, messages)
        return left

    def _messages(self, request: Request, effects: Sequence[SideEffect]) -> list[EnqueueMessage]:
        """Return what puts side effects into the outbox.

        Raises:
            RoutingError: One of them leads nowhere, or there is no end to messages.
        """
        messages = []
        for effect in effects:
            target = self._targets.passed_on(request, effect)
            hops = 0 if request.conditions is None else request.conditions.message_hops
            if hops >= self._max_message_hops:
                raise self._targets.misrouted(
                    target, f"more than {self._max_message_hops} messages, one causing the next"
                )
            # A name of its own, not one derived from the message that brought the command: the
            # notes of derived ones are forgotten as soon as that message is done.
            name = f"{self._random.getrandbits(_ID_BITS):032x}"
            entity_id = self._targets.entity_id(target)
            messages.append(enqueued(request, effect, entity_id, name))
        return messages

    async def _write(
        self, key: EntityKey, writes: Sequence[Write], messages: Sequence[EnqueueMessage]
    ) -> None:
        if not messages:
            if writes:
                await self._store.commit(Commit(key, self._epoch, tuple(writes)))
            return
        names = [message.message_id for message in messages]
        # Before they are stored: whoever reads the outbox meanwhile must not deliver them too.
        self._postman.announce(names)
        try:
            await self._store.commit(Commit(key, self._epoch, (*writes, *messages)))
        except (CloudstateError, ValueError) as error:
            self._postman.revoke(names, may_be_stored=isinstance(error, StoreUnavailable))
            raise
        except BaseException:
            self._postman.revoke(names, may_be_stored=True)
            raise
        self._postman.take([message_of(key, each) for each in messages])


def _as_effect(forward: Forward) -> SideEffect:
    effect = SideEffect(
        service_name=forward.service_name,
        command_name=forward.command_name,
        payload=forward.payload,
    )
    if forward.HasField("metadata"):
        effect.metadata.CopyFrom(forward.metadata)
    return effect
