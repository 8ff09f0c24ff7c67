"""The interceptor between a real client and a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from cloudstate.entity_pb2 import EntitySpec
from cloudstate_core.errors import ConfigurationError
from cloudstate_tck.action_messages import failed
from cloudstate_tck.event_sourced_messages import MODEL, command_in, emit, init, replies
from cloudstate_tck.function_client import FunctionClient, proxy_info
from cloudstate_tck.interceptor import intercepting
from cloudstate_tck.protocol import ACTION_STREAMED, DISCOVER, EVENT_SOURCED, REPORT_ERROR
from cloudstate_tck.recorder import Ended, Recorder
from cloudstate_tck.scripted.function import ScriptedFunction
from cloudstate_tck.scripted.session import ModelSession
from cloudstate_tck.servers import StreamHandlers, serving

PATIENCE_S = 10.0
ENTITY = "entity"


def open_session(first):
    return ModelSession()


@pytest.fixture
def recorder():
    return Recorder(patience_s=PATIENCE_S)


@asynccontextmanager
async def proxy_side(recorder):
    """Give a client, in a proxy's place, of a correct function behind the interceptor."""
    async with (
        ScriptedFunction(open_session) as function,
        intercepting(recorder, listen="127.0.0.1:0", function=function.address) as address,
        FunctionClient(address, patience_s=PATIENCE_S) as client,
    ):
        yield client, function


async def test_a_stream_is_passed_on_and_recorded(recorder):
    async with proxy_side(recorder) as (client, _), client.stream(EVENT_SOURCED) as stream:
        await stream.send(init(MODEL, ENTITY), command_in(ENTITY, 1, emit("A")))
        await stream.expect("the reply", replies("A", events="A")(1))
        await stream.complete()

        connection = await recorder.expect_connection(EVENT_SOURCED.path)
        await connection.expect_incoming(init(MODEL, ENTITY), command_in(ENTITY, 1, emit("A")))
        await connection.expect_outgoing(replies("A", events="A")(1))
        await connection.expect_completed()
        await recorder.expect_quiet(0.01)


async def test_a_reply_is_recorded_before_the_proxy_has_it(recorder):
    async with proxy_side(recorder) as (client, _), client.stream(EVENT_SOURCED) as stream:
        connection = None
        await stream.send(init(MODEL, ENTITY))
        for number in range(1, 50):
            await stream.send(command_in(ENTITY, number))
            await stream.receive("the reply")
            connection = connection or await recorder.expect_connection(EVENT_SOURCED.path)
            assert connection._outgoing.qsize() == number


async def test_discovery_and_reports_are_kept_apart_from_the_connections(recorder):
    async with proxy_side(recorder) as (client, function):
        spec = await client.discover(within_s=PATIENCE_S)
        async with client.stream(REPORT_ERROR) as report:
            await report.send(REPORT_ERROR.request_class(message="something is wrong"))
            await report.receive("the answer")
            await report.complete()

        found = await recorder.discovery(within_s=PATIENCE_S)
        assert spec == function.spec == found.spec
        assert found.proxy_info == proxy_info()
        assert recorder.reports == function.reports == ["something is wrong"]
        await recorder.expect_quiet(0.01)


async def test_a_call_that_is_cancelled_after_a_failure_is_no_completed_one(recorder):
    async def fails_then_completes(path, requests, context):
        await context.write(failed("no").SerializeToString())
        async for _ in requests:
            pass

    async with raw_proxy_side(recorder, fails_then_completes) as channel:
        for _ in range(20):
            call = channel.stream_stream(ACTION_STREAMED.path)()
            await call.write(b"")
            await call.read()
            call.cancel()

            connection = await recorder.expect_connection(ACTION_STREAMED.path)
            await connection.expect_outgoing(failed("no"))
            await connection.expect_cancelled()


