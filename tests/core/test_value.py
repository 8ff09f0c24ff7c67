from __future__ import annotations

import pytest

from cloudstate_core.value import value


@value
class Point:
    """A place."""

    x: int
    y: int = 0


def test_values_compare_and_hash_by_their_fields() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert len({Point(1), Point(1, 0), Point(1, 2)}) == 2
    assert repr(Point(1)) == "Point(x=1, y=0)"


def test_a_value_has_its_fields_and_no_others() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


def test_a_value_can_be_matched_by_position() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
