from __future__ import annotations

import asyncio
import resource
import sys
import time

import grpc
import pytest
from chat_kind.entity import TALK, Chat
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio

from cloudstate.entity_pb2 import ProxyInfo
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub


def say(text: str) -> StringValue:
    return StringValue(value=text)


async def ask(stream, text: str) -> str:
    await stream.write(say(text))
    return (await stream.read()).value


async def until(condition) -> None:
    """Let others run until the condition holds; the test's time limit bounds it."""
    while not condition():
        await asyncio.sleep(0.001)


def event(name: str) -> asyncio.Event:
    return Chat.waiting.setdefault(name, asyncio.Event())


async def test_messages_go_back_and_forth(serve) -> None:
    async with serve() as served:
        stream = served.talk()

        assert await ask(stream, "one") == "ONE"
        assert await ask(stream, "two") == "TWO"


async def test_when_the_proxy_says_that_nothing_follows_the_stream_ends_without_a_word(
    serve,
) -> None:
    async with serve() as served:
        stream = served.talk()
        await ask(stream, "one")

        await stream.done_writing()

        assert await stream.read() is aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert Chat.closed["count"] == 1


async def test_the_user_function_may_have_the_last_word(serve) -> None:
    async with serve() as served:
        stream = served.talk()

        assert await ask(stream, "end now") == "END NOW"

        assert await stream.read() is aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert Chat.closed["count"] == 1


async def test_an_error_ends_one_stream_and_tells_its_cause_to_the_log_alone(serve, logged) -> None:
    async with serve() as served:
        stream, other = served.talk(), served.talk()
        await ask(other, "hello")

        await stream.write(say("raise word"))

        assert await stream.code() is grpc.StatusCode.INTERNAL
        details = await stream.details()
        (entry,) = [entry for entry in logged if entry["event"] == "stream_failed"]
        assert details == "the user function failed: see error_id 1 in its log"
        assert entry["error_id"] == 1
        assert entry["method"] == "/test.chat.Chat/talk"
        assert str(entry["exc_info"]) == "secret word"
        assert "secret" not in details
        assert Chat.closed["count"] == 1
        assert await ask(other, "still there") == "STILL THERE"


async def test_bytes_that_are_no_message_end_the_stream(serve, logged) -> None:
    async with serve() as served:
        stream = served.channel.stream_stream(TALK.path)()

        await stream.write(b"\xff\xff")

        assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await stream.details() == "not a valid google.protobuf.StringValue"
        assert Chat.closed["count"] == 1
        assert "message_not_readable" in [entry["event"] for entry in logged]


async def test_a_proxy_that_goes_away_in_the_middle_is_no_error(serve, logged) -> None:
    async with serve() as served:
        waiting, writing = served.talk(), served.talk()
        await waiting.write(say("wait x"))
        await writing.write(say("flood 1000000"))
        await event("x started").wait()
        await writing.read()

        waiting.cancel()
        writing.cancel()

        await until(lambda: Chat.closed["count"] == 2)
        await until(lambda: len(served.server.streams) == 0)
    assert [entry for entry in logged if entry["log_level"] in ("warning", "error")] == []


async def test_whoever_does_not_read_holds_up_only_himself(serve) -> None:
    async with serve() as served:
        deaf, other = served.talk(), served.talk()
        await deaf.write(say("flood 100000"))

        # 100 MB were asked for. The writer comes to a halt when what is on the way is full.
        written, unchanged = -1, 0
        while unchanged < 50:
            assert await ask(other, "hello") == "HELLO"
            unchanged = unchanged + 1 if written == Chat.written["count"] else 0
            written = Chat.written["count"]

        assert 0 < written < 20_000
        assert len(served.server.streams) == 2


