from __future__ import annotations

from cloudstate.event_sourced_pb2 import EventSourcedStreamIn
from cloudstate_tck.event_sourced_messages import MODEL, command_in, emit, init, replies
from cloudstate_tck.function_client import proxy_info
from cloudstate_tck.model_function import model_function
from cloudstate_tck.protocol import EVENT_SOURCED
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
