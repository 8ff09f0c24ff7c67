"""What goes into the one commit of a command, and what is refused before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import pytest
from google.protobuf.any_pb2 import Any
from runtime_doubles.deployed import deploy
from runtime_doubles.routes import ROUTES, effect, forwards, packed, replies, request

from cloudstate.entity_pb2 import ClientAction, Failure, Forward, SideEffect
from cloudstate_core.durable.commit import Committer
from cloudstate_core.durable.messages import Lane, Message, request_of
from cloudstate_core.durable.remembered import Memory
from cloudstate_core.errors import (
    AlreadyReceived,
    RoutingError,
    SequenceConflict,
    StoreUnavailable,
)
from cloudstate_core.handler import Conditions, Hop, Outcome
from cloudstate_core.passing_on import Targets
from cloudstate_core.store import (
    AppendEvents,
    Commit,
    EnqueueMessage,
    EntityKey,
    Received,
    RememberReply,
    Write,
)
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.routing.served import ServedNow

KEY = EntityKey("r.A", "joe")
OWN = (AppendEvents(0, [packed()]),)
BROUGHT = Conditions(message_id="m", message_hops=2)


class Post:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def announce(self, message_ids: Iterable[str]) -> None:
        self.told.append(("announced", *message_ids))

    def take(self, messages: Sequence[Message]) -> None:
        self.told.append(("taken", *messages))

    def revoke(self, message_ids: Iterable[str], *, may_be_stored: bool) -> None:
        self.told.append(("revoked", may_be_stored, *message_ids))


class Bench:
    """A committer with everything around it."""

    def __init__(self, *, max_hops: int = 16, max_message_hops: int = 5) -> None:
        self.store = KeepingStore()
        self.post = Post()
        self.reports: list[tuple[str, str]] = []
        served = ServedNow()
        served.deploy(deploy(ROUTES, services=("r.A", "r.B", "r.C")), {})

        def report(service: str, text: str) -> None:
            self.reports.append((service, text))

        self.committer = Committer(
            self.store,
            7,
            Targets(served, report, max_hops=max_hops),
            self.post,
            Memory(60.0, 10),
            Random(1),
            max_message_hops=max_message_hops,
        )

    async def commit(self, outcome: Outcome, writes: Sequence[Write] = OWN, **more) -> Outcome:
        return await self.committer.commit(request(**more), KEY, writes, outcome)

    def written(self, kind: type) -> list:
        (commit,) = self.store.commits
        assert (commit.key, commit.epoch) == (KEY, 7)
        return [write for write in commit.writes if isinstance(write, kind)]


class KeepingStore(MemoryStore):
    """Remembers what was committed, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.commits: list[Commit] = []
        self.error: Exception | None = None

    async def commit(self, commit: Commit) -> None:
        if self.error is not None:
            raise self.error
        await super().commit(commit)
        self.commits.append(commit)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- Without messages ----------------------------------------------------------------


async def test_a_plain_command_writes_its_own_alone(bench: Bench) -> None:
    outcome = replies()

    assert await bench.commit(outcome) is outcome
    assert bench.store.commits == [Commit(KEY, 7, OWN)]
    assert bench.post.told == []


async def test_a_command_that_changes_nothing_writes_nothing(bench: Bench) -> None:
    outcome = replies()

    assert await bench.commit(outcome, ()) is outcome
    assert bench.store.commits == []


async def test_synchronous_effects_and_the_forward_are_left_to_who_waits(bench: Bench) -> None:
    outcome = forwards("B", effect("C", synchronous=True))

    assert await bench.commit(outcome) == outcome
    assert bench.store.commits == [Commit(KEY, 7, OWN)]


