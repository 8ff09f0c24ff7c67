"""The forms that a streamed response may have."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_runtime.frontend.http.framing import EventFraming, LineFraming, framing_for

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", LINES),
        ("*/*", LINES),
        ("text/*", LINES),
        ("application/json", LINES),
        (LINES, LINES),
        (EVENTS, EVENTS),
        ("Text/Event-Stream", EVENTS),
        (f"{EVENTS}; charset=utf-8", EVENTS),
        (f"application/json, {EVENTS};q=0.1", EVENTS),
        (f"{EVENTS};q=0", LINES),
        (f"{EVENTS};q=x", LINES),
        (f"{EVENTS};q=0.4, {LINES};q=0.5", LINES),
        (f"{EVENTS};q=0.5, {LINES};q=0.5", EVENTS),
        (f"{EVENTS}x", LINES),
    ],
)
def test_a_client_gets_events_if_it_asks_for_them(accept: str, kind: str) -> None:
    assert framing_for(accept).content_type == kind


def documents() -> st.SearchStrategy[str]:
    values = st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)
    )
    return st.builds(
        lambda value, indent: json.dumps(value, ensure_ascii=False, indent=indent),
        values,
        st.none() | st.integers(0, 2),
    )


@given(st.lists(documents(), max_size=4))
def test_lines_come_apart_as_they_were_put_together(texts: list[str]) -> None:
    body = b"".join(LineFraming().element(text.encode(errors="replace")) for text in texts)

    found = [json.loads(line) for line in body.split(b"\n")[:-1]]
    assert found == [json.loads(text.encode(errors="replace")) for text in texts]


@given(st.lists(documents(), max_size=4))
def test_events_come_apart_as_they_were_put_together(texts: list[str]) -> None:
    body = b"".join(EventFraming().element(text.encode(errors="replace")) for text in texts)

    events = body.split(b"\n\n")[:-1]
    for event in events:
        assert all(line.startswith(b"data: ") for line in event.split(b"\n"))
    data = [b"\n".join(line[6:] for line in event.split(b"\n")) for event in events]
    assert [json.loads(each) for each in data] == [
        json.loads(text.encode(errors="replace")) for text in texts
    ]
