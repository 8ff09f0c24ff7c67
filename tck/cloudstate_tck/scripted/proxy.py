"""The smallest proxy for model entities that does everything right: here for event sourced ones.

It keeps events in memory and trusts the user function; it is what negative controls are derived
from: subclasses break one rule each. `scripted.proxy_server` gives it gRPC and HTTP.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc.aio
from google.protobuf.message import Message

from cloudstate.entity_pb2 import ClientAction, EntitySpec, Failure, ProxyInfo, SideEffect
from cloudstate_core.cancelling import was_cancelled
from cloudstate_core.links import Rpc
from cloudstate_tck.event_sourced_messages import command, event, init
from cloudstate_tck.function_client import proxy_info
from cloudstate_tck.model.eventsourced_pb2 import Persisted, Request, Response
from cloudstate_tck.protocol import EVENT_SOURCED

__all__ = ["Activation", "FunctionFailed", "Journal", "ScriptedProxy"]


class FunctionFailed(Exception):
    """The user function answered with a failure; the text is for the client."""


@dataclass(slots=True)
class Journal:
    """What is stored of one entity: all events, and the newest snapshot with its sequence."""

    events: list[str] = field(default_factory=list)
    snapshot: tuple[int, str] | None = None


class Activation:
    """One stream to the user function."""

    def __init__(self, call: Any, rpc: Rpc[Any, Any]) -> None:
        self._call = call
        self._rpc = rpc
        self.command_id = 0

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages."""
        for message in messages:
            await self._call.write(message)

    async def receive(self) -> Any:
        """Return the next message, or an empty one at the end of the stream."""
        message = await self._call.read()
        return self._rpc.response_class() if message is grpc.aio.EOF else message

    def cut(self) -> None:
        """End the stream without waiting for the user function."""
        self._call.cancel()

    async def complete(self) -> None:
        """Half-close and read to the end, unless the stream is over anyhow."""
        if self._call.done():
            return
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
            while await self._call.read() is not grpc.aio.EOF:
                pass
        # `grpc.aio` tells a task that is cancelled how the call ended, in place of that.
        if was_cancelled():
            raise asyncio.CancelledError


class ScriptedProxy:
    """Entities with their journals; one command at a time for each.

    Attributes:
        rpc: The protocol's method for entities of the kind.
        request_class: What the commands of the model entities take.
        response_class: What they answer with.
    """

    rpc: ClassVar[Rpc[Any, Any]] = EVENT_SOURCED
    request_class: ClassVar[type[Any]] = Request
    response_class: ClassVar[type[Any]] = Response

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Talk to the user function behind a channel."""
        self._channel = channel
        self.spec = EntitySpec()
        self._journals: defaultdict[tuple[str, str], Any] = defaultdict(self.new_journal)
        self._active: dict[tuple[str, str], Activation] = {}
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- The rules, each to be broken by a subclass -----------------------------------------

    def info(self) -> ProxyInfo:
        """Return what this proxy says of itself."""
        return proxy_info()

    def new_journal(self) -> Any:
        """Return what is stored of an entity that nothing is stored of."""
        return Journal()

    def start(self, service: str, entity_id: str, journal: Any) -> list[Any]:
        """Return the first messages of a stream."""
        covered = journal.snapshot[0] if journal.snapshot is not None else 0
        stored = list(enumerate(journal.events, start=1))[covered:]
        return [
            init(service, entity_id, journal.snapshot),
            *(event(sequence, value) for sequence, value in stored),
        ]

    def command(self, entity_id: str, activation: Activation, name: str, request: Any) -> Message:
        """Return the next command of an activation."""
        activation.command_id += 1
        return command(entity_id, activation.command_id, request, name)

    def store(self, journal: Any, reply: Any) -> None:
        """Keep the events of a reply, and its snapshot."""
        if reply.client_action.HasField("failure"):
            return
        journal.events += [Persisted.FromString(each.value).value for each in reply.events]
        if reply.events and reply.HasField("snapshot"):
            state = Persisted.FromString(reply.snapshot.value).value
            journal.snapshot = (len(journal.events), state)

    def description(self, failure: Failure) -> str:
        """Return what the client is told of a failure."""
        return failure.description

    async def restart(self, service: str, entity_id: str) -> None:
        """Complete the stream of an entity and open a new one."""
        await self.passivate(service, entity_id)
        await self.activate(service, entity_id)

    async def carry_out(self, effect: SideEffect) -> None:
        """Call the target of a side effect."""
        target = self.request_class.FromString(effect.payload.value)
        await self.handle(effect.service_name, effect.command_name, target)

    async def idle(self, service: str, entity_id: str) -> None:
        """Passivate an entity when its time is over."""
        timeout_ms = next(
            entity.passivation_strategy.timeout.timeout
            for entity in self.spec.entities
            if entity.service_name == service
        )
        if timeout_ms:
            await asyncio.sleep(timeout_ms / 1000)
            await self.passivate(service, entity_id)

    # --- How commands go ---------------------------------------------------------------------

    async def handle(self, service: str, name: str, request: Any) -> Any:
        """Carry out one command of a client.

        Raises:
            FunctionFailed: If the user function answers with a failure.
        """
        async with self._turns[service, request.id]:
            action, effects = await self._turn(service, name, request)
        for effect in effects:
            await self.carry_out(effect)
        if action.HasField("forward"):
            target = self.request_class.FromString(action.forward.payload.value)
            return await self.handle(
                action.forward.service_name, action.forward.command_name, target
            )
        if action.HasField("reply"):
            return self.response_class.FromString(action.reply.payload.value)
        raise FunctionFailed(self.description(action.failure))

    async def _turn(
        self, service: str, name: str, request: Any
    ) -> tuple[ClientAction, Sequence[SideEffect]]:
        activation = self._active.get((service, request.id))
        if activation is None:
            activation = await self.activate(service, request.id)
        await activation.send([self.command(request.id, activation, name, request)])
        reply = (await activation.receive()).reply
        self.store(self._journals[service, request.id], reply)
        if reply.client_action.failure.restart:
            await self.restart(service, request.id)
        else:
            self._in_background(self.idle(service, request.id))
        return reply.client_action, reply.side_effects

    async def activate(self, service: str, entity_id: str) -> Activation:
        """Open a stream for an entity."""
        open_stream: Any = self._channel.stream_stream(
            self.rpc.path,
            request_serializer=self.rpc.request_class.SerializeToString,
            response_deserializer=self.rpc.response_class.FromString,
        )
        activation = self._active[service, entity_id] = Activation(open_stream(), self.rpc)
        journal = self._journals[service, entity_id]
        await activation.send(self.start(service, entity_id, journal))
        return activation

    async def passivate(self, service: str, entity_id: str) -> None:
        """Complete the stream of an entity, if it has one."""
        activation = self._active.pop((service, entity_id), None)
        if activation is not None:
            await activation.complete()

    async def aclose(self) -> None:
        """Cut every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for activation in self._active.values():
            activation.cut()

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
