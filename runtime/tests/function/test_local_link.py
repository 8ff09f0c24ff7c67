"""The link within one process: the same contract as over a socket, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.engines import settled
from runtime_doubles.functions import TALK
from runtime_doubles.specs import orders_spec

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_core.errors import UserFunctionError, UserFunctionUnavailable
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.links import ConversationMethod, EntityStream, Rpc, Write
from cloudstate_core.testing.clock import ManualClock

TERMINATION = "^Unexpected entity termination$"

Handle = Callable[["Talk", StringValue], Awaitable[None]]


class Talk:
    """The user function's end of one stream."""

    def __init__(self, function: Function, write: Write) -> None:
        self.ended = False
        self.write = write
        self.closed = 0
        self._function = function
        function.talks.append(self)

    async def receive(self, message: StringValue) -> None:
        await self._function.handle(self, message)

    async def aclose(self) -> None:
        self.closed += 1
        if self._function.close_error is not None:
            raise self._function.close_error


class Function:
    """What a local link needs of a user function."""

    def __init__(self) -> None:
        self.handle: Handle = echo
        self.talks: list[Talk] = []
        self.reports: list[str] = []
        self.close_error: Exception | None = None
        self.methods = {TALK.path: ConversationMethod(TALK, lambda write: Talk(self, write))}

    def spec(self, info: ProxyInfo) -> EntitySpec:
        return orders_spec()

    def report_error(self, message: str) -> None:
        self.reports.append(message)


async def echo(talk: Talk, message: StringValue) -> None:
    await talk.write(message)


def text(value: str) -> StringValue:
    return StringValue(value=value)


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def link(function: Function, clock: ManualClock) -> LocalLink:
    return LocalLink(function, clock, send_timeout_s=7.0)


@asynccontextmanager
async def opened(link: LocalLink) -> AsyncIterator[EntityStream[StringValue, StringValue]]:
    stream = link.open_stream(TALK)
    try:
        yield stream
    finally:
        await stream.aclose()


async def test_messages_are_handed_over_as_they_are(link: LocalLink, function: Function) -> None:
    message = text("a")
    async with opened(link) as stream:
        assert await stream.ask(message, 5.0) is message
        assert not stream.unasked()
    assert function.talks[0].closed == 1


async def test_a_plain_handler_costs_no_timer(link: LocalLink, clock: ManualClock) -> None:
    async with opened(link) as stream:
        for _ in range(10):
            await stream.ask(text("a"), 5.0)
            await stream.send(text("b"))
            await stream.receive()

    assert clock._set_so_far == 0


async def test_an_answer_may_come_later(
    link: LocalLink, function: Function, clock: ManualClock
) -> None:
    async def later(talk: Talk, message: StringValue) -> None:
        async def answer() -> None:
            await clock.sleep(2.0)
            await talk.write(message)

        tasks.append(asyncio.create_task(answer()))

    tasks: list[asyncio.Task[None]] = []
    function.handle = later
    async with opened(link) as stream:
        asking = asyncio.create_task(stream.ask(text("a"), 5.0))
        await clock.advance(2.0)

        assert (await asking).value == "a"
        assert clock.waiting == 0


@pytest.mark.parametrize("answers_in_background", [False, True])
async def test_an_answer_that_does_not_come_in_time(
    answers_in_background: bool, link: LocalLink, function: Function, clock: ManualClock
) -> None:
    async def slow(talk: Talk, message: StringValue) -> None:
        if not answers_in_background:
            await asyncio.Event().wait()

    function.handle = slow
    async with opened(link) as stream:
        asking = asyncio.create_task(stream.ask(text("a"), 3.0))
        await clock.advance(2.9)
        assert not asking.done()
        await clock.advance(0.1)

        with pytest.raises(TimeoutError):
            await asking


async def test_the_time_for_an_answer_is_that_for_both_ways_together(
    link: LocalLink, function: Function, clock: ManualClock
) -> None:
    async def half_and_half(talk: Talk, message: StringValue) -> None:
        await clock.sleep(2.0)

    function.handle = half_and_half
    async with opened(link) as stream:
        asking = asyncio.create_task(stream.ask(text("a"), 3.0))
        await clock.advance(3.0)

        assert isinstance(asking.exception(), TimeoutError)


async def test_a_function_that_takes_no_messages(
    link: LocalLink, function: Function, clock: ManualClock
) -> None:
    async def deaf(talk: Talk, message: StringValue) -> None:
        await asyncio.Event().wait()

    function.handle = deaf
    async with opened(link) as stream:
        sending = asyncio.create_task(stream.send(text("a")))
        await clock.advance(7.0)

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await sending
        assert caught.value.detail == "the user function takes no message for 7 s"
        assert stream.unasked()


async def test_a_function_that_raises(
    link: LocalLink, function: Function, logged: list[dict[str, object]]
) -> None:
    async def fail(talk: Talk, message: StringValue) -> None:
        raise KeyError("a secret")

    function.handle = fail
    async with opened(link) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as caught:
            await stream.ask(text("a"), 5.0)
        assert caught.value.detail == "KeyError: 'a secret'"
        assert type(stream.unasked()) is UserFunctionUnavailable

        for use in (lambda: stream.send(text("b")), stream.receive):
            with pytest.raises(UserFunctionUnavailable):
                await use()
    assert [entry["event"] for entry in logged] == ["user_function_raised"]


