"""Calls that keep nothing between them, at the host's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from cloudstate_core.host.server import HostServer, open_server
from cloudstate_core.links import CallMethod, ConversationMethod, ProtocolMethod, Rpc
from cloudstate_core.settings import HostSettings


def rpc(name: str, *, client: bool = False, server: bool = False) -> Rpc[StringValue, StringValue]:
    return Rpc(f"/test.calls.Calls/{name}", StringValue, StringValue, client, server)


def say(text: str) -> StringValue:
    return StringValue(value=text)


class Function:
    """A user function whose handlers do what the messages say.

    Attributes:
        running: Calls that run.
        go_on: Ends the waiting of handlers.
        served: The server it is behind.
        channel: A proxy's channel to it.
    """

    def __init__(self) -> None:
        self.entities: tuple[()] = ()
        self.running = 0
        self.go_on = asyncio.Event()
        self.served: HostServer
        self.channel: aio.Channel
        rpcs = (
            rpc("unary"),
            rpc("streamIn", client=True),
            rpc("streamOut", server=True),
            rpc("stream", client=True, server=True),
        )
        self.methods: dict[str, ProtocolMethod] = {
            each.path: CallMethod(each, self.serve) for each in rpcs
        }

    async def serve(self, messages):
        self.running += 1
        try:
            async for message in messages:
                match message.value:
                    case "raise":
                        raise ValueError("a secret")
                    case "parse":
                        StringValue.FromString(b"\xff")
                    case "wait":
                        await self.go_on.wait()
                    case "other":
                        yield b"no message"
                yield message
        finally:
            self.running -= 1

    def unary(self, data: bytes | StringValue):
        return self.channel.unary_unary("/test.calls.Calls/unary")(as_bytes(data))

    def stream(self):
        return self.channel.stream_stream(
            "/test.calls.Calls/stream", as_bytes, StringValue.FromString
        )()


def as_bytes(data: bytes | StringValue) -> bytes:
    return data if isinstance(data, bytes) else data.SerializeToString()


@asynccontextmanager
async def serving(**settings) -> AsyncIterator[Function]:
    function = Function()
    async with open_server(function, HostSettings(port=0, **settings)) as server:
        function.served = server
        async with aio.insecure_channel(server.address) as channel:
            function.channel = channel
            yield function


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def ended(call) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


async def test_an_error_tells_its_cause_to_the_log_alone(logged) -> None:
    async with serving() as function:
        found = [await ended(function.unary(say("raise"))) for _ in range(2)]

    entries = [entry for entry in logged if entry["event"] == "call_failed"]
    assert found == [
        (grpc.StatusCode.INTERNAL, "the user function failed: see error_id 1 in its log"),
        (grpc.StatusCode.INTERNAL, "the user function failed: see error_id 2 in its log"),
    ]
    assert [entry["error_id"] for entry in entries] == [1, 2]
    assert {str(entry["exc_info"]) for entry in entries} == {"a secret"}
    assert {entry["method"] for entry in entries} == {"/test.calls.Calls/unary"}


class BrokenConversation:
    ended = False

    async def receive(self, _message: object) -> None:
        raise ValueError("a secret")

    async def aclose(self) -> None:
        pass


async def test_errors_of_calls_and_of_streams_share_one_numbering(logged) -> None:
    talk = rpc("talk", client=True, server=True)
    function = Function()
    function.methods[talk.path] = ConversationMethod(talk, lambda _: BrokenConversation())
    async with (
        open_server(function, HostSettings(port=0)) as server,
        aio.insecure_channel(server.address) as function.channel,
    ):
        stream = function.channel.stream_stream(talk.path)(iter([b""]))
        told = [await ended(stream), await ended(function.unary(say("raise")))]

    assert [details for _, details in told] == [
        "the user function failed: see error_id 1 in its log",
        "the user function failed: see error_id 2 in its log",
    ]
    entries = [(entry["event"], entry["error_id"]) for entry in logged if "error_id" in entry]
    assert entries == [("stream_failed", 1), ("call_failed", 2)]


async def test_an_error_after_answers_ends_the_stream(logged) -> None:
    async with serving() as function:
        stream = function.stream()
        await stream.write(say("a"))
        assert (await stream.read()).value == "a"
        await stream.write(say("raise"))

        code, details = await ended(stream)

    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in details


async def test_bytes_that_are_no_message_are_refused(logged) -> None:
    async with serving() as function:
        stream = function.stream()
        await stream.write(b"\xff")

        expected = (grpc.StatusCode.INVALID_ARGUMENT, "not a valid google.protobuf.StringValue")
        assert await ended(function.unary(b"\xff")) == expected
        assert await ended(stream) == expected
        await until(lambda: function.running == 0)
    assert [e["event"] for e in logged if e["log_level"] == "warning"] == 2 * [
        "message_not_readable"
    ]


async def test_bytes_that_a_handler_cannot_read_are_its_own_fault(logged) -> None:
    async with serving() as function:
        code, _ = await ended(function.unary(say("parse")))

    assert code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("shape", ["unary", "stream"])
async def test_an_answer_that_is_no_message_is_an_error(shape: str, logged) -> None:
    async with serving() as function:
        if shape == "unary":
            call = function.unary(say("other"))
        else:
            call = function.stream()
            await call.write(say("other"))

        code, details = await ended(call)

        assert code is grpc.StatusCode.INTERNAL
        assert "Traceback" not in details
        assert len(function.served.calls) == 0


async def test_calls_above_the_limit_are_refused() -> None:
    async with serving(max_streams=2) as function:
        calls = [function.unary(say("wait")) for _ in range(2)]
        await until(lambda: function.running == 2)
        assert len(function.served.calls) == 2

        code, details = await ended(function.unary(say("a")))

        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details == "expected at most 2 calls at a time (setting max_streams)"
        function.go_on.set()
        await asyncio.gather(*calls)
        assert await function.unary(say("a")) == as_bytes(say("a"))
        assert len(function.served.calls) == 0


async def test_a_drain_lets_calls_finish_and_refuses_new_ones() -> None:
    async with serving() as function:
        running = function.unary(say("wait"))
        await until(lambda: function.running == 1)
        draining = asyncio.create_task(function.served.drain(30))
        await until(lambda: function.served.calls._draining)

        code, _ = await ended(function.unary(say("a")))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()

        function.go_on.set()
        assert await running == as_bytes(say("wait"))
        await draining


async def test_what_does_not_finish_within_the_grace_is_cut_off() -> None:
    async with serving() as function:
        call = function.unary(say("wait"))
        stream = function.stream()
        await stream.write(say("a"))
        await stream.read()
        await until(lambda: function.running == 2)

        await function.served.drain(0.05)

        assert await call.code() is not grpc.StatusCode.OK
        assert await stream.code() is not grpc.StatusCode.OK
        await until(lambda: function.running == 0)


async def test_a_proxy_that_goes_away_in_the_middle_is_no_error(logged) -> None:
    async with serving() as function:
        stream = function.stream()
        await stream.write(say("wait"))
        await until(lambda: function.running == 1)

        stream.cancel()

        await until(lambda: function.running == 0)
        assert len(function.served.calls) == 0
    assert [entry for entry in logged if entry["log_level"] in ("warning", "error")] == []
