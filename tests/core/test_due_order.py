"""What is due, and when, where all have the same time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudstate_core.due_order import DueOrder


def test_things_are_due_in_the_order_in_which_they_were_added() -> None:
    order: DueOrder[str] = DueOrder(10.0)
    order.add("a", 0.0)
    order.add("b", 4.0)

    assert order.take_due(9.9) == []
    assert order.next_in_s(9.0) == 1.0
    assert order.take_due(10.0) == ["a"]
    assert order.next_in_s(20.0) == 0.0
    assert order.take_due(20.0) == ["b"]
    assert len(order) == 0
    assert order.next_in_s(20.0) == 10.0


def test_what_is_added_again_is_due_later_and_what_is_removed_never() -> None:
    order: DueOrder[str] = DueOrder(10.0)
    for key in "abc":
        order.add(key, 0.0)
    order.add("a", 5.0)
    order.remove("b")
    order.remove("b")

    assert order.take_due(10.0) == ["c"]
    assert order.take_first() == "a"
    assert order.take_first() is None


def test_no_more_is_taken_than_asked_for_and_what_came_first_goes_first() -> None:
    order: DueOrder[str] = DueOrder(10.0)
    for number, key in enumerate("abcde"):
        order.add(key, float(number))

    assert order.take_due(100.0, at_most=0) == []
    assert order.take_due(100.0, at_most=2) == ["a", "b"]
    assert order.take_first() == "c"
    assert order.take_due(100.0, at_most=9) == ["d", "e"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.floats(0, 5))))
def test_it_agrees_with_a_plain_account(steps: list[tuple[str, bool, float]]) -> None:
    order, plain, now_s = DueOrder[str](10.0), dict[str, float](), 0.0
    for name, is_added, later_s in steps:
        now_s += later_s
        order.remove(name)
        plain.pop(name, None)
        if is_added:
            order.add(name, now_s)
            plain[name] = now_s
        due = order.take_due(now_s, at_most=99)
        assert due == [name for name, since_s in plain.items() if since_s + 10.0 <= now_s]
        for gone in due:
            del plain[gone]
    assert len(order) == len(plain)
