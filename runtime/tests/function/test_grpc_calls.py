"""Calls of a user function in another process that goes away, or does not keep to the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from runtime_doubles.called import STREAM, STREAM_IN, UNARY, calling, sending
from runtime_doubles.functions import until
from runtime_doubles.linked import text

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.links import FunctionLink
from cloudstate_runtime.function.grpc_link import GrpcLink, open_grpc_link

pytestmark = pytest.mark.usefixtures("no_complaints")

Serve = Callable[[bytes, aio.ServicerContext], Awaitable[bytes]]


@asynccontextmanager
async def answering(serve: Serve) -> AsyncIterator[GrpcLink]:
    """The link to a server whose every unary method answers with the bytes that `serve` makes."""

    class Any(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            return grpc.unary_unary_rpc_method_handler(serve)

    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Any(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with linked(f"127.0.0.1:{port}") as link:
            yield link
    finally:
        await server.stop(0)


def linked(address: str, *, max_message_bytes: int = 1 << 20):
    return open_grpc_link(
        address, SystemClock(), max_message_bytes=max_message_bytes, close_timeout_s=2.0
    )


async def read_all(link: FunctionLink, *texts: str) -> list[str]:
    async with aclosing(link.stream(STREAM, sending(*texts))) as stream:
        return [answer.value async for answer in stream]


async def test_a_user_function_that_is_not_there() -> None:
    async with linked("127.0.0.1:1") as link:
        with pytest.raises(UserFunctionUnavailable, match="cannot be reached"):
            await link.call(UNARY, text("a"))
        with pytest.raises(UserFunctionUnavailable, match="cannot be reached"):
            await read_all(link, "a")


async def test_a_user_function_that_goes_away_in_the_middle_of_a_call() -> None:
    async def waiting(messages):
        async for message in messages:
            yield message
        await asyncio.Event().wait()

    async def stuck(messages):
        await asyncio.Event().wait()
        yield text("never")

    async with calling("grpc") as (called, link):
        called.serve = stuck
        call = asyncio.ensure_future(link.call(UNARY, text("a")))
        stream_in = asyncio.ensure_future(anext(link.stream(STREAM_IN, sending("a"))))
        await until(lambda: called.running == 2)
        called.serve = waiting
        async with aclosing(link.stream(STREAM, sending("a"))) as stream:
            assert (await anext(stream)).value == "a"

            await called.server.drain(0)

            for waits in (call, stream_in, anext(stream)):
                with pytest.raises(UserFunctionUnavailable) as caught:
                    await waits
                assert caught.value.retryable
    assert called.running == 0


async def test_a_user_function_that_is_full_or_stops_is_unavailable() -> None:
    async def stuck(messages):
        await asyncio.Event().wait()
        yield text("never")

    async with calling("grpc", max_calls=1) as (called, link):
        called.serve = stuck
        first = asyncio.ensure_future(link.call(UNARY, text("a")))
        await until(lambda: called.running == 1)

        with pytest.raises(UserFunctionUnavailable) as caught:
            await link.call(UNARY, text("a"))

        assert "max_streams" in caught.value.detail
        first.cancel()
        await asyncio.wait((first,))
        await until(lambda: called.running == 0)
        called.server.calls.drain()
        with pytest.raises(UserFunctionUnavailable) as caught:
            await link.call(UNARY, text("a"))
        assert "is stopping" in caught.value.detail


async def test_an_answer_that_is_no_message_is_the_user_functions_fault() -> None:
    async def garbage(_: bytes, __: object) -> bytes:
        return b"\xff"

    async with answering(garbage) as link:
        with pytest.raises(UserFunctionError) as caught:
            await link.call(UNARY, text("a"))

    assert type(caught.value) is UserFunctionError
    assert caught.value.detail.endswith("sent something else than a google.protobuf.StringValue")


async def test_what_the_other_end_says_about_its_error_is_for_the_log_alone() -> None:
    async def abort(_: bytes, context: aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "password is 12345")

    async with answering(abort) as link:
        with pytest.raises(UserFunctionError) as caught:
            await link.call(UNARY, text("a"))

    assert str(caught.value) == "the user function failed"
    assert caught.value.detail.endswith("INTERNAL: password is 12345")


async def test_a_closed_link_is_unavailable() -> None:
    async with calling("grpc") as (_, link):
        pass

    for use in (link.call(UNARY, text("a")), anext(link.stream(STREAM, sending("a")))):
        with pytest.raises(UserFunctionUnavailable):
            await use


async def test_messages_are_typed() -> None:
    async with calling("grpc") as (_, link):
        assert type(await link.call(UNARY, text("a"))) is StringValue