async def test_an_answer_is_remembered_with_what_is_left_to_do(bench: Bench) -> None:
    conditions = Conditions(command_key="k")
    outcome = replies(effect("B"), effect("C", synchronous=True))

    left = await bench.commit(outcome, conditions=conditions)

    assert [each.service_name for each in left.side_effects] == ["r.C"]
    (kept,) = bench.written(RememberReply)
    assert kept == Memory(60.0, 10).write_of(request(conditions=conditions), left)
    assert len(bench.written(EnqueueMessage)) == 1


# --- Messages ------------------------------------------------------------------------


async def test_asynchronous_effects_are_messages_of_the_same_commit(bench: Bench) -> None:
    effects = [effect("B"), effect("C", synchronous=True), effect("B", command="Ask")]

    left = await bench.commit(replies(*effects))

    assert list(left.side_effects) == [effects[1]]
    assert bench.written(AppendEvents) == list(OWN)
    first, second = bench.written(EnqueueMessage)
    assert (first.destination, second.destination) == ("r.B/Do", "r.B/Ask")
    assert first.message_id != second.message_id
    sent = SideEffect()
    assert first.payload.Unpack(sent)
    assert sent == effects[0]


async def test_a_message_is_announced_before_it_is_stored_and_taken_after(bench: Bench) -> None:
    await bench.commit(replies(effect("B")))

    (stored,) = bench.written(EnqueueMessage)
    announced, taken = bench.post.told
    assert announced == ("announced", stored.message_id)
    (name, message) = taken
    assert name == "taken"
    assert isinstance(message, Message)
    assert message.id == stored.message_id
    assert message.lane == Lane(KEY, "r.B", "x")


async def test_a_command_with_nothing_but_messages_is_committed(bench: Bench) -> None:
    await bench.commit(replies(effect("B")), ())

    assert len(bench.written(EnqueueMessage)) == 1


async def test_an_asynchronous_effect_of_a_failure_is_a_message(bench: Bench) -> None:
    failed = Outcome(ClientAction(failure=Failure(description="no")), (effect("B"),))

    left = await bench.commit(failed, ())

    assert left.side_effects == ()
    assert len(bench.written(EnqueueMessage)) == 1


@pytest.mark.parametrize(
    ("error", "may_be_stored"),
    [
        (StoreUnavailable("gone"), True),
        (SequenceConflict("joe", expected=0, actual=1), False),
        (ValueError("no sense"), False),
        (KeyboardInterrupt(), True),
    ],
)
async def test_messages_that_were_not_stored_are_revoked(
    error: Exception, may_be_stored: bool, bench: Bench
) -> None:
    bench.store.error = error

    with pytest.raises(type(error)):
        await bench.commit(replies(effect("B")))

    (_, name), revoked = bench.post.told
    assert revoked == ("revoked", may_be_stored, name)


# --- What a message brings -----------------------------------------------------------


async def test_that_a_message_was_received_is_in_the_commit(bench: Bench) -> None:
    outcome = replies()

    assert await bench.commit(outcome, conditions=BROUGHT) == outcome
    assert bench.written(Received) == [Received("m")]

    with pytest.raises(AlreadyReceived):
        await bench.commit(outcome, (AppendEvents(1, [packed()]),), conditions=BROUGHT)


async def test_a_message_that_changes_nothing_is_noted_too(bench: Bench) -> None:
    await bench.commit(replies(), (), conditions=BROUGHT)

    assert bench.store.commits == [Commit(KEY, 7, (Received("m"),))]


async def test_all_that_is_passed_on_by_a_message_is_messages(bench: Bench) -> None:
    outcome = forwards("C", effect("B", synchronous=True), effect("B"))

    left = await bench.commit(outcome, conditions=BROUGHT)

    assert left.side_effects == ()
    assert not left.action.HasField("forward")
    sent = bench.written(EnqueueMessage)
    assert [each.destination for each in sent] == ["r.B/Do", "r.B/Do", "r.C/Do"]
    # Names of derived ids are forgotten with the message itself, so these have others.
    assert not any(each.message_id.startswith("m.") for each in sent)
    (_, *taken) = bench.post.told[1]
    for message in taken:
        assert isinstance(message, Message)
        assert request_of(message).conditions == Conditions(message_id=message.id, message_hops=3)