@pytest.mark.parametrize("size", [12 * 1024 * 1024 - 5, 12 * 1024 * 1024 - 4])
async def test_a_message_at_the_limit_passes_and_one_above_it_does_not(serve, size: int) -> None:
    # The text has a tag and four bytes of length before it.
    message = say("silent ".ljust(size - 5 + 4, "x"))
    fits = message.ByteSize() <= 12 * 1024 * 1024
    async with serve() as served:
        stream = served.talk()

        await stream.write(message)
        if fits:
            assert await ask(stream, "hello") == "HELLO"
        else:
            assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_streams_above_the_limit_are_refused_and_discovery_is_not(serve) -> None:
    async with serve(max_streams=3) as served:
        streams = [served.talk() for _ in range(3)]
        for stream in streams:
            await ask(stream, "hello")

        refused = served.talk()

        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_streams" in await refused.details()
        assert (await EntityDiscoveryStub(served.channel).discover(ProxyInfo())).entities
        await streams[0].done_writing()
        await streams[0].code()
        await until(lambda: len(served.server.streams) == 2)
        assert await ask(served.talk(), "a place is free") == "A PLACE IS FREE"


async def test_draining_ends_what_waits_and_lets_commands_finish(serve) -> None:
    async with serve() as served:
        idle, busy = served.talk(), served.talk()
        await ask(idle, "hello")
        await busy.write(say("wait x"))
        await event("x started").wait()

        draining = asyncio.create_task(served.server.drain(30))

        assert await idle.code() is grpc.StatusCode.UNAVAILABLE
        assert await idle.details() == "the user function is stopping"
        assert not draining.done()
        event("x").set()
        assert (await busy.read()).value == "WAIT X"
        assert await busy.code() is grpc.StatusCode.UNAVAILABLE
        await draining
        assert Chat.closed["count"] == 2


async def test_draining_refuses_new_streams(serve) -> None:
    async with serve() as served:
        busy = served.talk()
        await busy.write(say("wait x"))
        await event("x started").wait()
        draining = asyncio.create_task(served.server.drain(30))
        await until(lambda: served.server.streams._draining)

        late = served.talk()

        assert await late.code() is grpc.StatusCode.UNAVAILABLE
        event("x").set()
        await draining


async def test_what_does_not_finish_within_the_grace_is_cut_off(serve) -> None:
    async with serve() as served:
        stuck = served.talk()
        await stuck.write(say("wait forever"))
        await event("forever started").wait()

        await served.server.drain(0.05)

        assert await stuck.code() is not grpc.StatusCode.OK
        await until(lambda: Chat.closed["count"] == 1)


async def test_a_drain_can_be_cut_short(serve) -> None:
    async with serve() as served:
        stuck = served.talk()
        await stuck.write(say("wait forever"))
        await event("forever started").wait()
        draining = asyncio.create_task(served.server.drain(3600))
        await asyncio.sleep(0)

        await served.server.drain(0)

        await draining
        assert await stuck.code() is not grpc.StatusCode.OK


@pytest.mark.timeout(240)
async def test_ten_thousand_streams_are_open_at_once_in_one_process(serve) -> None:
    count = 10_000
    before_mb = resident_mb()
    async with serve() as served:
        started = time.monotonic()
        streams = [served.talk() for _ in range(count)]
        answers = await asyncio.gather(*(ask(each, f"a {n}") for n, each in enumerate(streams)))
        opened_s = time.monotonic() - started

        assert answers == [f"A {number}" for number in range(count)]
        assert len(served.server.streams) == count
        # Every one of them is alive, not only the last that were opened.
        again = await asyncio.gather(*(ask(each, f"b {n}") for n, each in enumerate(streams)))
        assert again == [f"B {number}" for number in range(count)]
        grown_mb = resident_mb() - before_mb
        print(f"{count} streams: {opened_s:.1f} s, +{grown_mb:.0f} MB for both ends")
        assert grown_mb < 1000
        for stream in streams:
            stream.cancel()
        await until(lambda: len(served.server.streams) == 0)


def resident_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
