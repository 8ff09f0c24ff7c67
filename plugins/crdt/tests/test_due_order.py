from __future__ import annotations

from cloudstate_crdt.due_order import DueOrder


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
