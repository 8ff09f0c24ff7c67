"""Actions: what a proxy does, seen by a client and between proxy and function.

Where nobody can listen between the two, the cases look at what the client sees. Metadata is left
out of every comparison: a proxy passes on what headers it likes.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial

from cloudstate.action_pb2 import ActionCommand, ActionResponse
from cloudstate_core.links import Rpc
from cloudstate_tck.action_messages import (
    MODEL,
    TWO,
    effect,
    element,
    fail,
    failed,
    first,
    forward,
    forwarded,
    group,
    other_command,
    replied,
    reply,
    request,
    side_effect,
    silent,
    whole_command,
    without_metadata,
)
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.action_pb2 import Request, Response
from cloudstate_tck.protocol import (
    ACTION_STREAMED,
    ACTION_STREAMED_IN,
    ACTION_STREAMED_OUT,
    ACTION_UNARY,
)
from cloudstate_tck.recorder import Connection, Ended, Recorded

__all__ = ["CASES"]

EXPECTED_FAILURE = "expected failure"

PATH = "tck/model/action/unary"


class Wire:
    """One call as it is seen between proxy and function; sees nothing without a recorder."""

    def __init__(self, examination: Examination) -> None:
        self._recorder = examination.recorder
        self._connection: Connection | None = None

    async def expect_call(self, rpc: Rpc[ActionCommand, ActionResponse]) -> None:
        """Expect the next call from the proxy.

        Raises:
            Mismatch: If it is of another shape, or there is none.
        """
        if self._recorder is not None:
            self._connection = await self._recorder.expect_connection(rpc.path)

    async def expect_incoming(self, *expected: ActionCommand) -> None:
        """Expect the next messages of the proxy in that call.

        Raises:
            Mismatch: If one differs or is missing.
        """
        if self._connection is not None:
            for message in expected:
                found = await self._connection.next_incoming(message)
                _compare("the next message from the proxy", message, found)

    async def expect_outgoing(self, *expected: ActionResponse) -> None:
        """Expect the next messages of the user function in that call.

        Raises:
            Mismatch: If one differs or is missing.
        """
        if self._connection is not None:
            for message in expected:
                found = await self._connection.next_outgoing(message)
                _compare("the next message from the user function", message, found)

    async def expect_completed(self) -> None:
        """Expect both sides of that call to finish.

        Raises:
            Mismatch: If one does not.
        """
        if self._connection is not None:
            await self._connection.expect_completed()

    async def expect_cancelled(self) -> None:
        """Expect the proxy to cancel that call.

        Raises:
            Mismatch: If it does not.
        """
        if self._connection is not None:
            await self._connection.expect_cancelled()

    async def expect_unary(self, asked: ActionCommand, gives: ActionResponse) -> None:
        """Expect a whole call of one message and one response.

        Raises:
            Mismatch: If there is none, or it is another.
        """
        await self.expect_call(ACTION_UNARY)
        await self.expect_incoming(asked)
        await self.expect_outgoing(gives)
        await self.expect_completed()


def _compare(what: str, expected: ActionCommand | ActionResponse, found: Recorded) -> None:
    if not isinstance(found, ActionCommand | ActionResponse):
        shown = found if isinstance(found, Ended) else "something else"
        raise Mismatch(what, expected=expected, found=shown)
    expect_equal(what, expected, without_metadata(found))


def _call(
    examination: Examination, method: str
) -> AbstractAsyncContextManager[ProtocolStream[Request, Response]]:
    return examination.the_proxy().stream(MODEL, method, Request, Response)


ONE, TWO_GROUP, THREE = group(reply("one")), group(reply("two")), group(reply("three"))
OTHER_REPLY = replied("")


async def unary(examination: Examination) -> None:
    """Make a call of one message and one reply."""
    asked = request(ONE)
    proxy = examination.the_proxy()
    await proxy.expect(MODEL, "ProcessUnary", asked, Response(message="one"))
    wire = Wire(examination)
    await wire.expect_unary(whole_command("ProcessUnary", asked), replied("one"))


async def streamed_in(examination: Examination) -> None:
    """Send a stream and get one reply."""
    wire, asked = Wire(examination), request(TWO_GROUP)
    async with _call(examination, "ProcessStreamedIn") as call:
        await call.send(asked)
        await call.half_close()
        await call.expect("the response", Response(message="two"))
        await call.expect_end("the end of the call")
    await wire.expect_call(ACTION_STREAMED_IN)
    await wire.expect_incoming(first("ProcessStreamedIn"), element(asked))
    await wire.expect_outgoing(replied("two"))
    await wire.expect_completed()


async def streamed_out(examination: Examination) -> None:
    """Send one message and get a stream."""
    wire, asked = Wire(examination), request(ONE, TWO_GROUP, THREE)
    async with _call(examination, "ProcessStreamedOut") as call:
        await call.send(asked)
        await call.half_close()
        for text in ("one", "two", "three"):
            await call.expect(f"response {text}", Response(message=text))
        await call.expect_end("the end of the responses")
    await wire.expect_call(ACTION_STREAMED_OUT)
    await wire.expect_incoming(whole_command("ProcessStreamedOut", asked))
    await wire.expect_outgoing(replied("one"), replied("two"), replied("three"))
    await wire.expect_completed()


async def streamed(examination: Examination) -> None:
    """Send messages one by one and get a reply to each."""
    wire = Wire(examination)
    async with _call(examination, "ProcessStreamed") as call:
        for number, text in enumerate(("X", "Y", "Z")):
            asked = request(group(reply(text)))
            await call.send(asked)
            if number == 0:
                await wire.expect_call(ACTION_STREAMED)
                await wire.expect_incoming(first("ProcessStreamed"))
            await wire.expect_incoming(element(asked))
            await wire.expect_outgoing(replied(text))
            await call.expect(f"response {text}", Response(message=text))
        await call.complete()
    await wire.expect_completed()


async def unary_forward_and_effect(examination: Examination) -> None:
    """Forward a unary call, then have a side effect called."""
    proxy, wire, other = examination.the_proxy(), Wire(examination), Wire(examination)
    asked = request(group(forward("other")))
    await proxy.expect(MODEL, "ProcessUnary", asked, Response())
    await wire.expect_unary(whole_command("ProcessUnary", asked), forwarded("other"))
    await other.expect_unary(other_command("other"), OTHER_REPLY)

    asked = request(group(reply(""), effect("another")))
    await proxy.expect(MODEL, "ProcessUnary", asked, Response())
    response = replied("", [side_effect("another")])
    await wire.expect_unary(whole_command("ProcessUnary", asked), response)
    await other.expect_unary(other_command("another"), OTHER_REPLY)


async def streamed_forward_and_effect(examination: Examination) -> None:
    """Forward an element of a stream, then have a side effect called for one without a reply."""
    wire, other = Wire(examination), Wire(examination)
    async with _call(examination, "ProcessStreamed") as call:
        asked = request(group(forward("one")))
        await call.send(asked)
        await wire.expect_call(ACTION_STREAMED)
        await wire.expect_incoming(first("ProcessStreamed"), element(asked))
        await wire.expect_outgoing(forwarded("one"))
        await other.expect_unary(other_command("one"), OTHER_REPLY)
        await call.expect("the response of the forward", Response())

        asked = request(group(effect("two")))
        await call.send(asked)
        await wire.expect_incoming(element(asked))
        await wire.expect_outgoing(silent("", [side_effect("two")]))
        await other.expect_unary(other_command("two"), OTHER_REPLY)
        # A response without an answer is no element, so the next thing is the end.
        await call.complete()
    await wire.expect_completed()


async def unary_failure(examination: Examination) -> None:
    """Fail a unary call."""
    asked = request(group(fail(EXPECTED_FAILURE)))
    await examination.the_proxy().expect_failure(
        MODEL, "ProcessUnary", asked, Response, EXPECTED_FAILURE
    )
    await Wire(examination).expect_unary(
        whole_command("ProcessUnary", asked), failed(EXPECTED_FAILURE)
    )


async def streamed_failure(examination: Examination) -> None:
    """Fail an element of a stream, which ends the call on both sides."""
    wire, asked = Wire(examination), request(group(fail(EXPECTED_FAILURE)))
    async with _call(examination, "ProcessStreamed") as call:
        await call.send(asked)
        await call.expect_failure("the failure of the stream", EXPECTED_FAILURE)
    await wire.expect_call(ACTION_STREAMED)
    await wire.expect_incoming(first("ProcessStreamed"), element(asked))
    await wire.expect_outgoing(failed(EXPECTED_FAILURE))
    await wire.expect_cancelled()


async def over_http(examination: Examination) -> None:
    """Do the same with JSON over HTTP."""
    proxy, wire = examination.the_proxy(), Wire(examination)
    await proxy.expect_json(PATH, _json(reply={"message": "foo"}), {"message": "foo"})
    command = partial(whole_command, "ProcessUnary")
    await wire.expect_unary(command(request(group(reply("foo")))), replied("foo"))
    await proxy.expect_http_failure(PATH, _json(fail={"message": "boom"}), "boom")
    await wire.expect_unary(command(request(group(fail("boom")))), failed("boom"))


def _json(**step: object) -> object:
    return {"groups": [{"steps": [step]}]}


case = partial(Case, kind="action", phase=Phase.PROXY, needs=frozenset({MODEL}))
both = partial(Case, kind="action", phase=Phase.PROXY, needs=frozenset({MODEL, TWO}))

CASES = (
    case("AP1", "one message and one reply", run=unary),
    case("AP2", "a stream of messages and one reply", run=streamed_in),
    case("AP3", "one message and a stream of replies", run=streamed_out),
    case("AP4", "streams in both directions", run=streamed),
    both("AP5", "a unary call's forward and side effect are called", run=unary_forward_and_effect),
    both("AP6", "a stream's forward and side effect are called", run=streamed_forward_and_effect),
    case("AP7", "a failure reaches the client", run=unary_failure),
    case("AP8", "a failure ends a stream on both sides", run=streamed_failure),
    case("AP9", "an action over HTTP", run=over_http),
)
