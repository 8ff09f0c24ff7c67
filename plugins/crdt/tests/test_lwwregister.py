from __future__ import annotations

import pytest
from kinds_of_values import item

from cloudstate_crdt import Clock, LWWRegister, Replica

A, B = Replica("a", 1), Replica("b", 1)
NOW = 1_700_000_000_000


def written(register: LWWRegister) -> bytes:
    assert register.value is not None
    return register.value.value


def test_nothing_is_there_before_the_first_write() -> None:
    assert (LWWRegister().value, LWWRegister().timestamp) == (None, None)


def test_the_write_with_the_greater_time_stays() -> None:
    one, other = LWWRegister(), LWWRegister()
    one.set(B, item("early"), now=NOW)
    other.set(A, item("late"), now=NOW + 1)

    one.join(other)

    assert written(one) == b"late"


def test_a_clock_that_goes_back_does_not_lose_a_write() -> None:
    register = LWWRegister()
    register.set(A, item("first"), now=NOW)
    register.set(A, item("second"), now=NOW - 60_000)

    assert (written(register), register.timestamp) == (b"second", NOW + 1)


def test_with_the_reverse_clock_the_first_write_stays() -> None:
    one, other = LWWRegister(), LWWRegister()
    one.set(B, item("early"), now=NOW, clock=Clock.REVERSE)
    other.set(A, item("late"), now=NOW + 1, clock=Clock.REVERSE)

    assert other.join(one) is True
    assert other.set(A, item("later"), now=NOW + 2, clock=Clock.REVERSE).is_bottom()
    assert (written(other), other.timestamp) == (b"early", -NOW)


def test_a_custom_clock_is_taken_as_it_is() -> None:
    register = LWWRegister()
    register.set(A, item("seven"), now=7, clock=Clock.CUSTOM)

    lost = register.set(A, item("three"), now=3, clock=Clock.CUSTOM)

    assert lost.is_bottom()
    assert (written(register), register.timestamp) == (b"seven", 7)


def test_of_two_writes_of_one_node_with_one_custom_time_the_later_stays() -> None:
    register = LWWRegister()
    deltas = [register.set(A, item(name), now=7, clock=Clock.CUSTOM) for name in ("z", "a")]
    replica = LWWRegister()
    for delta in reversed(deltas):
        replica.join(delta)

    assert written(register) == written(replica) == b"a"


@pytest.mark.parametrize(("given", "expected"), [(3, 8), (7, 8), (9, 9)])
def test_a_custom_clock_can_go_on_by_itself(given: int, expected: int) -> None:
    register = LWWRegister()
    register.set(A, item("first"), now=7, clock=Clock.CUSTOM_AUTO_INCREMENT)
    register.set(A, item("second"), now=given, clock=Clock.CUSTOM_AUTO_INCREMENT)

    assert (written(register), register.timestamp) == (b"second", expected)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_writes_at_one_time_that_of_the_lower_node_stays(order: tuple[int, int]) -> None:
    writes = [LWWRegister(), LWWRegister()]
    writes[0].set(A, item("of a"), now=NOW)
    writes[1].set(B, item("of b"), now=NOW)
    register = LWWRegister()
    for each in order:
        register.join(writes[each])

    assert written(register) == b"of a"


def test_a_time_that_cannot_be_written_is_refused() -> None:
    register = LWWRegister()
    register.set(A, item("last"), now=2**63 - 1, clock=Clock.CUSTOM)

    with pytest.raises(ValueError, match="64 bits"):
        register.set(A, item("beyond"), now=0)
    assert written(register) == b"last"
