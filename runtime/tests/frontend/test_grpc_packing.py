"""Replies that are packed for clients that accept it: what comes over the wire tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.frontend.grpc import GrpcSettings

GET = "/test.things.Things/Get"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

#: What a client says that accepts nothing but plain messages.
PLAIN_ONLY = ("grpc.compression_enabled_algorithms_bitset", 1)

#: More than headers, trailers and settings take.
OVERHEAD_BYTES = 2_000

MIB = 1024 * 1024
NEVER = GrpcSettings(gzip_above_bytes=1024 * MIB)


class Wire:
    """What stands between a client and the front door.

    Attributes:
        down_bytes: How much has come from the server.
        channel: A client behind it.
    """

    def __init__(self, port: int) -> None:
        self.down_bytes = 0
        self._port = port
        self._ends: list[asyncio.StreamWriter] = []
        self.channel: grpc.aio.Channel

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [writer, back]
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer, down=True))

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool = False
    ) -> None:
        try:
            while data := await reader.read(65_536):
                self.down_bytes += len(data) if down else 0
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def hang_up(self) -> None:
        for end in self._ends:
            end.close()


@asynccontextmanager
async def wired(door: Any, *options: tuple[str, Any]) -> AsyncIterator[Wire]:
    wire = Wire(door.port.address[1])
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # The tests ask for less than 4 MiB; what comes back may be more.
    options = (*options, ("grpc.max_receive_message_length", 64 * MIB))
    async with server, grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        wire.channel = channel
        yield wire
        await wire.hang_up()


async def cost_bytes(wire: Wire, payload: bytes) -> int:
    """Have a payload sent back; return how much came over the wire for it."""
    await wire.channel.unary_unary(GET)(b"")  # whatever is only said once
    before = wire.down_bytes
    assert await wire.channel.unary_unary(GET)(payload) == payload
    return wire.down_bytes - before


def half_random(size: int) -> bytes:
    return b"".join(Random(size).randbytes(50) + bytes(50) for _ in range(size // 100 + 1))[:size]


async def test_a_large_reply_is_packed(open_door: Any, things: Any) -> None:
    async with open_door(things) as door, wired(door) as wire:
        assert await cost_bytes(wire, bytes(MIB)) < 0.05 * MIB


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_reply_is_packed_above_the_size_that_is_set(
    open_door: Any, things: Any, excess: int
) -> None:
    grpc_settings = GrpcSettings(gzip_above_bytes=5_000)
    async with open_door(things, grpc=grpc_settings) as door, wired(door) as wire:
        cost = await cost_bytes(wire, bytes(5_000 + excess))

    assert (cost < OVERHEAD_BYTES) == bool(excess)


async def test_packing_can_be_left_out(open_door: Any, things: Any) -> None:
    async with open_door(things, grpc=NEVER) as door, wired(door) as wire:
        assert await cost_bytes(wire, bytes(MIB)) > MIB


async def test_a_client_that_does_not_accept_it_gets_plain_bytes(
    open_door: Any, things: Any
) -> None:
    async with open_door(things) as door, wired(door, PLAIN_ONLY) as wire:
        assert await cost_bytes(wire, bytes(MIB)) > MIB


async def test_what_does_not_become_smaller_is_sent_as_it_is(open_door: Any, things: Any) -> None:
    async with open_door(things) as door, wired(door) as wire:
        payload = Random(1).randbytes(MIB)
        assert MIB < await cost_bytes(wire, payload) < MIB + OVERHEAD_BYTES


# Around the parts in which a message is packed.
@pytest.mark.parametrize("size", [16_385, 65_535, 65_536, 65_537, 131_072, 131_073, 1_000_003])
async def test_packed_replies_of_any_size_are_whole(open_door: Any, things: Any, size: int) -> None:
    async with open_door(things) as door, wired(door) as wire:
        assert await cost_bytes(wire, half_random(size)) < 0.8 * size


async def test_a_packed_reply_has_the_headers_of_a_plain_one(
    open_door: Any, things: Any, model: Any
) -> None:
    async with open_door(things) as door, wired(door) as wire:

        async def answer(request: Request) -> Outcome:
            return model.replied(bytes(MIB), ("tenant", "a"))

        door.handler.answers["Get"] = answer
        call = wire.channel.unary_unary(GET)(b"")

        assert await call == bytes(MIB)
        assert ("tenant", "a") in list(await call.initial_metadata())
        assert wire.down_bytes < 0.05 * MIB


@pytest.mark.parametrize(
    ("grpc_settings", "is_packed"), [(GrpcSettings(gzip_above_bytes=0), True), (NEVER, False)]
)
async def test_the_messages_of_a_stream_are_packed_each_by_its_size(
    open_door: Any, things: Any, grpc_settings: GrpcSettings, is_packed: bool
) -> None:
    async with open_door(things, grpc=grpc_settings) as door, wired(door) as wire:
        conversation = wire.channel.stream_stream(
            REFLECTION,
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )()
        sizes = []
        for _ in range(2):
            question = ServerReflectionRequest(host="x" * 10_000, list_services="")
            await conversation.write(question)
            answer = await conversation.read()
            assert answer.original_request == question
            sizes.append(answer.ByteSize())
        await conversation.done_writing()
        assert await conversation.code() is grpc.StatusCode.OK

    assert (wire.down_bytes < OVERHEAD_BYTES) == is_packed
    assert sum(sizes) > 40_000


async def test_other_calls_are_answered_while_a_large_message_is_packed(
    open_door: Any, things: Any
) -> None:
    large = half_random(3 * MIB)
    async with open_door(things) as door, wired(door) as wire:
        answered: list[int] = []

        async def ask(payload: bytes) -> None:
            assert await wire.channel.unary_unary(GET)(payload) == payload
            answered.append(len(payload))

        await ask(b"")
        await asyncio.gather(ask(large), ask(b"a"), ask(b"b"))

    assert answered[-1] == len(large)


@pytest.mark.parametrize("after_turns", range(0, 40, 4))
async def test_a_client_may_hang_up_while_its_reply_is_packed(
    open_door: Any, things: Any, model: Any, caplog: pytest.LogCaptureFixture, after_turns: int
) -> None:
    async with open_door(things) as door, wired(door) as wire:
        asked = asyncio.Event()

        async def answer(request: Request) -> Outcome:
            asked.set()
            return model.replied(half_random(2 * MIB))

        door.handler.answers["Get"] = answer
        call = wire.channel.unary_unary(GET)(b"")
        waiting = asyncio.ensure_future(call)
        await asked.wait()
        for _ in range(after_turns):
            await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):  # or the reply was faster
            await waiting

        del door.handler.answers["Get"]
        assert await wire.channel.unary_unary(GET)(b"next") == b"next"
    assert caplog.records == []
