from __future__ import annotations

from contextlib import aclosing

from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate_tck import action_messages
from cloudstate_tck.event_sourced_messages import MODEL, command_in, emit, init, replies
from cloudstate_tck.function_client import proxy_info
from cloudstate_tck.model_function import model_function
from cloudstate_tck.protocol import ACTION_STREAMED, ACTION_UNARY, EVENT_SOURCED
from cloudstate_tck.recorded_function import RecordedFunction
from cloudstate_tck.recorder import Recorder

ENTITY = "entity"


async def test_a_conversation_without_a_wire_is_recorded():
    recorder = Recorder(patience_s=1.0)
    function = RecordedFunction(model_function(), recorder)
    answers = []

    async def write(message):
        answers.append(message)

    conversation = function.methods[EVENT_SOURCED.path].open(write)
    await conversation.receive(init(MODEL, ENTITY))
    await conversation.receive(command_in(ENTITY, 1, emit("A")))
    await conversation.aclose()
    await conversation.aclose()

    expected = replies("A", events="A")(1)
    assert answers == [expected]
    connection = await recorder.expect_connection(EVENT_SOURCED.path)
    await connection.expect_incoming(init(MODEL, ENTITY), command_in(ENTITY, 1, emit("A")))
    await connection.expect_outgoing(expected)
    await connection.expect_completed()
    await recorder.expect_quiet(0.01)


async def test_what_was_recorded_does_not_change_with_the_message():
    recorder = Recorder(patience_s=1.0)
    function = RecordedFunction(model_function(), recorder)

    async def write(message):
        message.Clear()

    conversation = function.methods[EVENT_SOURCED.path].open(write)
    first = init(MODEL, ENTITY)
    await conversation.receive(first)
    await conversation.receive(command_in(ENTITY, 1))
    first.Clear()

    connection = await recorder.expect_connection(EVENT_SOURCED.path)
    await connection.expect_incoming(init(MODEL, ENTITY), command_in(ENTITY, 1))
    await connection.expect_outgoing(replies("")(1))


async def test_the_end_of_a_conversation_is_seen_through_the_recording():
    function = RecordedFunction(model_function(), Recorder(patience_s=1.0))

    async def write(message):
        """Take the failure."""

    conversation = function.methods[EVENT_SOURCED.path].open(write)
    assert not conversation.ended
    await conversation.receive(EventSourcedStreamIn())
    assert conversation.ended


async def test_discovery_and_reports_are_recorded():
    recorder = Recorder(patience_s=1.0)
    function = RecordedFunction(model_function(), recorder)

    spec = function.spec(proxy_info())
    function.report_error("something is wrong")

    found = await recorder.discovery(within_s=1.0)
    assert (found.proxy_info, found.spec) == (proxy_info(), spec)
    assert recorder.reports == ["something is wrong"]


async def call(function, rpc, *commands):
    async def sending():
        for command in commands:
            yield command

    async with aclosing(function.methods[rpc.path].serve(sending())) as answers:
        return [answer async for answer in answers]


async def test_calls_without_a_wire_are_recorded():
    recorder = Recorder(patience_s=1.0)
    function = RecordedFunction(model_function(), recorder)
    whole = action_messages.whole_command("ProcessUnary", asked("one"))
    begun, element = (
        action_messages.first("ProcessStreamed"),
        action_messages.element(asked("two")),
    )

    assert await call(function, ACTION_UNARY, whole) == [action_messages.replied("one")]
    assert await call(function, ACTION_STREAMED, begun, element) == [action_messages.replied("two")]

    unary = await recorder.expect_connection(ACTION_UNARY.path)
    await unary.expect_incoming(whole)
    await unary.expect_outgoing(action_messages.replied("one"))
    await unary.expect_completed()
    streamed = await recorder.expect_connection(ACTION_STREAMED.path)
    await streamed.expect_incoming(begun, element)
    await streamed.expect_outgoing(action_messages.replied("two"))
    await streamed.expect_completed()


async def test_a_call_that_is_left_is_recorded_as_cancelled():
    recorder = Recorder(patience_s=1.0)
    function = RecordedFunction(model_function(), recorder)

    async def for_ever():
        yield action_messages.first("ProcessStreamed")
        while True:
            yield action_messages.element(asked("more"))

    answers = function.methods[ACTION_STREAMED.path].serve(for_ever())
    await anext(answers)
    await answers.aclose()

    connection = await recorder.expect_connection(ACTION_STREAMED.path)
    await connection.expect_outgoing(action_messages.replied("more"))
    await connection.expect_cancelled()


def asked(text):
    return action_messages.request(action_messages.group(action_messages.reply(text)))
