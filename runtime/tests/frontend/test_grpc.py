"""gRPC over real sockets, called by the client that everybody uses."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RichStatus
from structlog.testing import capture_logs

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.errors import (
    LimitExceeded,
    MalformedRequest,
    SequenceConflict,
    Stopping,
    StoreUnavailable,
    UnknownService,
    UserFunctionError,
)
from cloudstate_core.failure_code import with_code
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.status import Status
from cloudstate_core.testing.clock import ManualClock
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


# --- What fails ----------------------------------------------------------------------

ERRORS = [
    (MalformedRequest("the entity key 'id' is empty"), Code.INVALID_ARGUMENT, None),
    (UnknownService("no"), Code.UNIMPLEMENTED, None),
    (LimitExceeded("full", retry_after_s=0.5), Code.RESOURCE_EXHAUSTED, None),
    (StoreUnavailable("the store is away"), Code.UNAVAILABLE, None),
    (Stopping("going"), Code.UNAVAILABLE, None),
    (
        SequenceConflict("7", expected=1, actual=2),
        Code.ABORTED,
        "entity '7': expected sequence 1, found 2",
    ),
    (UserFunctionError("it broke the protocol", detail="secret"), Code.INTERNAL, None),
]


@pytest.mark.parametrize(("raised", "code", "text"), ERRORS, ids=lambda v: type(v).__name__)
async def test_an_error_is_its_status_and_its_text(
    open_door: Any, things: Any, channel_to: Any, raised: Exception, code: Code, text: str | None
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.raises("Get", raised)
        error = await refused(channel.unary_unary(GET)(b""))

        assert error.code() is code
        assert error.details() == (text or str(raised))


async def test_an_unforeseen_error_tells_the_client_an_id_and_the_log_the_rest(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.raises("Get", KeyError("secret"))
        with capture_logs() as logs:
            error = await refused(channel.unary_unary(GET)(b"payload"))

        assert error.code() is Code.INTERNAL
        assert error.details().startswith("internal error, id ")
        (line,) = [entry for entry in logs if entry["event"] == "internal_error"]
        assert error.details().endswith(line["error_id"])
        assert repr(line["exc_info"]) == "KeyError('secret')"
        assert (line["service"], line["command"]) == ("test.things.Things", "Get")
        assert "payload" not in repr(line)


async def test_details_of_an_error_go_to_the_log_alone(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.raises("Get", UserFunctionError("it broke", detail="how it broke"))
        with capture_logs() as logs:
            error = await refused(channel.unary_unary(GET)(b""))

        assert "how" not in repr(error)
        assert [entry["detail"] for entry in logs] == ["how it broke"]


async def test_a_failure_that_was_answered_is_unknown_with_its_description(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    action = ClientAction()
    action.failure.description = "100 % wrong\nquantity: é"
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers_with("Get", action)
        error = await refused(channel.unary_unary(GET)(b""))

        assert error.code() is Code.UNKNOWN
        assert error.details() == "100 % wrong\nquantity: é"


async def test_a_failure_may_name_its_code(open_door: Any, things: Any, channel_to: Any) -> None:
    action = ClientAction()
    with_code(action.failure, Status.FAILED_PRECONDITION).description = "closed"
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers_with("Get", action)
        error = await refused(channel.unary_unary(GET)(b""))

        assert (error.code(), error.details()) == (Code.FAILED_PRECONDITION, "closed")


async def test_a_very_long_description_arrives_cut_short(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    action = ClientAction()
    action.failure.description = "é" * 1_000_000
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers_with("Get", action)
        error = await refused(channel.unary_unary(GET)(b""))

        assert error.code() is Code.UNKNOWN
        assert error.details() == "é" * 1024 + "…"


@pytest.mark.parametrize("what", ["nothing", "forward"])
async def test_an_answer_without_reply_is_an_internal_error(
    open_door: Any, things: Any, channel_to: Any, what: str
) -> None:
    action = ClientAction()
    if what == "forward":
        action.forward.service_name = "x"
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers_with("Get", action)
        error = await refused(channel.unary_unary(GET)(b""))

        assert error.code() is Code.INTERNAL
        assert error.details() == "the user function gave no reply"


async def test_a_reply_without_a_payload_is_an_empty_message(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    action = ClientAction()
    action.reply.SetInParent()
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers_with("Get", action)

        assert await channel.unary_unary(GET)(b"x") == b""


async def test_a_refusal_that_may_pass_says_when_to_try_again(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.raises("Get", LimitExceeded("full", retry_after_s=1.5))
        error = await refused(channel.unary_unary(GET)(b""))

        trailers = dict(error.trailing_metadata())
        rich = RichStatus.FromString(trailers["grpc-status-details-bin"])
        info = RetryInfo()
        assert rich.details[0].Unpack(info)
        assert info.retry_delay.ToMilliseconds() == 1500
        assert (rich.code, rich.message) == (8, "full")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/test.things.Things/Nope", "method 'Nope' of 'test.things.Things' is not served here"),
        ("/test.things.Things/", "method '' of 'test.things.Things' is not served here"),
        ("/test.things.Things/Get/", "method 'Get/' of 'test.things.Things' is not served here"),
        ("/no.such.Service/Get", "service 'no.such.Service' is not served here"),
        ("/", "service '' is not served here"),
        ("/" + "x" * 5000, "service '" + "x" * 191 + "…"),
        ("/test.things.Things/Watch", "method 'Watch' of 'test.things.Things' is streamed"),
    ],
)
async def test_what_is_not_served_is_unimplemented(
    open_door: Any, things: Any, channel_to: Any, path: str, text: str
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        error = await refused(channel.unary_unary(path)(bytes(100_000)))

        assert error.code() is Code.UNIMPLEMENTED
        assert error.details().startswith(text)
        assert door.handler.requests == []


async def test_what_is_served_may_change_between_two_calls(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door() as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        assert (await refused(call(b""))).code() is Code.UNIMPLEMENTED

        door.served.serve(things)
        assert await call(b"x") == b"x"

        door.served.serve()
        assert (await refused(call(b""))).code() is Code.UNIMPLEMENTED


async def test_metadata_over_the_limit_is_refused_and_what_comes_next_is_served(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things) as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        error = await refused(call(b"", metadata=(("x", "a" * 20_000),)))
        assert error.code() in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.INTERNAL}
        assert door.handler.requests == []

        assert await call(b"x", metadata=(("x", "a" * 8_000),), wait_for_ready=True) == b"x"


# --- Time ----------------------------------------------------------------------------


async def test_the_deadline_of_the_client_is_passed_on(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    async with open_door(things, clock=ManualClock()) as door, channel_to(door) as channel:
        await channel.unary_unary(GET)(b"", timeout=5)
        await channel.unary_unary(GET)(b"", timeout=100_000)
        await channel.unary_unary(GET)(b"")

        own, longest, default = (request.deadline_s for request in door.handler.requests)
        assert 4 < own <= 5
        assert longest == 300.0
        assert default == 60.0


async def test_a_deadline_that_passes_ends_the_call_and_not_the_command(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    clock, may_end, ended = ManualClock(), asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"late")
        return outcome

    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = asyncio.ensure_future(refused(channel.unary_unary(GET)(b"")))
        while not door.handler.requests:
            await asyncio.sleep(0)

        await clock.advance(61)
        error = await call
        assert error.code() is Code.DEADLINE_EXCEEDED
        assert error.details() == "the deadline passed before there was an answer"

        may_end.set()
        await ended.wait()
        del door.handler.answers["Get"]
        assert await channel.unary_unary(GET)(b"next") == b"next"


async def test_a_client_that_hangs_up_does_not_undo_its_command(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        ended.set()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The cancellation has arrived when a later call on the connection is answered.
        del door.handler.answers["Get"]
        await channel.unary_unary(GET)(b"")

        may_end.set()
        await ended.wait()


async def test_commands_whose_clients_are_gone_are_drained(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)
        call.cancel()
        # The cancellation has arrived when a later call on the connection is answered.
        await channel.unary_unary("/test.things.Things/Put")(b"")

        draining = asyncio.create_task(door.port.drain(30))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        assert door.port.connections == 0

        may_end.set()
        await draining


async def test_connections_are_replaced_when_they_are_old(
    open_door: Any, things: Any, channel_to: Any
) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        call = channel.unary_unary(GET)
        await call(b"")
        for _ in range(31):
            await clock.advance(60)
            await call(b"", wait_for_ready=True)

        assert len(door.handler.requests) == 32


async def test_an_idle_connection_is_closed(open_door: Any, things: Any, channel_to: Any) -> None:
    clock = ManualClock()
    async with open_door(things, clock=clock) as door, channel_to(door) as channel:
        await channel.unary_unary(GET)(b"")
        await clock.advance(10 * 60 + 1)
        while door.port.connections:
            await asyncio.sleep(0)


# --- The end -------------------------------------------------------------------------


async def test_draining_lets_calls_finish_and_refuses_new_ones(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"done")
        return outcome

    async with open_door(things) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        call = channel.unary_unary(GET)(b"")
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        draining = asyncio.create_task(door.port.drain(30))
        await asyncio.sleep(0)
        late = await refused(channel.unary_unary(GET)(b"late"))
        assert late.code() is Code.UNAVAILABLE
        assert not draining.done()

        may_end.set()
        assert await call == b"done"
        await draining
        assert len(door.handler.requests) == 1
        assert door.port.connections == 0


async def test_draining_ends_with_its_time(open_door: Any, things: Any, channel_to: Any) -> None:
    clock = ManualClock()

    async def answer(request: Request) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with open_door(things, clock=clock) as door:
        channel = channel_to(door)
        door.handler.answers["Get"] = answer
        call = asyncio.ensure_future(refused(channel.unary_unary(GET)(b"")))
        while not door.handler.requests:
            await asyncio.sleep(0.001)

        draining = asyncio.create_task(door.port.drain(5.0))
        await clock.advance(5.2)
        await draining

    assert (await call).code() is Code.UNAVAILABLE
    await channel.close()


async def test_more_streams_than_allowed_wait_at_the_client(
    open_door: Any, things: Any, channel_to: Any, model: Any
) -> None:
    may_end = asyncio.Event()

    async def answer(request: Request) -> Outcome:
        await may_end.wait()
        outcome: Outcome = model.replied(b"")
        return outcome

    limits = Limits(max_streams_per_connection=3)
    async with open_door(things, limits=limits) as door, channel_to(door) as channel:
        door.handler.answers["Get"] = answer
        calls = [asyncio.ensure_future(channel.unary_unary(GET)(b"")) for _ in range(7)]
        while len(door.handler.requests) < 3:
            await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(door.handler.requests) == 3

        may_end.set()
        assert await asyncio.gather(*calls) == [b""] * 7


def test_a_connection_is_recognised_by_its_preface() -> None:
    recognises = GrpcFrontEnd().recognises

    assert recognises(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") is True
    assert recognises(b"PRI * HTTP/2.0") is True
    assert [recognises(b"PRI * HTTP/2.0"[:size]) for size in range(1, 14)] == [None] * 13
    assert recognises(b"PUT / HTTP/1.1") is False
    assert recognises(b"PRI * HTTP/1.1") is False
    assert recognises(b"GET") is False
