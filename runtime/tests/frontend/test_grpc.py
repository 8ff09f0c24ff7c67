"""gRPC over real sockets, called by the client that everybody uses."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import grpc
import pytest

from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd

GET = "/test.things.Things/Get"

Code = grpc.StatusCode


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.fixture
def channel_to() -> Any:
    def channel_to(door: Any, *options: tuple[str, Any]) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            door.address, options=[("grpc.enable_retries", 0), *options]
        )

    return channel_to


async def test_bytes_pass_through_untouched(open_door: Any, things: Any, channel_to: Any) -> None:
    # Field 15 twice, an unknown field, and a number not in its shortest form.
    odd = b"\x0a\x01a\x0a\x01b\xfa\xff\x01\x03xyz\x28\x81\x80\x00"
    async with open_door(things) as door, channel_to(door) as channel:
        assert await channel.unary_unary(GET)(odd) == odd

        (request,) = door.handler.requests
        assert (request.service, request.command) == ("test.things.Things", "Get")
        assert request.payload.type_url == "type.googleapis.com/test.things.Thing"
        assert request.payload.value == odd
        assert request.hops == ()


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_535, 1_000_000, 4 * 1024 * 1024])
async def test_messages_of_any_size_up_to_the_limit_pass_both_ways(
    open_door: Any, things: Any, channel_to: Any, size: int
) -> None:
    payload = bytes(size)
    async with open_door(things) as door, channel_to(door) as channel:
        assert await channel.unary_unary(GET)(payload) == payload


@pytest.mark.parametrize("excess", [1, 5_000_000 - 4 * 1024 * 1024])
async def test_a_message_over_the_limit_is_refused_and_the_connection_lives(
    open_door: Any, things: Any, channel_to: Any, excess: int
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        error = await refused(call(bytes(4 * 1024 * 1024 + excess)))
        assert await call(b"") == b""

        assert error.code() is Code.RESOURCE_EXHAUSTED
        assert error.details().startswith("expected a message of at most 4194304 bytes, found ")
        assert len(door.handler.requests) == 1


async def test_many_calls_share_a_connection(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        payloads = [f"{number}".encode() for number in range(300)]

        assert await asyncio.gather(*map(call, payloads)) == payloads
        assert door.port.connections == 1


async def test_gzip_is_understood(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        payload = bytes(100_000)
        assert await channel.unary_unary(GET)(payload, compression=grpc.Compression.Gzip) == payload


async def test_a_gzip_bomb_is_not_unpacked(open_door: Any, things: Any, channel_to: Any) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        bomb = bytes(200 * 1024 * 1024)
        assert len(gzip.compress(bomb, 1)) < 4 * 1024 * 1024
        error = await refused(channel.unary_unary(GET)(bomb, compression=grpc.Compression.Gzip))

        assert error.code() is Code.RESOURCE_EXHAUSTED
        assert door.handler.requests == []


async def test_another_packing_is_refused_with_those_that_are_known(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        error = await refused(
            channel.unary_unary(GET)(bytes(10_000), compression=grpc.Compression.Deflate)
        )

        assert error.code() is Code.UNIMPLEMENTED
        assert "expected grpc-encoding 'gzip' or none, found 'deflate'" in error.details()


async def test_headers_become_metadata_and_reserved_ones_do_not(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    sent = (("x-a", "1"), ("x-b-bin", b"\x00\xff"), ("x-a", "2"), ("x-cloudstate-user", "me"))
    async with open_door(things) as door, channel_to(door) as channel:
        await channel.unary_unary(GET)(b"", metadata=sent, timeout=10)

        metadata = door.handler.requests[0].metadata
        assert metadata.get_all("x-a") == ("1", "2")
        assert metadata.get("x-b-bin") == b"\x00\xff"
        names = {name for name, _ in metadata}
        assert names == {"x-a", "x-b-bin", "user-agent", "content-type"}


async def test_metadata_of_a_reply_becomes_headers(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    async def answer(request: Request) -> Outcome:
        outcome: Outcome = model.replied(b"x", ("X-A", "1"), ("bad\r\n", "2"), ("x-b", b"3"))
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")

        assert await call == b"x"
        assert dict(await call.initial_metadata()) == {"x-a": "1"}


def test_a_connection_is_recognised_by_its_preface() -> None:
    recognises = GrpcFrontEnd().recognises

    assert recognises(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") is True
    assert recognises(b"PRI * HTTP/2.0") is True
    assert [recognises(b"PRI * HTTP/2.0"[:size]) for size in range(1, 14)] == [None] * 13
    assert recognises(b"PUT / HTTP/1.1") is False
    assert recognises(b"PRI * HTTP/1.1") is False
    assert recognises(b"GET") is False
