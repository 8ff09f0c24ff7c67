"""Which message is delivered when: rules, and any order of events."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_doubles.outbox_world import World

from cloudstate_core.durable.messages import Lane, Message
from cloudstate_core.store import EntityKey
from cloudstate_runtime.durable.machine import (
    Acknowledge,
    Acknowledged,
    Announced,
    Attempted,
    Closing,
    Deliver,
    DeliveryMachine,
    Numbered,
    Opening,
    Park,
    Parked,
    Read,
    ReadOutbox,
    Rest,
    Rested,
    Revoked,
    ServicesChanged,
    Stored,
    Unparked,
    Verdict,
)


def message(message_id: str, sender: str = "s", receiver: str = "r") -> Message:
    lane = Lane(EntityKey("senders", sender), "Service", receiver)
    return Message(message_id, lane, "Service/Do", Any(), {})


A, B, C = (message(name) for name in "abc")
D = message("d", receiver="other")


def opened(*, max_attempts: int = 3, max_at_once: int = 10, max_held: int = 10) -> DeliveryMachine:
    machine = DeliveryMachine(
        max_attempts=max_attempts, max_at_once=max_at_once, max_held=max_held, page_messages=10
    )
    assert machine.receive(Opening()) == [ReadOutbox(0, min(max_held, 10))]
    assert machine.receive(Read((), is_all=True)) == []
    return machine


def sent(machine: DeliveryMachine, *messages: Message) -> list[object]:
    assert machine.receive(Announced([each.id for each in messages])) == []
    return list(machine.receive(Stored(messages)))


def done(each: Message) -> Attempted:
    return Attempted(each, Verdict.DONE)


def failed(each: Message) -> Attempted:
    return Attempted(each, Verdict.FAILED, "why")


# --- Lanes -------------------------------------------------------------------------


def test_of_a_lane_one_message_is_on_its_way_at_a_time() -> None:
    machine = opened()

    assert sent(machine, A, B, D) == [Deliver(A), Deliver(D)]
    assert machine.receive(done(A)) == [Acknowledge(["a"]), Deliver(B)]


def test_no_more_than_the_bound_are_on_their_way() -> None:
    machine = opened(max_at_once=1)

    assert sent(machine, A, D) == [Deliver(A)]
    assert machine.receive(done(A)) == [Acknowledge(["a"]), Deliver(D)]


def test_what_is_done_while_the_store_forgets_is_forgotten_together_afterwards() -> None:
    machine = opened()
    sent(machine, A, B, C)
    machine.receive(done(A))

    assert machine.receive(done(B)) == [Deliver(C)]
    assert machine.receive(done(C)) == []
    assert machine.receive(Acknowledged(["a"])) == [Acknowledge(["b", "c"])]
    assert machine.receive(Acknowledged(["b", "c"])) == []
    assert machine.held == 0


def test_a_lane_rests_after_a_failure_and_others_do_not() -> None:
    machine = opened()
    sent(machine, A, B, D)

    assert machine.receive(failed(A)) == [Rest(A.lane, 1, 1)]
    assert machine.receive(done(D)) == [Acknowledge(["d"])]
    assert machine.receive(Rested(A.lane, 1)) == [Deliver(A)]
    assert machine.receive(failed(A)) == [Rest(A.lane, 2, 2)]


def test_a_rest_that_is_over_already_ends_no_other_one() -> None:
    machine = opened()
    sent(machine, A)
    machine.receive(Attempted(A, Verdict.NOT_NOW))

    assert machine.receive(ServicesChanged()) == [Deliver(A)]
    assert machine.receive(failed(A)) == [Rest(A.lane, 2, 2)]
    assert machine.receive(Rested(A.lane, 1)) == []
    assert machine.receive(ServicesChanged()) == []
    assert machine.receive(Rested(A.lane, 2)) == [Deliver(A)]


def test_after_so_many_failures_a_message_is_parked_and_its_lane_goes_on() -> None:
    machine = opened(max_attempts=2)
    sent(machine, A, B)
    machine.receive(failed(A))
    machine.receive(Rested(A.lane, 1))

    assert machine.receive(failed(A)) == [Park(A, "why")]
    assert machine.receive(Parked(A)) == [Deliver(B)]
    assert machine.receive(failed(B)) == [Rest(A.lane, 2, 1)]


def test_an_attempt_at_the_wrong_time_does_not_count() -> None:
    machine = opened(max_attempts=2)
    sent(machine, A)

    for rest in range(1, 10):
        assert machine.receive(Attempted(A, Verdict.NOT_NOW)) == [Rest(A.lane, rest, rest)]
        assert machine.receive(Rested(A.lane, rest)) == [Deliver(A)]


def test_what_is_refused_is_parked_at_once() -> None:
    machine = opened()
    sent(machine, A, B)

    assert machine.receive(Attempted(A, Verdict.REFUSED, "no")) == [Park(A, "no")]


# --- Memory and outbox ---------------------------------------------------------------------------


def test_what_an_earlier_run_has_left_comes_first() -> None:
    machine = DeliveryMachine(max_attempts=3, max_at_once=9, max_held=9, page_messages=9)
    machine.receive(Opening())

    assert sent(machine, B) == []
    page = [Numbered(4, A), Numbered(5, B)]
    assert machine.receive(Read(page, is_all=True)) == [Deliver(A), ReadOutbox(5, 7)]
    assert machine.receive(Read((), is_all=True)) == []
    assert machine.receive(done(A)) == [Acknowledge(["a"]), Deliver(B)]


def test_what_memory_has_no_room_for_is_read_from_the_outbox_later() -> None:
    machine = opened(max_held=2)
    sent(machine, A, B, C)
    assert machine.held == 2

    machine.receive(done(A))
    assert machine.receive(Acknowledged(["a"])) == [ReadOutbox(0, 1)]
    assert machine.receive(Read([Numbered(2, B)], is_all=False)) == [ReadOutbox(2, 1)]
    machine.receive(Read([Numbered(3, C)], is_all=False))
    assert machine.held == 2


def test_what_is_about_to_be_stored_is_taken_once() -> None:
    machine = opened()
    machine.receive(Announced(["a"]))
    machine.receive(Revoked(["x"], may_be_stored=True))

    assert machine.receive(Read([Numbered(1, A)], is_all=True)) == []
    assert machine.receive(Stored([A])) == [Deliver(A)]


def test_what_may_be_stored_is_looked_for() -> None:
    machine = opened()
    machine.receive(Announced(["a"]))

    assert machine.receive(Revoked(["a"], may_be_stored=True)) == [ReadOutbox(0, 10)]
    assert machine.receive(Read([Numbered(1, A)], is_all=True)) == [Deliver(A)]


def test_what_was_not_stored_is_not_looked_for() -> None:
    machine = opened()
    machine.receive(Announced(["a"]))

    assert machine.receive(Revoked(["a"], may_be_stored=False)) == []


def test_what_was_acknowledged_during_a_read_is_not_taken_again() -> None:
    machine = opened()
    sent(machine, A)
    machine.receive(Unparked())
    machine.receive(done(A))
    machine.receive(Acknowledged(["a"]))

    assert machine.receive(Read([Numbered(1, A)], is_all=True)) == []


def test_nothing_is_begun_when_it_closes_but_what_is_done_is_still_forgotten() -> None:
    machine = opened()
    sent(machine, A, B)

    assert machine.receive(Closing()) == []
    assert machine.receive(done(A)) == [Acknowledge(["a"])]
    assert sent(machine, D) == []
    assert machine.receive(Unparked()) == []


# --- Any order of events -------------------------------------------------------------------------

#: One number decides all that happens: a life takes hundreds of choices.
any_random = st.integers(0, 2**64).map(Random)


@given(any_random)
@settings(max_examples=200, deadline=None)
def test_every_message_has_its_effect_once_and_in_order(random: Random) -> None:
    world = World(random)

    world.run(120)
    world.settle()


@given(any_random, st.integers(5, 40))
@settings(max_examples=200, deadline=None)
def test_every_message_has_its_effect_once_and_in_order_over_crashes(
    random: Random, crash_every: int
) -> None:
    world = World(random)

    world.run(150, crash_every=crash_every)
    world.settle()


# --- What the checks are worth -------------------------------------------------------------------


class TakesWhatIsAnnounced(DeliveryMachine):
    """Delivers what the outbox holds, also if a commit is about to hand it over."""

    def _take_page(self, page: Sequence[Numbered], *, is_all: bool) -> None:
        announced, self._announced = self._announced, {}
        super()._take_page(page, is_all=is_all)
        self._announced = announced


class TrustsOldPages(DeliveryMachine):
    """Forgets what was acknowledged while the outbox was read."""

    def _let_go(self, message_ids: Sequence[str]) -> None:
        super()._let_go(message_ids)
        self._let_go_while_reading.clear()


class AlwaysHasRoom(DeliveryMachine):
    """Takes what is new before what it has left in the outbox."""

    def _store(self, messages: Sequence[Message]) -> None:
        for each in messages:
            self._announced.pop(each.id)
            if each.id not in self._held:
                self._hold(each)


class NeverLooksAgain(DeliveryMachine):
    """Forgets that a commit of unknown outcome may have stored messages."""

    def _revoke(self, message_ids: Sequence[str], *, may_be_stored: bool) -> None:
        super()._revoke(message_ids, may_be_stored=False)


class ForgetsAtOnce(DeliveryMachine):
    """Holds a message no longer than until it is done."""

    def _settle(self, attempted: Attempted, instructions: list) -> None:
        super()._settle(attempted, instructions)
        if attempted.verdict == Verdict.DONE:
            self._held.discard(attempted.message.id)


class GoesOnBeforeItIsParked(DeliveryMachine):
    """Lets a lane go on while the store does not know yet that its first message is parked."""

    def _settle(self, attempted: Attempted, instructions: list) -> None:
        super()._settle(attempted, instructions)
        if instructions and isinstance(instructions[-1], Park):
            lane = attempted.message.lane
            self._advance(lane, self._queues[lane])

    def _drop_parked(self, message: Message) -> None:
        self._being_parked.discard(message.id)
        self._let_go((message.id,))


@pytest.mark.parametrize(
    "broken",
    [
        TakesWhatIsAnnounced,
        TrustsOldPages,
        AlwaysHasRoom,
        NeverLooksAgain,
        ForgetsAtOnce,
        GoesOnBeforeItIsParked,
    ],
)
def test_a_machine_that_breaks_the_rules_is_found_out(broken: type[DeliveryMachine]) -> None:
    def lives(seed: int) -> None:
        world = World(Random(seed), broken)
        world.run(150, crash_every=30)
        world.settle()

    with pytest.raises(AssertionError):  # noqa: PT012 - any of these lives may show it
        for seed in range(300):
            lives(seed)