async def test_a_refused_message_is_not_noted(bench: Bench) -> None:
    failed = Outcome(ClientAction(failure=Failure(description="no")))

    assert await bench.commit(failed, (), conditions=BROUGHT) == failed
    assert bench.store.commits == []


async def test_what_a_refusal_sends_is_sent_once(bench: Bench) -> None:
    failed = Outcome(ClientAction(failure=Failure(description="no")), (effect("B"),))

    for _ in range(2):
        left = await bench.commit(failed, (), conditions=BROUGHT)
        assert left.action == failed.action

    assert len(bench.written(EnqueueMessage)) == 1
    assert bench.written(Received) == [Received("m.refused")]
    assert bench.post.told[-1][:2] == ("revoked", False)


# --- What leads nowhere --------------------------------------------------------------

WRONG = {
    "service": (effect("Lost"), "Service [r.Lost] unknown"),
    "command": (effect("B", command="Lost"), "does not have a command named: [Lost]"),
    "type": (
        SideEffect(
            service_name="r.B",
            command_name="Do",
            payload=Any(type_url="type.googleapis.com/r.Other"),
        ),
        "expected a message of type 'r.M', found 'r.Other'",
    ),
    "key": (
        SideEffect(
            service_name="r.B", command_name="Do", payload=Any(type_url="type.googleapis.com/r.M")
        ),
        "the entity key is missing",
    ),
}


@pytest.mark.parametrize("how", ["asynchronous", "forward", "synchronous"])
@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "key"])
async def test_what_leads_nowhere_fails_the_command_and_nothing_is_written(
    wrong: str, how: str, bench: Bench
) -> None:
    bad, reason = WRONG[wrong]
    outcome = replies(effect("B"), bad)
    if how == "synchronous":
        bad.synchronous = True
    elif how == "forward":
        outcome = forwards("B", effect("B"))
        to = Forward(service_name=bad.service_name, command_name=bad.command_name)
        to.payload.CopyFrom(bad.payload)
        outcome.action.forward.CopyFrom(to)

    with pytest.raises(RoutingError, match="leads nowhere"):
        await bench.commit(outcome, hops=(Hop("r.C", "Ask", "forward"),))

    assert bench.store.commits == []
    assert bench.post.told == []
    ((service, text),) = bench.reports
    assert service == "r.A"
    first, *trace = text.splitlines()
    assert reason in first
    kind = "forwarded from" if how == "forward" else "as side effect of"
    assert trace == [f"  {kind} r.A.Do", "  forwarded from r.C.Ask"]
    bad.synchronous = False


async def test_a_message_without_a_key_fails_the_command(bench: Bench) -> None:
    bad, reason = WRONG["key"]

    with pytest.raises(RoutingError):
        await bench.commit(replies(bad))

    assert reason in bench.reports[0][1]
    assert bench.store.commits == []


async def test_there_is_an_end_to_messages_that_cause_each_other() -> None:
    bench = Bench(max_message_hops=5)
    for hops in (3, 4):
        await bench.commit(
            replies(effect("B")),
            (),
            conditions=Conditions(message_id=f"m{hops}", message_hops=hops),
        )

    with pytest.raises(RoutingError):
        await bench.commit(
            replies(effect("B")), (), conditions=Conditions(message_id="m5", message_hops=5)
        )

    assert len(bench.store.commits) == 2
    assert bench.reports[0][1].startswith("more than 5 messages, one causing the next")


async def test_an_effect_of_a_long_chain_of_hops_fails_the_command() -> None:
    bench = Bench(max_hops=2)
    hops = (Hop("r.A", "Do", "forward"),) * 2

    with pytest.raises(RoutingError):
        await bench.commit(replies(effect("B")), hops=hops)

    assert bench.store.commits == []
