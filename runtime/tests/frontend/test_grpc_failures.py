"""What a gRPC client sees when something fails."""

from __future__ import annotations

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
from cloudstate_core.status import Status

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
        for size_bytes in (20_000, 40_000, 20_000):
            error = await refused(call(b"", metadata=(("x", "a" * size_bytes),)))
            assert error.code() is Code.RESOURCE_EXHAUSTED
        assert door.handler.requests == []

        assert await call(b"x", metadata=(("x", "a" * 8_000),)) == b"x"