async def test_a_function_that_says_its_last_word(link: LocalLink, function: Function) -> None:
    async def last_word(talk: Talk, message: StringValue) -> None:
        await talk.write(message)
        talk.ended = True

    function.handle = last_word
    async with opened(link) as stream:
        assert (await stream.ask(text("a"), 5.0)).value == "a"
        told = stream.unasked()
        assert (type(told), str(told)) == (UserFunctionError, "Unexpected entity termination")
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await stream.ask(text("b"), 5.0)


async def test_a_message_that_nobody_asked_for_is_seen(link: LocalLink, function: Function) -> None:
    async def twice(talk: Talk, message: StringValue) -> None:
        await talk.write(message)
        await talk.write(message)

    function.handle = twice
    async with opened(link) as stream:
        await stream.ask(text("a"), 5.0)

        told = stream.unasked()
        assert (type(told), str(told)) == (UserFunctionError, "Unexpected entity reply")


async def test_closing_wakes_who_waits_for_a_message(link: LocalLink) -> None:
    stream = link.open_stream(TALK)
    receiving = asyncio.create_task(stream.receive())
    await settled()

    await stream.aclose()

    with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
        await receiving


async def ends(talk: Talk, message: StringValue) -> None:
    talk.ended = True


async def raises(talk: Talk, message: StringValue) -> None:
    raise ValueError("no")


async def takes_nothing(talk: Talk, message: StringValue) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("handle", [ends, raises, takes_nothing])
async def test_who_waits_for_a_message_is_woken_when_none_can_come_any_more(
    link: LocalLink, function: Function, clock: ManualClock, handle: Handle
) -> None:
    function.handle = handle
    async with opened(link) as stream:
        receiving = asyncio.create_task(stream.receive())
        await settled()
        sending = asyncio.create_task(stream.send(text("a")))
        await clock.advance(8)

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await receiving
        await asyncio.wait([sending])
        assert (sending.exception() is None) == (handle is ends)


async def test_closing_is_done_once_and_a_function_that_raises_meanwhile_is_logged(
    link: LocalLink, function: Function, logged: list[dict[str, object]]
) -> None:
    function.close_error = RuntimeError("cannot let go")
    stream = link.open_stream(TALK)

    await stream.aclose()
    await stream.aclose()

    assert function.talks[0].closed == 1
    assert [entry["event"] for entry in logged] == ["user_function_raised_while_closing"]


async def test_a_method_that_is_not_served(link: LocalLink) -> None:
    with pytest.raises(UserFunctionUnavailable, match=r"does not serve /lost\.Kind/handle"):
        link.open_stream(Rpc("/lost.Kind/handle", StringValue, StringValue))


async def test_discovery_and_reports_are_plain_calls(link: LocalLink, function: Function) -> None:
    assert await link.discover(ProxyInfo()) == orders_spec()
    await link.report_error("you are wrong")

    assert function.reports == ["you are wrong"]


async def test_a_function_of_this_process_is_never_lost(link: LocalLink) -> None:
    losing = asyncio.create_task(link.wait_until_lost())
    await settled()

    assert not losing.done()
    losing.cancel()
    await asyncio.wait((losing,))


# --- Many at once --------------------------------------------------------------------


async def test_many_messages_are_sent_at_once_and_cost_no_timer(
    link: LocalLink, function: Function, clock: ManualClock
) -> None:
    async with opened(link) as stream:
        await stream.send_all(map(text, "abc"))

        assert [(await stream.receive()).value for _ in "abc"] == ["a", "b", "c"]
    assert clock._set_so_far == 0


async def test_no_message_is_made_after_the_user_function_has_ended(
    link: LocalLink, function: Function
) -> None:
    made, taken = [], []

    async def end_at_b(talk: Talk, message: StringValue) -> None:
        taken.append(message.value)
        talk.ended = message.value == "b"

    def made_when_sent() -> Iterator[StringValue]:
        for value in "abcd":
            made.append(value)
            yield text(value)

    function.handle = end_at_b
    async with opened(link) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await stream.send_all(made_when_sent())
    assert taken == ["a", "b"]
    assert made == ["a", "b", "c"]


async def test_what_raises_in_the_middle_breaks_the_stream(
    link: LocalLink, function: Function
) -> None:
    taken = []

    async def fail_at_b(talk: Talk, message: StringValue) -> None:
        taken.append(message.value)
        if message.value == "b":
            raise TimeoutError("of its own")

    function.handle = fail_at_b
    async with opened(link) as stream:
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as raised:
            await stream.send_all(map(text, "abcd"))
        assert raised.value.detail == "TimeoutError: of its own"
        with pytest.raises(UserFunctionUnavailable, match=TERMINATION):
            await stream.send(text("e"))
    assert taken == ["a", "b"]


async def test_each_of_many_messages_has_the_whole_time(
    link: LocalLink, function: Function, clock: ManualClock
) -> None:
    gates = {value: asyncio.Event() for value in "abc"}

    async def wait(_: Talk, message: StringValue) -> None:
        await gates[message.value].wait()

    function.handle = wait
    async with opened(link) as stream:
        sending = asyncio.create_task(stream.send_all(map(text, "abc")))
        for value in "ab":
            await settled()
            await clock.advance(6.9)
            gates[value].set()
        await settled()
        await clock.advance(6.9)
        assert not sending.done()

        await clock.advance(0.2)

        with pytest.raises(UserFunctionUnavailable, match=TERMINATION) as raised:
            await sending
        assert raised.value.detail == "the user function takes no message for 7 s"
