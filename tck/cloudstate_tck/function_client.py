"""The protocol spoken straight to a user function, in a proxy's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.errors import ConfigurationError
from cloudstate_core.links import Rpc
from cloudstate_core.status import Status
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.protocol import DISCOVER, ENTITY_TYPES, PROTOCOL_VERSION

__all__ = ["CHANNEL_OPTIONS", "FunctionClient", "ProtocolStream", "proxy_info"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

#: The suite judges sizes itself; its own connections take any.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # Whoever is examined may start later than the suite.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)

RETRY_DISCOVERY_EVERY_S = 0.2


def proxy_info() -> ProxyInfo:
    """Return what the suite says of itself when it takes a proxy's place."""
    major, minor = PROTOCOL_VERSION
    return ProxyInfo(
        protocol_major_version=major,
        protocol_minor_version=minor,
        proxy_name="cloudstate-tck",
        supported_entity_types=ENTITY_TYPES.values(),
    )


class FunctionClient:
    """A connection to a user function, in a proxy's place."""

    def __init__(self, address: str, *, patience_s: float) -> None:
        """Aim at `HOST:PORT`; connects when it is first used."""
        self.address = address
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def discover(self, *, within_s: float) -> EntitySpec:
        """Ask until there is an answer.

        Raises:
            ConfigurationError: If there is none in time.
        """
        ask: Callable[..., Any] = self._channel.unary_unary(
            DISCOVER.path,
            request_serializer=ProxyInfo.SerializeToString,
            response_deserializer=EntitySpec.FromString,
        )
        reason = "no answer"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        spec: EntitySpec = await ask(proxy_info(), wait_for_ready=True)
                    except grpc.aio.AioRpcError as error:
                        reason = f"{error.code().name}: {error.details()}"
                    else:
                        return spec
                    await asyncio.sleep(RETRY_DISCOVERY_EVERY_S)
        except TimeoutError:
            raise ConfigurationError(
                f"the user function at {self.address} did not answer `discover` within "
                f"{within_s:g} s ({reason}): start it, or name another address"
            ) from None

    @asynccontextmanager
    async def stream(self, rpc: Rpc[In, Out]) -> AsyncIterator[ProtocolStream[In, Out]]:
        """Open one stream; it is cut at the end if it has not been completed."""
        call: Any = self._channel.stream_stream(
            rpc.path,
            request_serializer=rpc.request_class.SerializeToString,
            response_deserializer=rpc.response_class.FromString,
        )()
        try:
            yield ProtocolStream(call, self._patience_s)
        finally:
            call.cancel()


class ProtocolStream(Generic[In, Out]):
    """One stream to a user function, or to a proxy; a call of another shape is one as well."""

    def __init__(self, call: Any, patience_s: float) -> None:
        self._call = call
        self._patience_s = patience_s
        self._is_cut = False
        self._reading: asyncio.Task[Any] | None = None

    async def send(self, *messages: In) -> None:
        """Send messages. A broken stream shows when the answer is missing."""
        for message in messages:
            try:
                await self._call.write(message)
            except (grpc.RpcError, asyncio.InvalidStateError):
                self._is_cut = True
                return

    async def receive(self, what: str, expected: object = "a message") -> Out:
        """Return the next message.

        Args:
            what: The message's name in a failure.
            expected: What to say in a failure should be there.

        Raises:
            Mismatch: If the stream ends instead, or nothing comes in time.
        """
        message = await self._read(what, expected)
        if message is None:
            raise Mismatch(what, expected=expected, found="the end of the stream")
        return message

    async def expect(self, what: str, expected: Out) -> Out:
        """Receive a message and compare it.

        Raises:
            Mismatch: If it is another, or there is none.
        """
        found = await self.receive(what, expected)
        expect_equal(what, expected, found)
        return found

    async def expect_silence(self, what: str, within_s: float) -> None:
        """Expect no message, and no end, for a while.

        Raises:
            Mismatch: If there is one.
        """
        # A read that is given up ends the call, so it goes on.
        self._reading = asyncio.ensure_future(self._call.read())
        done, _ = await asyncio.wait([self._reading], timeout=within_s)
        if done:
            found = await self._read(what, "nothing")
            raise Mismatch(what, expected="nothing", found=found or "the end of the stream")

    async def half_close(self) -> None:
        """Say that nothing follows."""
        # Reading says how the stream has ended, if it has.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def complete(self) -> None:
        """Half-close; the other side must end with success and no further message.

        Raises:
            Mismatch: If it says anything more, fails, or does not end in time.
        """
        await self.half_close()
        await self.expect_end("the end of the stream after the half-close")

    async def expect_end(self, what: str) -> None:
        """Expect the stream to end with success and no further message.

        Raises:
            Mismatch: If it does not.
        """
        found = await self._read(what, "the end of the stream")
        if found is not None:
            raise Mismatch(what, expected="no further message", found=found)

    async def status(self, what: str) -> Status:
        """Return how the stream ends, with no message before.

        Raises:
            Mismatch: If there is one, or the stream does not end in time.
        """
        expected = "the end of the stream"
        try:
            async with asyncio.timeout(self._patience_s):
                message = await self._call.read()
        except TimeoutError:
            found = f"nothing within {self._patience_s:g} s"
            raise Mismatch(what, expected=expected, found=found) from None
        except grpc.aio.AioRpcError as error:
            return Status(error.code().value[0])
        if message is not grpc.aio.EOF:
            raise Mismatch(what, expected=expected, found=message)
        return Status.OK

    async def expect_failure(self, what: str, description: str) -> None:
        """Expect the stream to fail with a description, and no message before.

        Raises:
            Mismatch: If it does not.
        """
        expected = f"the failure {description!r}"
        try:
            async with asyncio.timeout(self._patience_s):
                message = await self._call.read()
        except TimeoutError:
            found = f"nothing within {self._patience_s:g} s"
            raise Mismatch(what, expected=expected, found=found) from None
        except grpc.aio.AioRpcError as error:
            expect_equal(what, description, error.details())
            return
        found = "the end of the stream" if message is grpc.aio.EOF else message
        raise Mismatch(what, expected=expected, found=found)

    async def _read(self, what: str, expected: object) -> Out | None:
        reading, self._reading = self._reading or self._call.read(), None
        try:
            async with asyncio.timeout(self._patience_s):
                message = await reading
        except TimeoutError:
            found = f"nothing within {self._patience_s:g} s"
            raise Mismatch(what, expected=expected, found=found) from None
        except grpc.aio.AioRpcError as error:
            found = f"the stream failed with {error.code().name}: {error.details()}"
            if self._is_cut:
                # What gRPC says of it then is about the attempt to send.
                found = "a stream that the user function has ended before"
            raise Mismatch(what, expected=expected, found=found) from None
        return None if message is grpc.aio.EOF else cast("Out", message)
