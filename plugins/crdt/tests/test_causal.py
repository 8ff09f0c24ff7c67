from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudstate_crdt import CausalContext, Dot, Replica

A, B = Replica("a", 1), Replica("b", 1)

DOTS = st.lists(st.builds(Dot, st.sampled_from([A, B]), st.integers(1, 8)), max_size=20)


@given(DOTS, DOTS)
def test_a_context_is_a_set_of_dots(first: list[Dot], second: list[Dot]) -> None:
    context, other = CausalContext(first), CausalContext(second)

    assert set(context) == set(first)
    assert context.count() == len(set(first))
    assert context.join(other) is (not set(second) <= set(first))
    assert set(context) == {*first, *second}
    assert context == CausalContext([*second, *first])
    assert all(dot in context for dot in second)


@given(DOTS)
def test_only_dots_beyond_a_gap_are_kept_one_by_one(dots: list[Dot]) -> None:
    context = CausalContext(dots)

    for replica, sequences in context.beyond.items():
        assert sequences
        assert min(sequences) > context.up_to.get(replica, 0) + 1
    assert 0 not in context.up_to.values()


def test_a_filled_gap_leaves_one_number() -> None:
    context = CausalContext(Dot(A, sequence) for sequence in (1, 5, 3, 4, 2))

    assert (context.up_to, context.beyond) == ({A: 5}, {})


@given(DOTS)
def test_a_new_dot_is_one_that_was_never_given_out(dots: list[Dot]) -> None:
    context = CausalContext(dots)

    new = context.next_dot(A)

    assert new not in context
    assert all(new.sequence > dot.sequence for dot in dots if dot.replica == A)


def test_a_copy_is_another_context() -> None:
    context = CausalContext([Dot(A, 3)])
    copied = context.copy()

    copied.join(CausalContext([Dot(A, 1), Dot(A, 2), Dot(B, 4)]))

    assert context == CausalContext([Dot(A, 3)])


def test_an_epoch_makes_another_replica() -> None:
    context = CausalContext([Dot(A, 1), Dot(A, 2)])

    assert context.next_dot(A._replace(epoch=2)) == Dot(Replica("a", 2), 1)