async def test_a_cancelled_stream_is_no_completed_one(recorder):
    async with proxy_side(recorder) as (client, function):
        async with client.stream(EVENT_SOURCED) as stream:
            await stream.send(init(MODEL, ENTITY), command_in(ENTITY, 1))
            await stream.receive("the reply")
        # The client has cancelled; the function behind must see that too.
        async with asyncio.timeout(PATIENCE_S):
            await function.streams[ENTITY][0].ended.wait()

        connection = await recorder.expect_connection(EVENT_SOURCED.path)
        await connection.expect_outgoing(replies("")(1))
        assert await connection.next_outgoing("the end") == Ended("cancelled by the proxy")


@asynccontextmanager
async def raw_proxy_side(recorder, handler):
    async with (
        serving(StreamHandlers(handler), "127.0.0.1:0") as function,
        intercepting(recorder, listen="127.0.0.1:0", function=function) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


async def test_a_failure_keeps_code_text_and_trailing_metadata(recorder):
    async def fail(path, requests, context):
        # A client of grpc.aio that is answered while it still sends may hear of another error.
        async for _ in requests:
            pass
        await context.abort(grpc.StatusCode.DATA_LOSS, "lost", (("why", "because"),))

    async with raw_proxy_side(recorder, fail) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(EVENT_SOURCED.path)(b"")

        assert caught.value.code() is grpc.StatusCode.DATA_LOSS
        assert caught.value.details() == "lost"
        assert ("why", "because") in list(caught.value.trailing_metadata())
        connection = await recorder.expect_connection(EVENT_SOURCED.path)
        assert await connection.next_outgoing("the end") == Ended("DATA_LOSS: lost")


async def test_metadata_of_the_proxy_reach_the_function(recorder):
    seen = []

    async def echo(path, requests, context):
        seen.extend(context.invocation_metadata())
        await context.write(b"")

    async with raw_proxy_side(recorder, echo) as channel:
        call = channel.unary_unary("/any.Service/any")
        await call(b"", metadata=(("x-trace", "1"), ("raw-bin", b"\x00\xff")))

    assert ("x-trace", "1") in seen
    assert ("raw-bin", b"\x00\xff") in seen


async def test_a_protocol_nobody_knows_is_passed_on_and_kept_as_bytes(recorder):
    async def shout(path, requests, context):
        async for request in requests:
            await context.write(request.upper())

    async with raw_proxy_side(recorder, shout) as channel:
        assert await channel.unary_unary("/example.Counter/handle")(b"abc") == b"ABC"

        connection = await recorder.expect_connection("/example.Counter/handle")
        assert await connection.next_outgoing("bytes") == b"ABC"
        assert connection.unexamined() == b"abc"


async def test_bytes_that_are_no_message_are_passed_on_as_they_are(recorder):
    async def garbage(path, requests, context):
        await context.write(b"\xff\xff\xff")

    async with raw_proxy_side(recorder, garbage) as channel:
        assert await channel.unary_unary(EVENT_SOURCED.path)(b"\xff") == b"\xff\xff\xff"

        connection = await recorder.expect_connection(EVENT_SOURCED.path)
        assert await connection.next_outgoing("bytes") == b"\xff\xff\xff"


async def test_a_function_that_is_not_there_is_unavailable_and_no_discovery(recorder):
    async with (
        intercepting(recorder, listen="127.0.0.1:0", function="127.0.0.1:1") as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(DISCOVER.path, response_deserializer=EntitySpec.FromString)(
                b""
            )

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert recorder.discoveries == []


async def test_an_address_in_use_is_a_configuration_error(recorder):
    async with intercepting(recorder, listen="127.0.0.1:0", function="127.0.0.1:1") as address:
        with pytest.raises(ConfigurationError, match=f"cannot listen on {address!r}"):
            async with intercepting(recorder, listen=address, function="127.0.0.1:1"):
                pass


async def test_a_user_function_that_never_answers_discover_is_a_configuration_error():
    async with FunctionClient("127.0.0.1:1", patience_s=1.0) as client:
        with pytest.raises(ConfigurationError, match="did not answer `discover` within"):
            await client.discover(within_s=0.1)
