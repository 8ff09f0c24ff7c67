"""What a node does with what no good node sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicating_machine import (
    ME,
    OWN_PROCESS,
    PEERS_PROCESS,
    REGISTRY,
    Machine,
    counted,
    joins,
    messages,
    reports,
    sent_to,
    settled,
)
from simulated_changes import item

from cloudstate_crdt import GSet
from cloudstate_crdt.replicas import Consistency
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.parts import split
from cloudstate_crdt.replication.wire import change_to
from cloudstate_crdt.replication.words import (
    Broadcast,
    Join,
    Joined,
    JoinRefused,
    Read,
    Received,
    Report,
    Send,
    StateRead,
)
from cloudstate_crdt.replication_pb2 import (
    Bucket,
    Buckets,
    Changes,
    Entities,
    EntityChange,
    EntityDigest,
    Message,
    Missing,
    Part,
    Range,
    States,
    Status,
    Stored,
)


@pytest.mark.parametrize(
    ("epoch", "what"), [(0, "epoch_refused"), (6, "epoch_refused"), (8, "node_not_known")]
)
def test_another_epoch_is_refused_and_reported_once_in_a_while(epoch: int, what: str) -> None:
    a = Machine()
    done = a.hear_change(1, epoch=epoch)

    assert reports(done) == [what]
    assert joins(done) == []
    assert a.hear_change(2, epoch=epoch) == []
    a.tick(10.0)
    [report] = [e for e in a.hear_change(3, epoch=epoch) if isinstance(e, Report)]
    assert report.fields["left_out"] == 1
    assert report.fields["expected"] == 7


def test_a_node_with_a_new_epoch_is_compared_with() -> None:
    a = Machine()
    a.hear(buckets=Buckets(round=1, digests=bytes(2048)))
    a.tick(1.0)
    a.members({"b": 7}, a=1, b=8, c=1)

    sent = sent_to("b", a.tick(0.1))

    assert len(messages(sent, "buckets")) == 1


BAD_CHANGES = {
    "an unknown type": EntityChange(entity_id="x", state=b"\n\x04huh?", sequences=[1]),
    "garbage": EntityChange(entity_id="x", state=b"\xff\xff", sequences=[1]),
    "nothing": EntityChange(entity_id="x", sequences=[1]),
    "no entity": change_to("", counted(1), REGISTRY, sequences=[1]),
    "a long id": change_to("x" * 513, counted(1), REGISTRY, sequences=[1]),
    "too much": change_to("x", GSet.bottom(REGISTRY), REGISTRY, sequences=[1]),
}
BAD_CHANGES["too much"].state = b"\x00" * 2_000


@pytest.mark.parametrize("bad", BAD_CHANGES.values(), ids=BAD_CHANGES)
def test_a_bad_change_is_refused_and_what_comes_with_it_is_not(bad: EntityChange) -> None:
    a = Machine(Limits(max_state_bytes=1_000))
    good = change_to("y", counted(1), REGISTRY, sequences=[2])

    done = a.hear(changes=Changes(changes=[bad, good]))

    assert reports(done) == ["change_refused"]
    assert [join.entity_id for join in joins(done)] == ["y"]
    assert len(joins(a.hear_change(3))) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_in_or_reported(garbage: bytes) -> None:
    a = Machine()
    for epoch in (b"\x08\x07", b""):
        a.machine.receive(Received("b", epoch + garbage))
        a.machine.receive(Received("stranger", epoch + garbage))
    a.tick(1.0)
    a.flush()

    assert len(joins(a.hear_change(1, process=99))) == 1


NUMBERS = st.integers(0, 5) | st.integers(0, 2**64 - 1)
IDS = st.sampled_from(["x", "y", "", "x" * 600])
CHANGES = st.lists(
    st.builds(
        EntityChange,
        entity_id=IDS,
        state=st.sampled_from([REGISTRY.write(counted(1)), REGISTRY.write(GSet()), b"?"]),
        sequences=st.lists(NUMBERS, max_size=3),
        answer=st.booleans(),
    ),
    max_size=3,
)
ENTITY_DIGESTS = st.lists(
    st.builds(EntityDigest, entity_id=IDS, digest=st.binary(max_size=17)), max_size=3
)
BODIES = st.one_of(
    st.builds(lambda c, n: {"changes": Changes(changes=c, forgotten=n)}, CHANGES, NUMBERS),
    st.builds(
        lambda p, n: {"stored": Stored(process=p, sequences=n)},
        st.sampled_from([OWN_PROCESS, 9]),
        st.lists(NUMBERS),
    ),
    st.builds(
        lambda p, r: {"missing": Missing(process=p, ranges=[Range(first=a, last=b) for a, b in r])},
        st.sampled_from([OWN_PROCESS, 9]),
        st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3),
    ),
    st.builds(
        lambda n, d, c: {"status": Status(last=n, digest=d, compare=c)},
        NUMBERS,
        st.binary(max_size=16),
        st.booleans(),
    ),
    st.builds(
        lambda r, d: {"buckets": Buckets(round=r, digests=d)},
        NUMBERS,
        st.sampled_from([b"", bytes(2048), b"1" * 2048]),
    ),
    st.builds(
        lambda r, b, m: {"entities": Entities(round=r, buckets=b, more=m)},
        st.integers(0, 3),
        st.lists(
            st.builds(Bucket, number=st.integers(0, 300), entities=ENTITY_DIGESTS), max_size=3
        ),
        st.booleans(),
    ),
    st.builds(
        lambda r, s, w, a, b: {
            "states": States(round=r, states=s, wanted=w, were_wanted=a, is_last=b)
        },
        st.integers(0, 3),
        CHANGES,
        st.lists(IDS, max_size=3),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda n, i, c, d: {"part": Part(number=n, index=i, count=c, data=d)},
        st.integers(0, 2),
        st.integers(0, 2),
        NUMBERS.map(lambda n: n % 2**32),
        st.binary(max_size=9),
    ),
)


@given(st.lists(st.tuples(BODIES, st.sampled_from([PEERS_PROCESS, 9])), max_size=12))
def test_any_messages_in_any_order_are_taken_in_or_reported(said) -> None:
    a = Machine()
    for body, process in said:
        done = a.hear(process=process, **body)
        for instruction in [*done, *a.flush(), *a.tick(0.3)]:
            match instruction:
                case Join() if instruction.entity_id == "y":
                    a.machine.receive(JoinRefused(instruction, "no"))
                case Join():
                    a.machine.receive(Joined(instruction, has_changed=True))
                case Read():
                    a.machine.receive(StateRead(instruction, counted(2)))
                case _:
                    pass
    a.tick(0.3)

    assert len(joins(a.hear_change(1, process=77))) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"buckets": Buckets(round=1, digests=b"short")},
        {"part": Part(number=1, index=2, count=2, data=b"x")},
        {"part": Part(number=1, index=0, count=1, data=b"\xff")},
        {"part": Part(number=1, index=0, count=1, data=Message(part=Part()).SerializeToString())},
    ],
    ids=["buckets", "index", "garbage in parts", "parts in parts"],
)
def test_a_malformed_message_is_reported(body) -> None:
    assert "message_refused" in reports(Machine().hear(**body))


def test_answers_that_nobody_has_asked_for_change_nothing() -> None:
    a = Machine()
    bucket = Bucket(number=300, entities=[EntityDigest(entity_id="x", digest=b"1")])

    assert a.hear(entities=Entities(round=77, buckets=[bucket])) == []
    assert a.hear(states=States(round=77, is_last=True)) == []
    assert a.hear(missing=Missing(process=1, ranges=[Range(first=1, last=2**64 - 1)])) == []
    a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=2**64 - 1)]))
    assert a.flush() == []


def test_a_flood_of_one_node_is_bounded_and_the_rest_is_asked_for() -> None:
    a = Machine(Limits(joining_bytes=1_000))
    taken = [joins(a.hear_change(number)) for number in range(1, 101)]

    waiting = sum(len(each) for each in taken)
    assert 0 < waiting < 50
    a.tick(0.1)
    [missing] = messages(a.tick(0.3), "missing")
    assert [(each.first, each.last) for each in missing.ranges] == [(waiting + 1, 100)]


def test_a_long_message_is_sent_in_parts_and_put_together() -> None:
    a, b = Machine(max_message_bytes=500), Machine(max_message_bytes=500)
    state = GSet()
    for number in range(200):
        state.add(item(number))
    done = a.change("s", state)
    parts = messages(done, "part")
    assert len(parts) > 3
    assert all(len(each.message) <= 500 for each in done if isinstance(each, Broadcast))

    whole = Message.FromString(b"".join(part.data for part in parts))
    whole.epoch = 7
    heard = [b.hear(part=part) for part in reversed([*split(whole.SerializeToString(), 1, 400)])]

    assert all(done == [] for done in heard[:-1])
    [join] = joins(heard[-1])
    assert join.change == state


def test_a_node_that_is_alone_waits_for_nobody_and_sends_nothing() -> None:
    a = Machine()
    a.members(a=1)

    done = a.change("x", counted(1, ME), Consistency.ALL)

    assert settled(done) == [(1, 1, True)]
    assert not any(isinstance(each, Broadcast | Send) for each in done)
