from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.waiting import (
    WAITING_HEADER,
    entity_name,
    waiting_of,
    with_waiting,
    without_waiting,
)

OTHERS = Metadata([("tenant", "a"), ("tenant", "b"), ("trace-bin", b"\x00")])

ENTITIES = st.lists(st.builds(entity_name, st.just("shop.Cart"), st.text(min_size=1)), max_size=4)


@given(ENTITIES)
def test_who_waits_is_read_as_it_was_written(names: list[str]) -> None:
    headers = with_waiting(OTHERS, tuple(names))

    assert waiting_of(headers) == tuple(names)
    assert without_waiting(headers) == OTHERS


@given(ENTITIES)
def test_the_header_is_visible_ascii_whatever_the_ids_are(names: list[str]) -> None:
    for value in with_waiting(EMPTY_METADATA, tuple(names)).get_all(WAITING_HEADER):
        assert isinstance(value, str)
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value


def test_who_waited_before_is_not_kept() -> None:
    before = with_waiting(OTHERS, ("a/1",))

    assert waiting_of(with_waiting(before, ("b/2",))) == ("b/2",)
    assert with_waiting(before, ()) == OTHERS


def test_nothing_is_made_where_nobody_waits() -> None:
    assert with_waiting(EMPTY_METADATA, ()) is EMPTY_METADATA
    assert without_waiting(OTHERS) is OTHERS
