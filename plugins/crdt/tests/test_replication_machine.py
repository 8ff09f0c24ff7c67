"""What a node does with what others send, good or bad."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_changes import item

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt import GCounter, GSet, Replica, standard_types
from cloudstate_crdt.replicas import DELETED, Change, Consistency
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.parts import split
from cloudstate_crdt.replication.wire import change_to
from cloudstate_crdt.replication.words import (
    Broadcast,
    Changed,
    Digested,
    Flush,
    Instruction,
    Join,
    Joined,
    JoinFailed,
    JoinRefused,
    Loaded,
    MembersChanged,
    Read,
    ReadDigests,
    Received,
    Report,
    Send,
    Settle,
    StateRead,
    Ticked,
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

REGISTRY = standard_types()
ME, PEER = Replica("a", 1), Replica("b", 7)
PEERS_PROCESS, OWN_PROCESS = 55, 44


class Machine:
    """Node a among a, b and c, with what it wants done."""

    def __init__(self, limits: Limits | None = None, *, max_message_bytes: int = 10_000) -> None:
        self.machine = ReplicationMachine(
            NodeIdentity("a", 1),
            OWN_PROCESS,
            REGISTRY,
            Random(1).randrange,
            max_message_bytes,
            limits,
        )
        self.now_s = 0.0
        self.machine.receive(Ticked(0.0))
        self.members(a=1, b=7, c=1)
        self.machine.receive(Loaded())
        self.tick(0.0)

    def members(self, expelled: dict[str, int] | None = None, **epochs: int) -> list[Instruction]:
        members = Members(epochs, frozenset(epochs), expelled or {})
        return self.machine.receive(MembersChanged(members))

    def tick(self, after_s: float) -> list[Instruction]:
        self.now_s += after_s
        done = self.machine.receive(Ticked(self.now_s))
        for read in [each for each in done if isinstance(each, ReadDigests)]:
            digests = [(entity_id, b"\0" * 16) for entity_id in read.entity_ids]
            done += self.machine.receive(Digested(digests))
        return done

    def hear(self, *, epoch: int = 7, process: int = PEERS_PROCESS, **body) -> list[Instruction]:
        message = Message(epoch=epoch, process=process, **body).SerializeToString()
        return self.machine.receive(Received("b", message))

    def hear_change(self, *numbers: int, answer: bool = False, **kw) -> list[Instruction]:
        change = change_to("x", counted(1), REGISTRY, sequences=numbers, answer=answer)
        return self.hear(changes=Changes(changes=[change]), **kw)

    def change(
        self, entity_id: str, delta: Change, consistency: str = Consistency.LOCAL
    ) -> list[Instruction]:
        done = self.machine.receive(Changed(entity_id, delta, consistency, 1))
        return [*done, *self.machine.receive(Flush())]

    def flush(self) -> list[Instruction]:
        return self.machine.receive(Flush())


def counted(number: int, replica: Replica = PEER) -> GCounter:
    return GCounter({replica: number})


def joins(done: list[Instruction]) -> list[Join]:
    return [each for each in done if isinstance(each, Join)]


def reports(done: list[Instruction]) -> list[str]:
    return [each.what for each in done if isinstance(each, Report)]


def messages(done: list[Instruction], kind: str) -> list[Message]:
    said = [Message.FromString(each.message) for each in done if isinstance(each, Broadcast | Send)]
    return [getattr(each, kind) for each in said if each.WhichOneof("body") == kind]


def sent_to(name: str, done: list[Instruction]) -> list[Instruction]:
    return [each for each in done if isinstance(each, Send) and each.to == name]


# --- Changes -------------------------------------------------------------------------


def test_a_change_is_joined_and_confirmed_only_when_it_is_stored() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1, answer=True))
    assert (join.entity_id, join.change) == ("x", counted(1))
    assert messages(a.flush(), "stored") == []

    a.machine.receive(Joined(join, has_changed=True))

    [stored] = messages(a.flush(), "stored")
    assert (stored.process, list(stored.sequences)) == (PEERS_PROCESS, [1])


def test_confirmations_of_one_turn_are_one_message() -> None:
    a = Machine()
    for number in (1, 2, 3):
        [join] = joins(a.hear_change(number, answer=True))
        a.machine.receive(Joined(join, has_changed=True))

    [stored] = messages(a.flush(), "stored")
    assert list(stored.sequences) == [1, 2, 3]


def test_a_change_that_came_before_is_not_joined_again() -> None:
    a = Machine()
    a.hear_change(1)

    assert joins(a.hear_change(1)) == []
    # Whoever waits for it has to hear that it is stored, which only a join can say.
    assert len(joins(a.hear_change(1, answer=True))) == 1


def test_a_refused_change_is_reported_and_not_confirmed_nor_asked_for() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1, answer=True))

    done = a.machine.receive(JoinRefused(join, "it is a set"))

    assert reports(done) == ["change_refused"]
    assert messages(a.flush(), "stored") == []
    for _ in range(20):
        assert messages(a.tick(0.2), "missing") == []
    assert len(joins(a.hear_change(2))) == 1


def test_a_change_that_was_not_stored_is_asked_for_again() -> None:
    a = Machine()
    [join] = joins(a.hear_change(1))
    a.machine.receive(JoinFailed(join, "the disk is full"))
    a.tick(0.1)

    [missing] = messages(a.tick(0.3), "missing")

    assert [(each.first, each.last) for each in missing.ranges] == [(1, 1)]
    assert len(joins(a.hear_change(1))) == 1


def test_what_is_missing_is_asked_for_and_what_is_only_late_is_not() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear_change(4)
    assert messages(a.tick(0.1), "missing") == []

    [missing] = messages(a.tick(0.3), "missing")

    assert missing.process == PEERS_PROCESS
    assert [(each.first, each.last) for each in missing.ranges] == [(2, 3)]


def test_a_lost_last_change_is_found_by_the_status() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear(status=Status(last=2))
    a.tick(0.1)

    [missing] = messages(a.tick(0.3), "missing")
    assert [(each.first, each.last) for each in missing.ranges] == [(2, 2)]


def test_what_never_comes_is_left_to_a_comparison() -> None:
    a = Machine()
    a.hear_change(1)
    a.hear(status=Status(last=2**64 - 1, digest=b"?"))
    kinds = [a.tick(0.5) for _ in range(40)]

    asked = sum(len(messages(done, "missing")) for done in kinds)
    assert 0 < asked < 20
    assert sum(len(messages(done, "buckets")) for done in kinds) > 0
    assert len(joins(a.hear_change(3))) == 1


def test_several_changes_of_an_entity_are_sent_again_as_one() -> None:
    a = Machine()
    for number in (1, 2, 3):
        a.change("x", counted(number, ME))
    a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=3)]))

    [changes] = messages(a.flush(), "changes")

    [change] = changes.changes
    assert list(change.sequences) == [1, 2, 3]
    assert REGISTRY.read(change.state) == counted(3, ME)


def test_the_whole_state_is_sent_where_it_is_shorter_than_what_is_missing() -> None:
    a = Machine()
    kept = GSet()
    for number in range(200):
        a.change("s", kept.add(item(number)))
    [read] = [
        each
        for each in a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=200)]))
        if isinstance(each, Read)
    ]

    a.machine.receive(StateRead(read, DELETED))

    [changes] = messages(a.flush(), "changes")
    [change] = changes.changes
    assert change.WhichOneof("change") == "deletion"
    assert len(change.sequences) == 200


def test_what_is_kept_no_longer_is_said_to_be_and_leads_to_a_comparison() -> None:
    a = Machine(Limits(recent_changes=2))
    for number in (1, 2, 3, 4):
        a.change(f"x{number}", counted(number, ME))
    a.hear(missing=Missing(process=OWN_PROCESS, ranges=[Range(first=1, last=3)]))
    [changes] = messages(a.flush(), "changes")
    assert (changes.forgotten, [list(each.sequences) for each in changes.changes]) == (2, [[3]])

    a.hear_change(5)
    a.hear(changes=Changes(forgotten=4))
    # The comparison that began with the process got no answer.
    done = a.tick(1.1)

    assert len(messages(sent_to("b", done), "buckets")) == 1
    assert [messages(a.tick(0.2), "missing") for _ in range(5)] == [[]] * 5


# --- Waiting for others --------------------------------------------------------------


def settled(done: list[Instruction]) -> list[tuple[int, int, bool]]:
    return [
        (each.stored, each.needed, not each.failure) for each in done if isinstance(each, Settle)
    ]


def test_confirmations_count_for_members_in_their_present_epochs() -> None:
    a = Machine()
    assert settled(a.change("x", counted(1, ME), Consistency.ALL)) == []

    assert settled(a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))) == []
    # b has lost its disk, and with it what it had confirmed.
    a.members({"b": 7}, a=1, c=1)
    assert settled(a.tick(5.1)) == [(1, 2, False)]


def test_a_confirmation_of_another_process_of_this_node_counts_for_nothing() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.MAJORITY)

    assert settled(a.hear(stored=Stored(process=OWN_PROCESS - 1, sequences=[1]))) == []
    assert settled(a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))) == [(2, 2, True)]


def test_fewer_members_need_fewer_confirmations() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.ALL)

    assert settled(a.members(a=1)) == [(1, 1, True)]


def test_a_node_that_was_expelled_waits_no_longer_and_hears_nothing() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.MAJORITY)

    assert settled(a.members({"a": 1}, b=7, c=1)) == [(1, 2, False)]
    assert a.hear_change(1) == []
    assert a.tick(1.0) == []


def test_an_unconfirmed_change_is_sent_again_to_those_who_have_not_confirmed_it() -> None:
    a = Machine()
    a.change("x", counted(1, ME), Consistency.ALL)
    a.hear(stored=Stored(process=OWN_PROCESS, sequences=[1]))
    a.tick(0.5)

    sent = [each for each in a.flush() if isinstance(each, Send)]

    assert [each.to for each in sent] == ["c"]
    assert messages(sent, "changes")[0].changes[0].answer


# --- Bad input -----------------------------------------------------------------------


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
