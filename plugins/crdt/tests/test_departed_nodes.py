"""What is kept of nodes that have gone is forgotten, and nobody who looks at a value sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from itertools import permutations

import kinds_of_values as kinds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds_of_values import item, look

from cloudstate_crdt import (
    GCounter,
    Lattice,
    MalformedState,
    ORMap,
    ORSet,
    PNCounter,
    Replica,
    Vote,
    standard_types,
)
from cloudstate_crdt.causal import Dot
from cloudstate_crdt.departed import RETIRED, Departed
from cloudstate_crdt.errors import DotReused
from cloudstate_crdt.items import Segment
from cloudstate_crdt.lattices_pb2 import DottedState
from cloudstate_crdt.testing import History
from cloudstate_crdt.testing.departures import joined
from cloudstate_crdt.testing.histories import Happening, Step, steps
from cloudstate_crdt.types.gcounter import MAX_COUNT

TYPES = standard_types()
A, B, C = Replica("a", 1), Replica("b", 1), Replica("c", 1)
HEIR = Replica("y", 1)
GONE = Departed({"a": 99})
SEGMENT = Segment.of(item("k"), "gcounter")
MUTATIONS = {**kinds.VALUES, ORMap: kinds.ormap(kinds.VALUES)}


@dataclass
class Node:
    """A node that stays, with the messages that have arrived and wait to be joined.

    Attributes:
        writer: As whom it writes.
        state: Its copy.
        folds: Whether it takes part in the agreement.
        forgets: Whether it forgets at all; a control does not, and refuses the same messages.
        generation: Whether it has come to the moment at which it forgets.
    """

    writer: Replica
    state: Lattice
    folds: bool = True
    forgets: bool = True
    generation: int = 0
    deltas: list[tuple[int, Lattice]] = field(default_factory=list)
    inbox: list[Lattice] = field(default_factory=list)

    def change(self, mutation) -> None:
        self.deltas.append((self.generation, mutation(self.state, self.writer).copy()))

    def retire(self) -> None:
        self.generation = 1
        if self.forgets:
            self.state.retire(GONE, into=RETIRED if self.folds else None)

    def hears(self, generation: int, message: Lattice) -> None:
        if generation == self.generation:
            self.inbox.append(message.copy())

    def take_in(self) -> None:
        while self.inbox:
            message = self.inbox.pop(0)
            if self.generation and self.forgets:
                message.retire(GONE, into=None)
            self.state.join(message)


def live(nodes: list[Node], script: list[Step]) -> None:
    """What becomes of two nodes that each forget at a moment of their own."""
    for step in script:
        node, peer = nodes[step.node % 2], nodes[1 - step.node % 2]
        match step.happening:
            case Happening.CHANGE:
                node.change(step.mutation)
            case Happening.DELTA if peer.deltas:
                node.hears(*peer.deltas[step.which % len(peer.deltas)])
            case Happening.STATE:
                node.hears(peer.generation, peer.state)
            case Happening.RESTART:
                node.retire()
            case _:
                pass
        if step.which % 2:
            node.take_in()
    for node in nodes:
        node.retire()
        node.take_in()
    meet(nodes)


def meet(nodes: list[Node]) -> None:
    everything = reduce(joined, [node.state for node in nodes])
    for node in nodes:
        node.state.join(everything)


def agreed(kind: type[Lattice], before: list[Step]) -> Lattice:
    """What replicas have that have seen the same of `a`, and taken over what was left of it."""
    history = History(kind.bottom(TYPES), before)
    state = reduce(joined, history.deltas, kind.bottom(TYPES))
    if state.must_adopt(GONE):
        state.adopt(HEIR, GONE)
    return state


def cases(kind: type[Lattice]):
    return st.tuples(st.just(kind), steps(MUTATIONS[kind]), steps(MUTATIONS[kind]))


CASES = st.sampled_from(list(MUTATIONS)).flatmap(cases)


@given(CASES)
def test_who_has_seen_the_same_forgets_when_it_likes_and_users_see_nothing_of_it(case) -> None:
    kind, before, script = case
    met = agreed(kind, before)
    writers = (Replica("b", 20), Replica("c", 20))
    nodes = [Node(writer, met.copy()) for writer in writers]
    controls = [Node(writer, met.copy(), forgets=False) for writer in writers]

    live(nodes, script)
    live(controls, script)

    assert nodes[0].state == nodes[1].state
    assert look(nodes[0].state) == look(controls[0].state)
    assert nodes[0].state.trace_of(GONE) == b""
    assert TYPES.read(TYPES.write(nodes[0].state)) == nodes[0].state


@given(CASES, st.integers(0, 99))
def test_who_had_no_part_gets_the_rest_from_the_others(case, which: int) -> None:
    kind, before, script = case
    history = History(kind.bottom(TYPES), before)
    # It was away: it has what it once had.
    old = history.everything()[which % len(history.everything())]
    node = Node(Replica("b", 20), agreed(kind, before))
    returned = Node(Replica("c", 20), old.copy(), folds=False)
    seen = look(joined(node.state, old))

    node.retire()
    returned.retire()
    meet([node, returned])
    assert look(returned.state) == seen
    live([node, returned], script)

    assert node.state == returned.state
    assert node.state.trace_of(GONE) == b""


# --- What goes wrong without -----------------------------------------------------------


def test_what_was_sent_before_and_is_not_stripped_counts_twice() -> None:
    counter = GCounter()
    sent = counter.increment(A, 5)
    counter.retire(GONE, into=RETIRED)
    stripped, not_stripped = sent.copy(), sent

    stripped.retire(GONE, into=None)
    assert counter.join(stripped) is False
    assert counter.value == 5
    counter.join(not_stripped)
    assert counter.value == 10


def test_what_was_sent_before_and_is_not_stripped_brings_back_what_was_removed() -> None:
    elements = ORSet.bottom(TYPES)
    sent = elements.add(A, item("x"))
    elements.adopt(B, GONE)
    elements.retire(GONE, into=RETIRED)
    elements.remove(item("x"))
    stripped, not_stripped = sent.copy(), sent

    stripped.retire(GONE, into=None)
    assert elements.join(stripped) is False
    assert item("x") not in elements
    elements.join(not_stripped)
    assert item("x") in elements


def test_who_has_folded_must_not_be_joined_with_who_has_not() -> None:
    folded, not_folded = GCounter({A: 5}), GCounter({A: 5})
    folded.retire(GONE, into=RETIRED)

    not_folded.join(folded)

    assert not_folded.value == 10


# --- Counters ----------------------------------------------------------------------------


def test_ten_thousand_nodes_leave_one_count() -> None:
    counter = PNCounter()
    for number in range(10_000):
        counter.change(Replica(f"node-{number}", 1), 2 if number % 2 else -1)
    departed = Departed({f"node-{number}": 1 for number in range(1, 10_000)})

    counter.retire(departed, into=RETIRED)

    assert counter.value == 5_000
    assert len(counter.increments.counts) == 1
    assert len(counter.decrements.counts) == 2
    assert len(counter.serialize()) < 100


def test_what_does_not_fit_into_one_count_is_kept_in_several() -> None:
    counts = {Replica(f"node-{number}", 1): MAX_COUNT - number for number in range(5)}
    at_once, in_steps = GCounter(counts.copy()), GCounter(counts.copy())

    at_once.retire(Departed({each.node: 1 for each in counts}), into=RETIRED)
    for each in reversed(counts):
        in_steps.retire(Departed({each.node: 1}), into=RETIRED)

    assert at_once == in_steps
    assert at_once.value == sum(counts.values())
    assert sorted(at_once.counts) == [RETIRED._replace(strand=strand) for strand in range(5)]
    assert GCounter.parse(at_once.serialize(), TYPES) == at_once


@given(st.lists(st.integers(1, MAX_COUNT), min_size=1, max_size=6), st.integers(0, 6))
def test_of_two_forgotten_totals_the_greater_stays(counts: list[int], few: int) -> None:
    def total(of: list[int]) -> GCounter:
        counter = GCounter({Replica("a", number): count for number, count in enumerate(of)})
        counter.retire(GONE, into=RETIRED)
        return counter

    more, less = total(counts), total(counts[:few])

    assert joined(less, more) == joined(more, less) == more


def test_forgotten_counts_that_nobody_writes_are_refused() -> None:
    second = RETIRED._replace(strand=1)
    for counts in (
        {second: 1},
        {RETIRED: 1, second: 1},
        {RETIRED: MAX_COUNT + 1},
        {RETIRED: MAX_COUNT, RETIRED._replace(strand=2): 1},
        {RETIRED._replace(epoch=1): 1},
    ):
        with pytest.raises(MalformedState, match="in full counts but the last"):
            GCounter.parse(GCounter(counts).serialize(), TYPES)
    assert GCounter.parse(GCounter({RETIRED: MAX_COUNT, second: 1}).serialize(), TYPES)


def test_what_was_forgotten_before_is_in_the_trace_of_what_is_to_be_forgotten() -> None:
    # Who has less of what was forgotten before would fold to less, and seem to have it all.
    one, other = GCounter({RETIRED: 5, A: 2}), GCounter({A: 2})

    assert one.trace_of(GONE) != other.trace_of(GONE)
    assert GCounter({RETIRED: 5}).trace_of(GONE) == b""


# --- Sets, maps and votes ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ORSet, ORMap])
def test_what_departed_nodes_left_is_taken_over_and_they_are_forgotten(kind) -> None:
    state, other = kind.bottom(TYPES), kind.bottom(TYPES)
    for number in range(100):
        writer = Replica(f"node-{number % 10}", number)
        if kind is ORSet:
            state.add(writer, item(str(number)))
        else:
            state.update(writer, item("k"), GCounter, lambda counter, me: counter.increment(me))
    other.join(state)
    seen = look(state)
    departed = Departed({f"node-{number}": 100 for number in range(10)})

    other.join(state.adopt(A, departed))
    for each in (state, other):
        each.retire(departed, into=RETIRED)

    assert state == other
    assert look(state) == seen
    assert state.store.context.replicas() == {A}


def test_what_many_left_under_one_key_becomes_one_leaf() -> None:
    state = ORMap.bottom(TYPES)
    for number in range(50):
        one = ORMap.bottom(TYPES)
        writer = Replica(f"node-{number}", 1)
        one.update(writer, item("k"), GCounter, lambda counter, me: counter.increment(me, 2))
        state.join(one)
    assert len(state.store.paths) == 100

    departed = Departed({f"node-{number}": 1 for number in range(50)})
    state.adopt(A, departed)
    state.retire(departed, into=RETIRED)

    presence, (dot, part) = state.store.root.children[SEGMENT].leaves.items()
    assert presence == (Dot(A, 1), None)
    assert part == GCounter({A._replace(strand=dot.sequence): 100})
    assert state.get(item("k")).value == 100
    assert len(state.serialize()) < 200
    state.update(A, item("k"), GCounter, lambda counter, me: counter.increment(me, 2))
    assert state.get(item("k")).value == 102


def test_what_does_not_fit_into_one_count_of_a_part_stays_as_it_is() -> None:
    state = ORMap.bottom(TYPES)
    for node in ("a", "b"):
        one = ORMap.bottom(TYPES)
        writer = Replica(node, 1)
        one.update(writer, item("k"), GCounter, lambda it, me: it.increment(me, MAX_COUNT))
        state.join(one)
    departed = Departed({"a": 1, "b": 1})
    state.adopt(C, departed)
    state.retire(departed, into=RETIRED)

    assert state.get(item("k")).value == 2 * MAX_COUNT
    assert TYPES.read(TYPES.write(state)) == state


# --- Removals while somebody takes over ----------------------------------------------------


def in_any_order(*deltas: Lattice) -> list[Lattice]:
    bottom = type(deltas[0]).bottom(TYPES)
    return [reduce(joined, each, bottom) for each in permutations(deltas)]


def test_a_removal_that_has_not_seen_who_took_over_removes_what_was_taken_over() -> None:
    elements = ORSet.bottom(TYPES)
    added = elements.add(A, item("x"))
    heir, remover = elements.copy(), elements.copy()
    adopted, removal = heir.adopt(B, GONE), remover.remove(item("x"))

    for state in (*in_any_order(added, adopted, removal), joined(heir, remover)):
        assert list(state) == []
        assert not state.must_adopt(GONE)
        assert joined(state, adopted) == state
        state.retire(GONE, into=RETIRED)
        assert list(state) == []
        # Who has forgotten already, and still has it, hears of the removal.
        forgotten = heir.copy()
        forgotten.retire(GONE, into=RETIRED)
        assert list(forgotten) == [item("x")]
        assert list(joined(forgotten, state)) == []


def test_an_element_that_is_added_again_meanwhile_stays() -> None:
    elements = ORSet.bottom(TYPES)
    added = elements.add(A, item("x"))
    adopted, again = elements.copy().adopt(B, GONE), elements.copy().add(C, item("x"))

    for state in in_any_order(added, adopted, again):
        assert list(state) == [item("x")]
        assert state.store.paths.keys() == {Dot(C, 1)}


def test_what_was_taken_over_by_one_who_departed_too_is_removed_with_it() -> None:
    elements = ORSet.bottom(TYPES)
    added = elements.add(A, item("x"))
    remover = elements.copy()
    first = elements.adopt(B, GONE)
    second = elements.adopt(C, Departed({"a": 99, "b": 99}))
    removal = remover.remove(item("x"))

    assert second.store.paths.keys() == {Dot(C, 1)}
    for state in in_any_order(added, first, second, removal):
        assert list(state) == []


def test_a_key_that_is_removed_while_somebody_takes_over_takes_its_counts_with_it() -> None:
    state = ORMap.bottom(TYPES)
    added = state.update(A, item("k"), GCounter, lambda counter, me: counter.increment(me, 5))
    heir, remover = state.copy(), state.copy()
    adopted, removal = heir.adopt(B, GONE), remover.remove(item("k"))
    counted = heir.update(B, item("k"), GCounter, lambda counter, me: counter.increment(me, 2))

    for each in in_any_order(added, adopted, removal, counted):
        # What was counted meanwhile, and the removal has not seen, is all there is.
        assert each.get(item("k")).value == 2
    assert heir.get(item("k")).value == 7


def test_what_is_said_to_stand_in_for_two_things_is_refused() -> None:
    one, other = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    one.add(A, item("x"))
    other.add(C, item("x"))
    adopted, forged = one.adopt(B, GONE), other.adopt(B, Departed({"c": 99}))
    before = adopted.copy()

    with pytest.raises(DotReused):
        adopted.join(forged)
    assert adopted == before


def test_a_leaf_that_stands_in_for_what_was_removed_is_not_read() -> None:
    elements = ORSet.bottom(TYPES)
    elements.add(A, item("x"))
    elements.adopt(B, GONE)
    written = DottedState.FromString(elements.serialize())
    del written.root.children[0].branch.leaves[0]

    with pytest.raises(MalformedState, match="stand in for something, found it removed"):
        ORSet.parse(written.SerializeToString(deterministic=True), TYPES)


def test_how_far_a_part_of_a_departed_node_has_grown_is_in_the_trace() -> None:
    # A part that grows has no new dot. Who took over the smaller one would take the rest away.
    behind, ahead = ORMap.bottom(TYPES), ORMap.bottom(TYPES)

    def count(map_: ORMap) -> ORMap:
        return map_.update(A, item("k"), GCounter, lambda counter, me: counter.increment(me))

    for _ in range(4):
        behind.join(count(ahead))
    assert behind.trace_of(GONE) == ahead.trace_of(GONE)
    last = count(ahead)
    assert set(behind.store.context) == set(ahead.store.context)

    assert behind.trace_of(GONE) != ahead.trace_of(GONE)
    behind.join(last)
    assert behind.trace_of(GONE) == ahead.trace_of(GONE)


def test_a_removal_that_the_heir_has_not_seen_is_in_the_trace() -> None:
    behind, ahead = ORSet.bottom(TYPES), ORSet.bottom(TYPES)
    behind.join(ahead.add(A, item("x")))
    removal = ahead.remove(item("x"))

    assert behind.trace_of(GONE) != ahead.trace_of(GONE)
    behind.join(removal)
    assert behind.trace_of(GONE) == ahead.trace_of(GONE) != b""


def test_a_vote_of_a_departed_node_is_forgotten_and_its_later_life_votes_on() -> None:
    vote = Vote()
    for writer in (A, B, Replica("c", 2)):
        vote.vote(writer, is_for=True)

    assert vote.retire(Departed({"a": 1, "c": 1}), into=RETIRED) is True

    assert vote.voices == {"b": (1, 1), "c": (2, 1)}


# --- Traces ------------------------------------------------------------------------------


KEEPING = {kind: MUTATIONS[kind] for kind in (GCounter, PNCounter, ORSet, Vote, ORMap)}


@given(
    st.sampled_from(list(KEEPING)).flatmap(
        lambda kind: st.tuples(
            st.just(kind), st.lists(KEEPING[kind], max_size=6), steps(KEEPING[kind])
        )
    ),
    st.randoms(use_true_random=False),
)
def test_a_trace_is_equal_where_what_was_seen_of_the_departed_is_and_nowhere_else(
    case, chance
) -> None:
    kind, changes, elsewhere = case
    writer = kind.bottom(TYPES)
    theirs = [change(writer, A).copy() for change in changes]
    # What the others do meanwhile, without having seen it; nobody of them is called `a`.
    others = History(kind.bottom(TYPES), [step for step in elsewhere if step.node]).deltas

    def some(of: list[Lattice], state: Lattice) -> Lattice:
        return reduce(joined, [each for each in of if chance.random() < 0.7], state)

    one, other = some(theirs, kind.bottom(TYPES)), some(theirs, kind.bottom(TYPES))
    one_more, other_more = some(others, one), some(others, other)

    assert (one == other) is (one_more.trace_of(GONE) == other_more.trace_of(GONE))
    if one == other and one.must_adopt(GONE):
        other_more.join(one_more.adopt(HEIR, GONE))
        assert not other_more.must_adopt(GONE)
        assert one_more.trace_of(GONE) == other_more.trace_of(GONE)
