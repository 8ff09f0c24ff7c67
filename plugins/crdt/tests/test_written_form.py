"""What is read is exactly what a replica would have written; everything else is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from google.protobuf.any_pb2 import Any
from kinds_of_values import item

from cloudstate_crdt import (
    Clock,
    Flag,
    GCounter,
    GSet,
    Lattice,
    LWWRegister,
    MalformedState,
    NestedTooDeep,
    ORMap,
    ORSet,
    PNCounter,
    Replica,
    StateRefused,
    StateTooLarge,
    UnknownType,
    Vote,
    standard_types,
)
from cloudstate_crdt.lattices_pb2 import (
    Branch,
    Child,
    DottedState,
    GCounterState,
    Leaf,
    PNCounterState,
    SeenDots,
    TypedState,
    Writer,
)

TYPES = standard_types()
A, B = Replica("a", 1), Replica("b", 1)
WRITER = Writer(node="a", epoch=1)
SEEN = SeenDots(writer=0, up_to=9)


def leaf(sequence: int = 1, **more) -> Branch:
    return Branch(leaves=[Leaf(sequence=sequence, **more)])


def child(branch: Branch, type_: str = "", name: str = "x") -> Child:
    return Child(item=item(name), type=type_, branch=branch)


def dotted(*children: Child, **more) -> bytes:
    fields = {"writers": [WRITER], "seen": [SEEN], "root": Branch(children=children)} | more
    return DottedState(**fields).SerializeToString(deterministic=True)


def test_the_written_form_does_not_change() -> None:
    # It is on disks and on its way between versions: another form would be another type.
    counter, elements, state = GCounter(), ORSet.bottom(TYPES), ORMap.bottom(TYPES)
    counter.increment(A, 3)
    elements.add(A, Any(type_url="t", value=b"v"))
    elements.add(B, Any(type_url="t", value=b"w"))
    elements.remove(Any(type_url="t", value=b"v"))
    state.update(A, Any(type_url="t", value=b"k"), Flag, lambda flag, _: flag.enable())
    register = LWWRegister()
    register.set(A, Any(type_url="t", value=b"v"), now=5, clock=Clock.REVERSE)

    assert TYPES.write(counter).hex() == "0a0867636f756e746572120b0a090a050a016110011003"
    assert elements.serialize().hex() == (
        "0a050a016110010a050a01621001120210011204080110011a1212100a060a01741201771a060a0408011001"
    )
    assert state.serialize().hex() == (
        "0a050a01611001120210021a1e121c0a060a017412016b1204666c61671a0c0a0610011a0208010a021002"
    )
    assert register.serialize().hex() == "0a050a01611001100922060a0174120176"


OTHER_PROCESS = """
from google.protobuf.any_pb2 import Any
from cloudstate_crdt import *
types = standard_types()
growing, elements, state = GSet(), ORSet.bottom(types), ORMap.bottom(types)
for number in range(50):
    element, me = Any(type_url="t", value=b"%d" % number), Replica(f"node-{number % 7}", 1)
    growing.add(element)
    elements.add(me, element)
    state.update(me, element, GSet, lambda inner, _: inner.join(growing) and inner)
    state.remove(Any(type_url="t", value=b"%d" % (number // 2)))
print(growing.digest().hex(), elements.digest().hex(), state.digest().hex())
"""


def test_another_process_writes_the_same_bytes() -> None:
    # Sets are walked in an order that each process draws anew.
    told = {
        subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(told) == 1
    assert len(told.pop().split()) == 3


@pytest.mark.parametrize(
    "state", [GCounter(), PNCounter(), GSet(), Flag(), Vote(), LWWRegister(), ORSet, ORMap]
)
def test_nothing_is_written_as_nothing(state) -> None:
    empty = state.bottom(TYPES)

    assert empty.serialize() == b""
    assert type(empty).parse(b"", TYPES) == empty


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (GCounter, b"\xff\xff"),
        (GCounter, b"not a message"),
        (GCounter, GCounterState(counts=[{"writer": WRITER, "count": 0}]).SerializeToString()),
        (GCounter, GCounterState(counts=[{"writer": WRITER, "count": 1}] * 2).SerializeToString()),
        (GCounter, GCounterState(counts=[{"count": 1}]).SerializeToString()),
        (GCounter, b"\x78\x01"),
        (PNCounter, PNCounterState(increments={}).SerializeToString()),
        (Flag, b"\x08\x00"),
        (Flag, b"\x08\x01\x08\x01"),
        (ORSet, dotted(child(leaf(1)), child(leaf(2)))),
        (ORSet, dotted(child(leaf(1), name="y"), child(leaf(2), name="x"))),
        (ORSet, dotted(child(leaf(1)), child(leaf(1), name="y"))),
        (ORSet, dotted(child(leaf(10)))),
        (ORSet, dotted(child(leaf(0)))),
        (ORSet, dotted(child(leaf(1, writer=1)))),
        (ORSet, dotted(child(Branch()))),
        (ORSet, dotted(child(leaf(1, part=b"")))),
        (ORSet, dotted(child(leaf(1), "flag"))),
        (ORSet, dotted(child(Branch(children=[child(leaf(1))])))),
        (ORSet, dotted(root=leaf(1))),
        (ORSet, dotted(seen=[])),
        (ORSet, dotted(writers=[WRITER, WRITER])),
        (ORSet, dotted(seen=[SeenDots(writer=7, up_to=1)])),
        (ORSet, dotted(seen=[SeenDots(up_to=3, beyond=[4])])),
        (ORSet, dotted(seen=[SeenDots(beyond=[0])])),
        (ORSet, dotted(seen=[SeenDots(beyond=[7, 5])])),
        (ORMap, dotted(child(leaf(1, part=b"\x08\x01"), "gcounter"))),
        (ORMap, dotted(child(leaf(1, part=b""), "orset"))),
        (
            ORMap,
            dotted(child(Branch(leaves=[Leaf(sequence=1)], children=[child(leaf(2))]), "flag")),
        ),
    ],
)
def test_what_no_replica_writes_is_refused(type_: type[Lattice], data: bytes) -> None:
    with pytest.raises(MalformedState):
        type_.parse(data, TYPES)
    with pytest.raises(MalformedState):
        TYPES.read(TypedState(type=type_.type_name, state=data).SerializeToString())


def test_a_state_that_is_well_formed_is_taken() -> None:
    # So that the cases above fail for what is wrong with them, and not for how they are made.
    read = ORMap.parse(
        dotted(
            child(leaf(1, part=b"\x08\x01"), "flag"),
            child(Branch(leaves=[Leaf(sequence=2)], children=[child(leaf(3))]), "orset"),
        ),
        TYPES,
    )

    assert read.get(item("x")).enabled


@pytest.mark.parametrize("name", ["", "stranger", "GCounter"])
def test_an_unknown_type_is_refused(name: str) -> None:
    with pytest.raises(UnknownType):
        TYPES.read(TypedState(type=name, state=b"").SerializeToString())
    with pytest.raises(UnknownType):
        ORMap.parse(dotted(child(leaf(1), name)), TYPES)


def test_more_bytes_than_allowed_are_refused_unread() -> None:
    data = TYPES.write(GSet([Any(type_url="t", value=bytes(1_000))]))

    assert TYPES.read(data, max_state_bytes=len(data)) is not None
    with pytest.raises(StateTooLarge, match=rf"at most 1000 bytes, found {len(data)}"):
        TYPES.read(data, max_state_bytes=1_000)


@pytest.mark.parametrize("extra", [b"\x1a\x01x", b"\x0a\x04flag", b"\x00"])
def test_what_stands_beside_a_state_is_refused(extra: bytes) -> None:
    with pytest.raises(MalformedState):
        TYPES.read(TYPES.write(Flag(enabled=True)) + extra)


def test_a_state_that_nests_deeper_than_any_is_refused() -> None:
    for depth in (17, 45, 5_000):
        branch = leaf(1)
        for _ in range(min(depth, 45)):
            branch = Branch(children=[child(branch, "ormap")])
        with pytest.raises(NestedTooDeep):
            ORMap.parse(dotted(root=branch), TYPES)
        # Inside each other as bytes, where no reader of messages counts them.
        data = b""
        for _ in range(depth):
            data = dotted(child(leaf(1, part=data), "ormap"))
        with pytest.raises(StateRefused):
            ORMap.parse(data, TYPES)


def test_a_context_of_billions_of_dots_is_joined_without_counting_them() -> None:
    huge = ORSet.parse(dotted(root=None, seen=[SeenDots(up_to=2**63)]), TYPES)
    elements = ORSet.bottom(TYPES)
    elements.add(A, item("x"))
    elements.add(B, item("y"))

    elements.join(huge)

    assert [each.value for each in elements] == [b"y"]
    empty = ORSet.bottom(TYPES)
    assert empty.join(huge) is True
    assert empty == huge
