"""The built-in types, and a stranger's, keep the laws of a lattice."""

from __future__ import annotations

import kinds_of_values as kinds
import pytest
from hypothesis import strategies as st

from cloudstate_crdt import (
    Clock,
    Flag,
    GCounter,
    GSet,
    Lattice,
    LWWRegister,
    MalformedState,
    ORMap,
    ORSet,
    PNCounter,
    Vote,
    standard_types,
)
from cloudstate_crdt.lattice import Types


class MaxLevel(Lattice):
    """The example in the documentation of `Lattice`: a type that this package does not have."""

    type_name = "example.com/max-level"

    def __init__(self, level: int = 0) -> None:
        self.level = level

    def rise(self, level: int) -> MaxLevel:
        delta = MaxLevel(level)
        self.join(delta)
        return delta

    @classmethod
    def bottom(cls, types: Types) -> MaxLevel:
        return cls()

    @classmethod
    def parse(cls, data: bytes, types: Types) -> MaxLevel:
        if len(data) != 8:
            raise MalformedState(f"expected 8 bytes, found {len(data)}")
        return cls(int.from_bytes(data))

    def join(self, other: MaxLevel) -> bool:
        grows = other.level > self.level
        self.level = max(self.level, other.level)
        return grows

    def serialize(self) -> bytes:
        return self.level.to_bytes(8)

    def copy(self) -> MaxLevel:
        return MaxLevel(self.level)

    def is_bottom(self) -> bool:
        return self.level == 0


def levels():
    return st.integers(0, 9).map(lambda level: lambda state, me: state.rise(level))


class TestGCounter(kinds.Laws):
    __test__ = True
    type_ = GCounter
    mutations = staticmethod(kinds.gcounter)


class TestPNCounter(kinds.Laws):
    __test__ = True
    type_ = PNCounter
    mutations = staticmethod(kinds.pncounter)


class TestGSet(kinds.Laws):
    __test__ = True
    type_ = GSet
    mutations = staticmethod(kinds.gset)


class TestORSet(kinds.Laws):
    __test__ = True
    type_ = ORSet
    mutations = staticmethod(kinds.orset)


class TestFlag(kinds.Laws):
    __test__ = True
    type_ = Flag
    examples = 50
    mutations = staticmethod(kinds.flag)


class TestVote(kinds.Laws):
    __test__ = True
    type_ = Vote
    mutations = staticmethod(kinds.vote)


class TestLWWRegister(kinds.Laws):
    __test__ = True
    type_ = LWWRegister
    mutations = staticmethod(kinds.register)


class TestLWWRegisterOfOneClock(kinds.Laws):
    __test__ = True
    type_ = LWWRegister

    def mutations(self):
        return st.sampled_from(Clock).flatmap(lambda clock: kinds.register((clock,)))


class TestORMap(kinds.Laws):
    __test__ = True
    type_ = ORMap

    def mutations(self):
        return kinds.ormap(kinds.VALUES)


class TestORMapWhosePartsAreFull(kinds.Laws):
    __test__ = True
    type_ = ORMap

    @pytest.fixture(autouse=True)
    def full(self, monkeypatch):
        monkeypatch.setattr("cloudstate_crdt.types.ormap.MAX_PARTS", 1)

    def mutations(self):
        return kinds.ormap({GCounter: kinds.gcounter(), GSet: kinds.gset()})


class TestORMapThreeDeep(kinds.Laws):
    __test__ = True
    type_ = ORMap
    mutations = staticmethod(kinds.ormap_three_deep)


class TestTypeOfAStranger(kinds.Laws):
    __test__ = True
    types = standard_types().with_types(MaxLevel)
    type_ = MaxLevel
    mutations = staticmethod(levels)


class TestTypeOfAStrangerInAMap(kinds.Laws):
    __test__ = True
    types = standard_types().with_types(MaxLevel)
    type_ = ORMap

    def mutations(self):
        return kinds.ormap({MaxLevel: levels(), ORSet: kinds.orset()})
