"""The smallest proxy for the model CRDT entities that does everything right on one node.

It keeps states in memory and trusts the user function; it is what negative controls are derived
from: subclasses break one rule each. `scripted.proxy_server` gives it gRPC and HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToJson, Parse

from cloudstate.crdt_pb2 import (
    CrdtDelta,
    CrdtReply,
    CrdtStateAction,
    CrdtStreamedMessage,
    CrdtStreamIn,
    CrdtStreamOut,
)
from cloudstate.entity_pb2 import ClientAction, EntitySpec, Failure, ProxyInfo, SideEffect
from cloudstate_core.cancelling import was_cancelled
from cloudstate_tck.crdt_messages import MODEL, cancel, command, init
from cloudstate_tck.crdt_values import vote_update
from cloudstate_tck.function_client import proxy_info
from cloudstate_tck.model.crdt_pb2 import Request, Response, StreamedRequest
from cloudstate_tck.protocol import CRDT
from cloudstate_tck.proxy_client import REFLECTION
from cloudstate_tck.scripted.crdt_types import Value, new_value
from cloudstate_tck.scripted.proxy import FunctionFailed
from cloudstate_tck.scripted.proxy_server import BareFront

__all__ = ["CrdtFront", "CrdtProxy", "Key"]

#: Service and entity id.
Key = tuple[str, str]

MODEL_PREFIX = "/tck/model/crdt/"


class Activation:
    """One stream to the user function, with everything that waits for a message on it.

    Attributes:
        command_id: The last command's.
        stray: Set once there was a reply that no command waits for.
        reading: Runs until the user function ends the stream.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self.command_id = 0
        self._writing = asyncio.Lock()
        self._replies: defaultdict[int, asyncio.Future[CrdtReply]] = defaultdict(asyncio.Future)
        self._pushed: defaultdict[int, asyncio.Queue[CrdtStreamedMessage]]
        self._pushed = defaultdict(asyncio.Queue)
        self._settled: defaultdict[int, asyncio.Future[CrdtStateAction]]
        self._settled = defaultdict(asyncio.Future)
        self.stray = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    async def send(self, message: CrdtStreamIn) -> None:
        """Send a message."""
        async with self._writing:
            await self._call.write(message)

    async def reply(self, command_id: int) -> CrdtReply:
        """Wait for the reply to a command."""
        return await self._replies[command_id]

    async def pushed(self, command_id: int) -> CrdtStreamedMessage:
        """Wait for the next element of a streamed command."""
        return await self._pushed[command_id].get()

    async def settled(self, command_id: int) -> CrdtStateAction:
        """Wait for the answer to a cancellation."""
        return await self._settled[command_id]

    async def complete(self) -> None:
        """Half-close and read to the end."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
            await self.reading
        # `grpc.aio` tells a task that is cancelled how the call ended, in place of that.
        if was_cancelled():
            raise asyncio.CancelledError

    async def cut(self) -> None:
        """End the stream without waiting for the user function."""
        self._call.cancel()
        self.reading.cancel()
        await asyncio.wait([self.reading])

    async def _read(self) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            self._take(message)
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_exception(FunctionFailed("the stream is over"))

    def _take(self, message: CrdtStreamOut) -> None:
        match message.WhichOneof("message"):
            case "reply":
                self._take_reply(message.reply)
            case "streamed_message":
                pushed = message.streamed_message
                self._pushed[pushed.command_id].put_nowait(pushed)
            case "stream_cancelled_response":
                response = message.stream_cancelled_response
                self._settled[response.command_id].set_result(response.state_action)

    def _take_reply(self, reply: CrdtReply) -> None:
        waiting = self._replies[reply.command_id]
        if 0 < reply.command_id <= self.command_id and not waiting.done():
            waiting.set_result(reply)
        else:
            self.stray.set()


class CrdtProxy:
    """Entities with their states; any number of commands at once."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Talk to the user function behind a channel."""
        self._channel = channel
        self.spec = EntitySpec()
        self._values: dict[Key, Value] = {}
        self._deleted: set[Key] = set()
        self._active: dict[Key, Activation] = {}
        self._starting: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()

    # --- The rules, each to be broken by a subclass ---------------------------------------

    def info(self) -> ProxyInfo:
        """Return what this proxy says of itself."""
        return proxy_info()

    def start(self, key: Key) -> list[CrdtStreamIn]:
        """Return the first messages of a stream."""
        value = self._values.get(key)
        return [init(*key, None if value is None else value.whole())]

    def command(
        self, key: Key, activation: Activation, name: str, payload: Request | StreamedRequest
    ) -> CrdtStreamIn:
        """Return the next command of an activation."""
        activation.command_id += 1
        return command(key[1], activation.command_id, payload, name)

    async def replied(self, key: Key, activation: Activation, command_id: int) -> CrdtReply:
        """Wait for the reply to a command, and trust it."""
        return await activation.reply(command_id)

    def is_over(self, key: Key) -> bool:
        """Return whether an entity takes no commands any more."""
        return key in self._deleted

    def description(self, failure: Failure) -> str:
        """Return what the client is told of a failure."""
        return failure.description

    async def deleted(self, key: Key) -> None:
        """End the stream of an entity that is deleted."""
        await self.passivate(key)

    async def updated(self, key: Key, delta: CrdtDelta) -> None:
        """Keep a change."""
        # The id of a hostile entity has its script in front.
        value = self._values.setdefault(key, new_value(key[1].rpartition(":")[2]))
        if delta.HasField("vote"):
            value.update(vote_update(delta.vote.self_vote))
        else:
            value.apply(delta)
        value.take()

    async def carry_out(self, effect: SideEffect) -> None:
        """Call the target of a side effect."""
        target = Request.FromString(effect.payload.value)
        await self.handle(effect.service_name, effect.command_name, target)

    async def left(self, key: Key, activation: Activation, command_id: int) -> None:
        """Tell the user function that a client has left its stream."""
        await activation.send(cancel(key[1], command_id))
        await self._store(key, await activation.settled(command_id))

    def is_last(self, message: CrdtStreamedMessage) -> bool:
        """Return whether a client's stream ends with a message."""
        return message.end_stream

    async def idle(self, key: Key) -> None:
        """Passivate an entity when its time is over."""
        timeout_ms = next(
            entity.passivation_strategy.timeout.timeout
            for entity in self.spec.entities
            if entity.service_name == key[0]
        )
        if timeout_ms:
            await asyncio.sleep(timeout_ms / 1000)
            await self.passivate(key)

    # --- How commands go ------------------------------------------------------------------

    async def handle(self, service: str, name: str, request: Request) -> Response:
        """Carry out one command of a client.

        Raises:
            FunctionFailed: If the user function answers with a failure, or the entity is deleted.
        """
        key = (service, request.id)
        _, _, reply = await self._ask(key, name, request)
        await self._store(key, reply.state_action)
        for effect in reply.side_effects:
            await self.carry_out(effect)
        self._in_background(self.idle(key))
        return await self._response(reply.client_action)

    async def stream(self, request: StreamedRequest) -> AsyncGenerator[Response, None]:
        """Carry out one streamed command of a client; it leaves by closing the generator."""
        key = (MODEL, request.id)
        activation, command_id, reply = await self._ask(key, "ProcessStreamed", request)
        await self._store(key, reply.state_action)
        has_ended = False
        try:
            if reply.HasField("client_action"):
                yield await self._response(reply.client_action)
            while not has_ended:
                message = await activation.pushed(command_id)
                has_ended = self.is_last(message)
                if message.HasField("client_action"):
                    yield await self._response(message.client_action)
        finally:
            if not has_ended:
                self._in_background(self.left(key, activation, command_id))

    async def _ask(
        self, key: Key, name: str, payload: Request | StreamedRequest
    ) -> tuple[Activation, int, CrdtReply]:
        if self.is_over(key):
            raise FunctionFailed("Entity deleted")
        async with self._starting[key]:
            activation = self._active.get(key) or await self.activate(key)
        message = self.command(key, activation, name, payload)
        await activation.send(message)
        reply = await self.replied(key, activation, message.command.id)
        return activation, message.command.id, reply

    async def _store(self, key: Key, action: CrdtStateAction) -> None:
        match action.WhichOneof("action"):
            case "update":
                await self.updated(key, action.update)
            case "delete":
                self._values.pop(key, None)
                self._deleted.add(key)
                await self.deleted(key)

    async def _response(self, action: ClientAction) -> Response:
        if action.HasField("forward"):
            target = Request.FromString(action.forward.payload.value)
            return await self.handle(
                action.forward.service_name, action.forward.command_name, target
            )
        if action.HasField("reply"):
            return Response.FromString(action.reply.payload.value)
        raise FunctionFailed(self.description(action.failure))

    async def activate(self, key: Key) -> Activation:
        """Open a stream for an entity."""
        open_stream: Any = self._channel.stream_stream(
            CRDT.path,
            request_serializer=CrdtStreamIn.SerializeToString,
            response_deserializer=CrdtStreamOut.FromString,
        )
        activation = self._active[key] = Activation(open_stream())
        for message in self.start(key):
            await activation.send(message)
        return activation

    async def passivate(self, key: Key) -> None:
        """Complete the stream of an entity, if it has one."""
        activation = self._active.pop(key, None)
        if activation is not None:
            await activation.complete()

    async def aclose(self) -> None:
        """Cut every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for activation in self._active.values():
            await activation.cut()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class CrdtFront(BareFront[CrdtProxy]):
    """How clients of CRDTs are answered; each rule to be broken by a subclass."""

    async def serve(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        _, service, method = path.split("/")
        if service == REFLECTION or method != "ProcessStreamed":
            await BareFront.serve(self, path, requests, context)
            return
        async for data in requests:
            answers = self.proxy.stream(StreamedRequest.FromString(data))
            async with aclosing(answers):
                async for answer in answers:
                    await context.write(answer.SerializeToString())
            return

    async def call(self, path: str, data: bytes) -> bytes:
        _, service, method = path.split("/")
        response = await self.proxy.handle(service, method, Request.FromString(data))
        return response.SerializeToString()

    async def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        request = Parse(body or b"{}", Request())
        service, method = MODEL, "Process"
        if path.startswith(MODEL_PREFIX):
            request.id = path.removeprefix(MODEL_PREFIX)
        else:
            _, service, method = path.split("/")
        try:
            response = await self.proxy.handle(service, method, request)
        except FunctionFailed as failed:
            return 500, "text/plain", str(failed).encode()
        text = MessageToJson(response, always_print_fields_with_no_presence=True)
        return 200, "application/json", json.dumps(json.loads(text)).encode()
