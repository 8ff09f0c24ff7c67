"""Every history of three replicas and a few operations, and what its end must be.

An operation sees all that its replica has done, and the pasts of any of the other operations
before it. So a history is a sequence of operations, each with a replica and a choice of what
arrived before it. Which replica is called which does not matter, so only the first of all renamings
is taken.

The oracle knows nothing of dots. It looks at which operations had seen which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from cloudstate_crdt import Lattice, Replica

REPLICAS = tuple(Replica(node, 1) for node in ("a", "b", "c"))


@dataclass(frozen=True)
class Operation:
    """Something that is done: its name for the oracle, and the mutation."""

    name: str
    mutate: Callable[[Lattice, Replica], Lattice]


@dataclass(frozen=True)
class Done:
    """An operation that was done: what it had seen (by position, itself included), and what came
    of it."""

    name: str
    replica: int
    past: frozenset[int]
    state: Lattice
    delta: Lattice


def histories(
    bottom: Lattice, operations: Sequence[Operation], length: int
) -> Iterator[tuple[Done, ...]]:
    """Every history of that many operations."""
    return _continued(bottom, operations, length, ())


def _continued(bottom, operations, length, done: tuple[Done, ...]) -> Iterator[tuple[Done, ...]]:
    if len(done) == length:
        yield done
        return
    used = len({each.replica for each in done})
    for replica in range(min(used + 1, len(REPLICAS))):
        for past, arrived in _possible_pasts(done, replica):
            seen = reduce(_joined, (done[each].state for each in arrived), bottom)
            for operation in operations:
                state = seen.copy()
                delta = operation.mutate(state, REPLICAS[replica])
                new = Done(operation.name, replica, past | {len(done)}, state, delta)
                yield from _continued(bottom, operations, length, (*done, new))


def _possible_pasts(done: tuple[Done, ...], replica: int) -> dict[frozenset[int], tuple[int, ...]]:
    """What the replica may have seen by now, and operations whose states make it up."""
    own = [i for i, each in enumerate(done) if each.replica == replica][-1:]
    others = [i for i, each in enumerate(done) if each.replica != replica]
    pasts = {}
    for choice in range(2 ** len(others)):
        arrived = (*own, *(each for bit, each in enumerate(others) if choice >> bit & 1))
        past = frozenset().union(*(done[each].past for each in arrived))
        pasts.setdefault(past, arrived)
    return pasts.items()


def _joined(state: Lattice, other: Lattice) -> Lattice:
    result = state.copy()
    result.join(other)
    return result


def surviving(done: Sequence[Done], visible: frozenset[int], kills: Callable[[str, str], bool]):
    """The names of visible operations that no visible operation which had seen them undoes."""
    return [
        done[each].name
        for each in sorted(visible)
        if not any(
            each != other and each in done[other].past and kills(done[other].name, done[each].name)
            for other in visible
        )
    ]


def differences(bottom: Lattice, operations, length, look, expected) -> tuple[int, list[str]]:
    """Compare all histories with the oracle: how many there are, and which differ how.

    Each operation's own state is compared (what it had seen), and the end, once from whole states
    and once from deltas that arrive backwards and twice.
    """
    count, found = 0, []
    for done in histories(bottom, operations, length):
        count += 1
        everything = frozenset(range(length))
        whole = bottom.copy()
        for each in done:
            whole.join(each.state)
        pieces = bottom.copy()
        for each in (*reversed(done), *done):
            pieces.join(each.delta)
        cases = [(done[-1].state, done[-1].past), (whole, everything), (pieces, everything)]
        for state, visible in cases:
            if look(state) != expected(done, visible):
                found.append(f"{_told(done)}: {expected(done, visible)} but {look(state)}")
        if whole != pieces or whole.serialize() != pieces.serialize():
            found.append(f"{_told(done)}: states and deltas give two ends")
    return count, found


def _told(done: Sequence[Done]) -> str:
    names = "abc"
    return "; ".join(
        f"{names[each.replica]} {each.name} seeing {sorted(each.past)}" for each in done
    )
