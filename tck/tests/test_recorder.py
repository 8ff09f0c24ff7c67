from __future__ import annotations

import pytest

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_tck.event_sourced_messages import MODEL, event, init, replies
from cloudstate_tck.expectations import Mismatch
from cloudstate_tck.protocol import CRDT, EVENT_SOURCED
from cloudstate_tck.recorder import Ended, Recorder

PATH = EVENT_SOURCED.path
INIT = init(MODEL, "x")


@pytest.fixture
def recorder():
    return Recorder(patience_s=0.05)


async def test_connections_come_back_in_the_order_in_which_they_were_opened(recorder):
    opened = [recorder.opened(PATH), recorder.opened(CRDT.path)]

    assert await recorder.expect_connection(PATH) is opened[0]
    assert await recorder.expect_connection(CRDT.path) is opened[1]


async def test_a_connection_to_another_method_is_a_mismatch(recorder):
    recorder.opened(CRDT.path)

    with pytest.raises(Mismatch, match="the next connection from the proxy"):
        await recorder.expect_connection(PATH)


async def test_a_missing_connection_is_a_mismatch(recorder):
    with pytest.raises(Mismatch, match=r"found none within 0\.05 s"):
        await recorder.expect_connection(PATH)


async def test_messages_of_each_side_are_compared_in_order(recorder):
    connection = recorder.opened(PATH)
    connection.incoming(INIT)
    connection.outgoing(replies("")(1))
    connection.incoming(event(1, "A"))

    await connection.expect_incoming(INIT, event(1, "A"))
    await connection.expect_outgoing(replies("")(1))


@pytest.mark.parametrize("recorded", [init(MODEL, "y"), b"\xff", Ended()])
async def test_anything_but_the_expected_message_is_a_mismatch(recorder, recorded):
    connection = recorder.opened(PATH)
    connection.incoming(recorded)

    with pytest.raises(Mismatch, match="the next message from the proxy"):
        await connection.expect_incoming(INIT)


async def test_a_message_that_does_not_come_is_a_mismatch(recorder):
    connection = recorder.opened(PATH)

    with pytest.raises(Mismatch, match=r"found nothing within 0\.05 s"):
        await connection.expect_outgoing(replies("")(1))


@pytest.mark.parametrize(
    ("incoming", "outgoing", "passes"),
    [
        ([Ended()], [Ended()], True),
        ([Ended()], [], False),
        ([], [Ended()], False),
        ([Ended("cancelled")], [Ended()], False),
        ([Ended()], [Ended("INTERNAL: broken")], False),
        ([INIT, Ended()], [Ended()], False),
    ],
)
async def test_a_connection_is_completed_when_both_sides_are_and_said_no_more(
    recorder, incoming, outgoing, passes
):
    connection = recorder.opened(PATH)
    for recorded in incoming:
        connection.incoming(recorded)
    for recorded in outgoing:
        connection.outgoing(recorded)

    if passes:
        await connection.expect_completed()
    else:
        with pytest.raises(Mismatch, match="side"):
            await connection.expect_completed()


async def test_quiet_is_broken_by_another_connection(recorder):
    await recorder.expect_quiet(0.01)
    recorder.opened(PATH)

    with pytest.raises(Mismatch, match="no further connection"):
        await recorder.expect_quiet(0.01)


async def test_quiet_is_broken_by_a_message_that_nobody_looked_at(recorder):
    recorder.opened(PATH)
    connection = await recorder.expect_connection(PATH)
    connection.outgoing(replies("")(1))

    with pytest.raises(Mismatch, match="no further message"):
        await recorder.expect_quiet(0.01)


async def test_quiet_is_not_broken_by_the_end_of_a_connection(recorder):
    recorder.opened(PATH)
    connection = await recorder.expect_connection(PATH)
    connection.incoming(Ended())
    connection.outgoing(Ended())

    await recorder.expect_quiet(0.01)


async def test_what_earlier_cases_left_behind_can_be_forgotten(recorder):
    recorder.opened(PATH).incoming(INIT)
    recorder.forget()

    await recorder.expect_quiet(0.01)
    assert recorder.transcript() == ()


async def test_the_transcript_holds_examined_and_waiting_connections(recorder):
    recorder.opened(PATH).incoming(INIT)
    await recorder.expect_connection(PATH)
    recorder.opened(PATH).outgoing(b"\xff\xff")

    text = "\n".join(recorder.transcript())
    assert "proxy → cloudstate.eventsourced.EventSourced: EventSourcedStreamIn {" in text
    assert "function → cloudstate.eventsourced.EventSourced: 2 bytes that are no such" in text


async def test_the_latest_discovery_is_given_and_none_if_there_was_none(recorder):
    assert await recorder.discovery(within_s=0.01) is None
    recorder.discovered(ProxyInfo(proxy_name="first"), EntitySpec())
    recorder.discovered(ProxyInfo(proxy_name="second"), EntitySpec())

    found = await recorder.discovery(within_s=0.01)

    assert found is not None
    assert found.proxy_info.proxy_name == "second"
