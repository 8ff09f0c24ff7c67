"""The smallest proxy for the model actions that does everything right.

It is what negative controls are derived from: subclasses break one rule each.
`scripted.proxy_server` gives it gRPC and HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.json_format import MessageToJson, Parse

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate.entity_pb2 import EntitySpec, Forward, ProxyInfo, SideEffect
from cloudstate_core.links import Rpc
from cloudstate_tck.action_messages import MODEL
from cloudstate_tck.function_client import proxy_info
from cloudstate_tck.model.action_pb2 import Request, Response
from cloudstate_tck.protocol import (
    ACTION_STREAMED,
    ACTION_STREAMED_IN,
    ACTION_STREAMED_OUT,
    ACTION_UNARY,
)
from cloudstate_tck.proxy_client import REFLECTION
from cloudstate_tck.scripted.proxy import FunctionFailed
from cloudstate_tck.scripted.proxy_server import BareFront

__all__ = ["ActionFront", "ActionProxy"]

_RPCS = {
    "ProcessStreamedIn": ACTION_STREAMED_IN,
    "ProcessStreamedOut": ACTION_STREAMED_OUT,
    "ProcessStreamed": ACTION_STREAMED,
}

_ANSWERED_ONCE = (ACTION_UNARY, ACTION_STREAMED_IN)

_TYPE_URL = "type.googleapis.com/cloudstate.tck.model.action."


class ActionProxy:
    """Calls the user function once for each call of a client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Talk to the user function behind a channel."""
        self._channel = channel
        self.spec = EntitySpec()

    # --- The rules, each to be broken by a subclass ---------------------------------------

    def info(self) -> ProxyInfo:
        """Return what this proxy says of itself."""
        return proxy_info()

    def rpc(self, method: str) -> Rpc[ActionCommand, ActionResponse]:
        """Return the protocol's method for a method of the client's."""
        return _RPCS.get(method, ACTION_UNARY)

    def begin(self, service: str, method: str) -> ActionCommand:
        """Return the message that begins a stream."""
        command = ActionCommand(service_name=service, name=method)
        command.metadata.SetInParent()
        return command

    def whole(self, service: str, method: str, payload: PackedAny) -> ActionCommand:
        """Return the one message of a call that sends one."""
        command = self.begin(service, method)
        command.payload.CopyFrom(payload)
        return command

    def element(self, payload: PackedAny) -> ActionCommand:
        """Return a message of a stream after the first."""
        command = ActionCommand(payload=payload)
        command.metadata.SetInParent()
        return command

    def description(self, response: ActionResponse) -> str:
        """Return what the client is told of a failure."""
        return response.failure.description

    async def carry_out(self, effect: SideEffect) -> None:
        """Call the target of a side effect."""
        await self.call_target(effect)

    async def follow(self, forward: Forward) -> list[bytes]:
        """Return the elements of the command that a response forwards to."""
        return [await self.call_target(forward)]

    def element_for_silence(self) -> list[bytes]:
        """Return what a response without an answer adds to a stream."""
        return []

    def end_after_failure(self, call: Any) -> None:
        """End a call with a stream of answers whose user function has failed."""
        call.cancel()

    # --- How calls go ---------------------------------------------------------------------

    async def call_target(self, target: Forward | SideEffect) -> bytes:
        """Make the unary call that a response asks for."""
        (answer,) = [
            each
            async for each in self.call(
                target.service_name, target.command_name, _one(target.payload.value)
            )
        ]
        return answer

    async def call(
        self, service: str, method: str, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Make one call of a client.

        Raises:
            FunctionFailed: If the user function answers with a failure.
        """
        rpc = self.rpc(method)
        open_call: Any = self._channel.stream_stream(
            rpc.path,
            request_serializer=ActionCommand.SerializeToString,
            response_deserializer=ActionResponse.FromString,
        )
        call = open_call()
        sending = asyncio.create_task(self._send(call, rpc, service, method, requests))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                for effect in response.side_effects:
                    await self.carry_out(effect)
                if response.HasField("failure"):
                    if rpc in _ANSWERED_ONCE:
                        # It ends by itself, which a cancellation would race with.
                        await call.read()
                    else:
                        self.end_after_failure(call)
                    raise FunctionFailed(self.description(response))
                for element in await self._elements(response):
                    yield element
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _elements(self, response: ActionResponse) -> list[bytes]:
        match response.WhichOneof("response"):
            case "reply":
                return [response.reply.payload.value]
            case "forward":
                return await self.follow(response.forward)
            case _:
                return self.element_for_silence()

    async def _send(
        self,
        call: Any,
        rpc: Rpc[ActionCommand, ActionResponse],
        service: str,
        method: str,
        requests: AsyncIterator[bytes],
    ) -> None:
        name = "Request" if service == MODEL else "OtherRequest"
        if rpc.client_streaming:
            await call.write(self.begin(service, method))
        async for data in requests:
            payload = PackedAny(type_url=_TYPE_URL + name, value=data)
            streams = rpc.client_streaming
            await call.write(
                self.element(payload) if streams else self.whole(service, method, payload)
            )
        await call.done_writing()

    async def aclose(self) -> None:
        """Nothing is left when no call runs."""


class ActionFront(BareFront[ActionProxy]):
    """How clients of actions are answered; each rule to be broken by a subclass."""

    async def serve(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        _, service, method = path.split("/")
        if service == REFLECTION:
            await BareFront.serve(self, path, requests, context)
            return
        try:
            async with aclosing(self.proxy.call(service, method, requests)) as answers:
                async for answer in answers:
                    await context.write(answer)
        except FunctionFailed as failed:
            await context.abort(grpc.StatusCode.UNKNOWN, str(failed))

    async def call(self, path: str, data: bytes) -> bytes:
        _, service, method = path.split("/")
        (answer,) = [each async for each in self.proxy.call(service, method, _one(data))]
        return answer

    async def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        request = Parse(body or b"{}", Request()).SerializeToString()
        try:
            data = await self.call(f"/{MODEL}/ProcessUnary", request)
        except FunctionFailed as failed:
            return 500, "text/plain", str(failed).encode()
        response = Response.FromString(data)
        text = MessageToJson(response, always_print_fields_with_no_presence=True)
        return 200, "application/json", json.dumps(json.loads(text)).encode()


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
