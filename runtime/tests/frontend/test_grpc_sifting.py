"""Calls that are refused by their frames, between the two ends of a real HTTP/2 connection."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from hypothesis import given
from hypothesis import strategies as st
from runtime_doubles.http2_client import HEADERS, with_headers

from cloudstate_core.frontend import Limits
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.http2 import open_connection
from cloudstate_runtime.frontend.grpc.sifting import Sifter

REFUSAL = Refusal(Status.RESOURCE_EXHAUSTED, "too many requests at once", 0.5)

MESSAGE = b"\x00\x00\x00\x00\x03abc"

#: So much room that nothing is sifted, as the gate decides it.
PLENTY = 1_000


@dataclass
class Line:
    """A client and a server, with a sifter before the server.

    Attributes:
        answers: For each call of the client, what became of it.
        reached: The calls that the server has seen.
        refused: How many calls the sifter says that it has taken out.
    """

    client: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(header_encoding="utf-8"))
    )
    server: H2Connection = field(default_factory=lambda: open_connection(Limits()))
    answers: dict[int, list[str]] = field(default_factory=dict)
    reached: list[int] = field(default_factory=list)
    refused: int = 0
    window_bytes: int = 0

    def __post_init__(self) -> None:
        self.sifter = Sifter(self.server, lambda headers: dict(headers)[b":method"] == b"POST")
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.pass_on(self.client.data_to_send(), PLENTY)

    def call(
        self,
        headers: list[tuple[str, str]] = HEADERS,
        message: bytes = MESSAGE,
        *,
        ends: bool = True,
    ) -> bytes:
        """Return what a client sends for a call."""
        stream = self.client.get_next_available_stream_id()
        self.answers[stream] = []
        self.client.send_headers(stream, headers)
        self.client.send_data(stream, message, end_stream=ends)
        return self.client.data_to_send()

    def pass_on(self, data: bytes, room: int) -> None:
        """Let a piece of what the client sends arrive."""
        sifter = self.sifter
        data = sifter.begin(data)
        answers = b""
        if sifter.has_to_sift() or (room < PLENTY and sifter.can_sift()):
            sifted = sifter.sift(data, room, REFUSAL)
            data, answers = sifted.passed, sifted.answers
            self.refused += sifted.refused
        self._serve(data)
        self._receive(answers + self.server.data_to_send())

    def _serve(self, data: bytes) -> None:
        for event in self.server.receive_data(data):
            match event:
                case RequestReceived(stream_id=stream):
                    self.reached.append(stream)
                case DataReceived(stream_id=stream):
                    self.server.acknowledge_received_data(event.flow_controlled_length, stream)
                case StreamEnded(stream_id=stream):
                    self.server.send_headers(stream, [(b":status", b"200")], end_stream=True)

    def _receive(self, data: bytes) -> None:
        for event in self.client.receive_data(data):
            match event:
                case ResponseReceived(stream_id=stream, headers=headers):
                    self.answers[stream].append(dict(headers).get("grpc-status", "served"))
                case StreamReset(stream_id=stream):
                    self.answers[stream].append("reset")
                case WindowUpdated(stream_id=0, delta=delta):
                    self.window_bytes += delta

    def outcomes(self) -> Counter[str]:
        """Return how often each first answer was given."""
        return Counter(answers[0] if answers else "none" for answers in self.answers.values())


@pytest.fixture
def line() -> Line:
    """A connection whose table of headers knows those that the tests send."""
    line = Line()
    line.pass_on(line.call(), PLENTY)
    assert line.outcomes() == {"served": 1}
    return line


def test_a_call_for_which_there_is_no_room_never_reaches_the_server(line: Line) -> None:
    line.pass_on(line.call(), 0)

    assert line.answers[3] == ["8"]
    assert (line.reached, line.refused) == ([1], 1)


def test_a_refused_call_says_when_to_try_again(line: Line) -> None:
    data = line.call()
    sifted = line.sifter.sift(line.sifter.begin(data), 0, REFUSAL)

    (response, *_) = [
        event
        for event in line.client.receive_data(sifted.answers)
        if isinstance(event, ResponseReceived)
    ]
    headers = dict(response.headers)
    assert headers["grpc-message"] == "too many requests at once"
    assert "grpc-status-details-bin" in headers


def test_there_is_room_for_as_many_as_said_and_no_more(line: Line) -> None:
    line.pass_on(b"".join(line.call() for _ in range(5)), 2)

    assert line.outcomes() == {"served": 3, "8": 3}
    assert line.reached == [1, 3, 5]


def test_what_a_refused_call_has_sent_may_be_sent_again_by_others(line: Line) -> None:
    line.pass_on(line.call(message=bytes(10_000)), 0)

    assert line.window_bytes == 10_000


def test_a_client_that_streams_is_told_to_stop(line: Line) -> None:
    line.pass_on(line.call(ends=False), 0)

    assert line.answers[3] == ["8", "reset"]
    line.pass_on(line.call(), PLENTY)
    assert line.outcomes() == {"served": 2, "8": 1}


def test_what_was_on_its_way_for_a_refused_call_is_dropped(line: Line) -> None:
    data = line.call(ends=False)
    line.client.send_data(3, MESSAGE)
    line.client.increment_flow_control_window(100, 3)
    line.client.reset_stream(3)
    data += line.client.data_to_send()

    line.pass_on(data + line.call(), 0)

    assert line.reached == [1]
    assert not line.sifter.has_to_sift() or line.answers[5] == ["8"]


def test_headers_that_the_table_has_to_remember_reach_the_server(line: Line) -> None:
    line.pass_on(line.call([*HEADERS, ("tenant", "new")]), 0)
    line.pass_on(line.call([*HEADERS, ("tenant", "new")]), 0)

    # The first one changed the table, so whoever keeps the table had to read it.
    assert line.reached == [1, 3]
    assert line.answers[5] == ["8"]


def test_calls_that_may_not_be_refused_reach_the_server(line: Line) -> None:
    line.pass_on(line.call(with_headers(method="GET")), PLENTY)
    line.pass_on(line.call(with_headers(method="GET")), 0)

    assert line.reached == [1, 3, 5]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["same", "new", "other method"]),
        st.integers(0, 40),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(
    calls=CALLS,
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    rooms=st.lists(st.sampled_from([0, 0, 1, 2, PLENTY]), min_size=1, max_size=10),
)
def test_however_the_bytes_are_cut_each_call_is_answered_once_by_one_of_both(
    calls: list[tuple[str, int, bool]], cuts: list[int], rooms: list[int]
) -> None:
    line = Line()
    data = b""
    for number, (kind, size, ends) in enumerate(calls):
        headers = {
            "same": HEADERS,
            "new": [*HEADERS, ("n", str(number))],
            "other method": with_headers(method="GET"),
        }[kind]
        data += line.call(headers, bytes(size), ends=ends or kind != "same")
    turn = 0
    while data:
        size = cuts[turn % len(cuts)]
        line.pass_on(data[:size], rooms[turn % len(rooms)])
        data, turn = data[size:], turn + 1

    for number, (stream, answers) in enumerate(line.answers.items()):
        was_seen = stream in line.reached
        unfinished = calls[number][0] == "same" and not calls[number][2]
        assert was_seen == (answers in ([], ["served"])), (stream, answers)
        assert answers in ([["served"]] if not unfinished else [[]]) or not was_seen
        if not was_seen:
            assert answers in (["8"], ["8", "reset"])
    assert line.refused == len(line.answers) - len(line.reached)
    # Both ends still understand each other.
    line.pass_on(line.call(), PLENTY)
    assert line.answers[max(line.answers)] == ["served"]
