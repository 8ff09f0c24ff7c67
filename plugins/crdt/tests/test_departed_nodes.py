"""What is kept of nodes that have gone, and how it can be forgotten."""

from __future__ import annotations

import kinds_of_values as kinds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds_of_values import item

from cloudstate_crdt import GCounter, Lattice, ORMap, ORSet, Replica, standard_types
from cloudstate_crdt.testing import History
from cloudstate_crdt.testing.histories import Step, steps

TYPES = standard_types()
A, B = Replica("a", 1), Replica("b", 1)
MUTATIONS = {
    kind: mutations
    for kind, mutations in kinds.VALUES.items()
    # It says itself that a departed node's voice goes.
    if kind.type_name != "vote"
}


def look(state: Lattice) -> object:
    """What a user sees of a value, which is not who wrote it."""
    if isinstance(state, ORMap):
        return {key.SerializeToString(): look(state.get(key)) for key in state}
    if isinstance(state, ORSet) or state.type_name == "gset":
        return {element.SerializeToString() for element in state}
    for attribute in ("value", "enabled"):
        if hasattr(state, attribute):
            return getattr(state, attribute)
    raise AssertionError(state)


def histories(mutations: st.SearchStrategy) -> st.SearchStrategy[list[Step]]:
    return steps(mutations).filter(bool)


CASES = st.sampled_from(list(MUTATIONS)).flatmap(
    lambda kind: st.tuples(st.just(kind), histories(MUTATIONS[kind]), histories(MUTATIONS[kind]))
) | st.tuples(
    st.just(ORMap),
    histories(kinds.ormap(MUTATIONS)),
    histories(kinds.ormap(MUTATIONS)),
)


@given(CASES)
def test_replicas_that_prune_at_one_point_go_on_to_converge(case) -> None:
    kind, before, after = case
    history = History(kind.bottom(TYPES), before)
    met = kind.bottom(TYPES)
    for state in history.replicas:
        met.join(state)
    one, other = met.copy(), met.copy()
    for state in (one, other):
        state.prune({"a"})
    assert one == other
    assert look(one) == look(met)
    # `a` has gone; what the rest do from here on goes to and fro.
    for at, step in enumerate(after):
        state, peer = (one, other) if at % 2 else (other, one)
        step.mutation(state, Replica("bc"[at % 2], 20))
        if step.which % 3 == 0:
            peer.join(state)
    copied = one.copy()
    one.join(other)
    other.join(copied)

    assert one == other
    assert TYPES.read(TYPES.write(one)) == one


def test_ten_thousand_nodes_leave_one_count() -> None:
    counter = GCounter()
    for number in range(10_000):
        counter.increment(Replica(f"node-{number}", 1), 2)
    counter.prune({f"node-{number}" for number in range(1, 10_000)})

    assert counter.value == 20_000
    assert len(counter.counts) == 2


@pytest.mark.parametrize("kind", [ORSet, ORMap])
def test_what_departed_nodes_left_can_be_taken_over_and_they_are_forgotten(kind) -> None:
    state, other = kind.bottom(TYPES), kind.bottom(TYPES)
    for number in range(100):
        writer = Replica(f"node-{number % 10}", number)
        if kind is ORSet:
            state.add(writer, item(str(number)))
        else:
            state.update(writer, item("k"), GCounter, lambda counter, me: counter.increment(me))
    other.join(state)
    seen = look(state)
    departed = {f"node-{number}" for number in range(10)}

    other.join(state.adopt(A, departed))
    for each in (state, other):
        each.prune(departed)

    assert state == other
    assert look(state) == seen
    assert state.store.context.replicas() == {A}


def test_a_dot_of_a_departed_node_that_is_alive_is_not_forgotten() -> None:
    elements = ORSet.bottom(TYPES)
    elements.add(A, item("x"))
    elements.add(B, item("y"))
    elements.remove(item("y"))

    elements.prune({"a", "b"})

    assert elements.store.context.replicas() == {A}
    assert [each.value for each in elements] == [b"x"]
