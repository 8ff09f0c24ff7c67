"""Things that happen to a few replicas of one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from hypothesis import strategies as st

from cloudstate_crdt.lattice import Lattice
from cloudstate_crdt.replica import Replica

__all__ = ["Happening", "History", "Mutation", "Step", "steps"]

LatticeT = TypeVar("LatticeT", bound=Lattice)

#: Changes a value as a replica and returns the delta.
Mutation = Callable[[LatticeT, Replica], LatticeT]

NODES = ("a", "b", "c")
_MAX_STEPS = 12


class Happening(Enum):
    """What happens to a replica."""

    #: It changes the value.
    CHANGE = "change"
    #: A delta arrives, an old one perhaps, perhaps for the second time.
    DELTA = "delta"
    #: The whole state of another replica arrives.
    STATE = "state"
    #: It loses everything and comes back with the next epoch.
    RESTART = "restart"


@dataclass(frozen=True)
class Step(Generic[LatticeT]):
    """One thing that happens to one replica.

    Attributes:
        happening: What.
        node: To which, by position.
        which: Which delta arrives, or from which other replica the state does.
        mutation: What is changed.
    """

    happening: Happening
    node: int
    which: int
    mutation: Mutation[LatticeT]


def steps(
    mutations: st.SearchStrategy[Mutation[LatticeT]],
) -> st.SearchStrategy[list[Step[LatticeT]]]:
    """A strategy for what happens; changes are more frequent than the rest."""
    usual = [Happening.CHANGE] * 3 + [Happening.DELTA] * 2 + [Happening.STATE, Happening.RESTART]
    step: st.SearchStrategy[Step[LatticeT]] = st.builds(
        Step,
        happening=st.sampled_from(usual),
        node=st.integers(0, len(NODES) - 1),
        which=st.integers(0, _MAX_STEPS),
        mutation=mutations,
    )
    return st.lists(step, max_size=_MAX_STEPS)


class History(Generic[LatticeT]):
    """What became of the replicas.

    Attributes:
        replicas: The states in the end, by position of the node.
        deltas: All deltas, in the order in which they came to be.
        moments: The state of whichever replica something happened to, after each step.
        writers: Who made each delta.
        changes: For each change the state before it, its delta, and the state after it.
        last_moments: The state of each replica, by position, after the last that happened to it.
        handed_out: Each delta itself, not a copy, with the bytes it had when it came to be.
    """

    def __init__(self, bottom: LatticeT, taken: Iterable[Step[LatticeT]]) -> None:
        self._bottom = bottom
        self._epochs = [1] * len(NODES)
        self.replicas = [bottom.copy() for _ in NODES]
        self.deltas: list[LatticeT] = []
        self.writers: list[Replica] = []
        self.moments: list[LatticeT] = []
        self.changes: list[tuple[LatticeT, LatticeT, LatticeT]] = []
        self.last_moments: dict[int, LatticeT] = {}
        self.handed_out: list[tuple[LatticeT, bytes]] = []
        for step in taken:
            self._take(step)
            self.moments.append(self.replicas[step.node].copy())
            self.last_moments[step.node] = self.moments[-1]

    def _take(self, step: Step[LatticeT]) -> None:
        state = self.replicas[step.node]
        match step.happening:
            case Happening.CHANGE:
                before = state.copy()
                writer = Replica(NODES[step.node], self._epochs[step.node])
                delta = step.mutation(state, writer)
                self.writers.append(writer)
                self.handed_out.append((delta, delta.serialize()))
                self.deltas.append(delta.copy())
                self.changes.append((before, delta.copy(), state.copy()))
            case Happening.DELTA if self.deltas:
                state.join(self.handed_out[step.which % len(self.deltas)][0])
            case Happening.STATE:
                state.join(self.replicas[step.which % len(NODES)])
            case Happening.RESTART:
                self._epochs[step.node] += 1
                self.replicas[step.node] = self._bottom.copy()
            case _:
                pass

    def everything(self) -> list[LatticeT]:
        """All states and deltas there were, the latest first, and the bottom."""
        return [*reversed(self.moments), *reversed(self.deltas), self._bottom]
