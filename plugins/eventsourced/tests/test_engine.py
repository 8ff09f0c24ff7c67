from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any as AnyType

import pytest
from notebook.notebook_pb2 import AllLines, LineAdded, Lines, Text

from cloudstate.entity_pb2 import ClientAction, Failure, Reply, SideEffect
from cloudstate.event_sourced_pb2 import (
    EventSourcedReply,
    EventSourcedStreamIn,
    EventSourcedStreamOut,
)
from cloudstate_core.anys import encode
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    DeadlineExceeded,
    StaleEpoch,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.links import EntityStream
from cloudstate_core.store import AppendEvents, Commit, EntityKey, PutSnapshot
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_eventsourced.engine import EventSourcedEngine

KEY = EntityKey("notes", "e")
A, B, C = (encode(LineAdded(line=line)) for line in "abc")
SNAPSHOT = encode(AllLines(lines=["a", "b"]))
REPLY = ClientAction(reply=Reply(payload=encode(Text(text="t"))))
WRITE = Request("notebook.Notebook", "Write", encode(Lines(id="e")))
GONE = UserFunctionUnavailable("Unexpected entity termination", detail="it is gone")

ENTITY = DeployedEntity(
    entity_type="cloudstate.eventsourced.EventSourced",
    service_name="notebook.Notebook",
    persistence_id="notes",
    passivation_timeout_s=None,
    methods={},
    file="notebook/notebook.proto",
)


@dataclass
class ScriptedStream(EntityStream[AnyType, AnyType]):
    """A user function that answers what a test has written down.

    Attributes:
        answers: What `ask` and `receive` return or raise, in order; then they wait for ever.
        breaks_at: The message, counted from 0, at which sending fails.
        sent: What the engine sent.
    """

    answers: list[EventSourcedStreamOut | Exception] = field(default_factory=list)
    breaks_at: int | None = None
    spoilt: UserFunctionError | None = None
    is_closed: bool = False
    sent: list[EventSourcedStreamIn] = field(default_factory=list)

    async def send(self, message: EventSourcedStreamIn) -> None:
        if len(self.sent) == self.breaks_at:
            raise GONE
        copy = EventSourcedStreamIn()
        copy.CopyFrom(message)
        self.sent.append(copy)

    async def receive(self) -> EventSourcedStreamOut:
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask(self, message: EventSourcedStreamIn, timeout_s: float) -> EventSourcedStreamOut:
        await self.send(message)
        return await self.receive()

    def unasked(self) -> UserFunctionError | None:
        return self.spoilt

    async def aclose(self) -> None:
        self.is_closed = True


class KeepingStore(MemoryStore):
    """Remembers what was committed."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.commits: list[Commit] = []

    async def commit(self, commit: Commit) -> None:
        await super().commit(commit)
        self.commits.append(commit)


@dataclass
class Bench:
    """An engine with everything around it."""

    stream: ScriptedStream = field(default_factory=ScriptedStream)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.store = KeepingStore(self.clock)
        host = SimpleNamespace(
            link=SimpleNamespace(open_stream=lambda _rpc: self.stream),
            store=self.store,
            epoch=7,
            clock=self.clock,
            relay_timeout_s=60.0,
            commit=self.commit,
        )
        types = {"Write": "type.googleapis.com/notebook.Text"}
        self.engine = EventSourcedEngine(ENTITY, "e", host, types)  # type: ignore[arg-type]

    async def commit(self, request, key, writes, outcome):
        """Do what the runtime does for a command without effects and conditions."""
        assert request.service == ENTITY.service_name
        if writes:
            await self.store.commit(Commit(key, 7, tuple(writes)))
        return outcome

    async def stored(self, *events: AnyType, snapshot: tuple[int, AnyType] | None = None) -> Bench:
        writes: tuple[AnyType, ...] = (AppendEvents(0, events),)
        if snapshot is not None:
            writes += (PutSnapshot(*snapshot),)
        await self.store.commit(Commit(KEY, 0, writes))
        self.store.commits.clear()
        return self

    async def opened(self) -> Bench:
        await self.engine.open()
        self.stream.sent.clear()
        return self


@pytest.fixture
def bench() -> Bench:
    return Bench()


def reply(
    events: Iterable[AnyType] = (), *, command_id: int = 1, **fields: AnyType
) -> EventSourcedStreamOut:
    message = EventSourcedReply(
        **{"command_id": command_id, "client_action": REPLY, "events": events, **fields}
    )
    return EventSourcedStreamOut(reply=message)


def failure(description: str) -> EventSourcedStreamOut:
    return EventSourcedStreamOut(failure=Failure(description=description))


def kinds(messages: list[EventSourcedStreamIn]) -> list[str | None]:
    return [message.WhichOneof("message") for message in messages]


# --- Opening -------------------------------------------------------------------------


async def test_a_fresh_entity_is_opened_with_init_alone(bench: Bench) -> None:
    await bench.engine.open()

    (message,) = bench.stream.sent
    assert (message.init.service_name, message.init.entity_id) == ("notebook.Notebook", "e")
    assert not message.init.HasField("snapshot")


async def test_what_is_stored_is_sent_as_snapshot_and_events_after_it(bench: Bench) -> None:
    await bench.stored(A, B, C, snapshot=(2, SNAPSHOT))
    await bench.engine.open()

    init, event = bench.stream.sent
    assert init.init.snapshot.snapshot_sequence == 2
    assert init.init.snapshot.snapshot == SNAPSHOT
    assert (event.event.sequence, event.event.payload) == (3, C)


async def test_without_a_snapshot_every_event_is_sent(bench: Bench) -> None:
    await bench.stored(A, B)
    await bench.engine.open()

    assert kinds(bench.stream.sent) == ["init", "event", "event"]
    assert [each.event.sequence for each in bench.stream.sent[1:]] == [1, 2]


@pytest.mark.parametrize("breaks_at", [0, 1, 2], ids=["init", "first event", "second event"])
async def test_a_user_function_that_ends_the_stream_while_it_is_opened_says_why(
    bench: Bench, breaks_at: int
) -> None:
    await bench.stored(A, B)
    bench.stream.breaks_at = breaks_at
    bench.stream.answers = [failure("no handler")]

    with pytest.raises(UserFunctionError) as caught:
        await bench.engine.open()
    assert str(caught.value) == "Unexpected entity failure"
    assert caught.value.detail == "entity 'e': no handler"


@pytest.mark.parametrize("breaks_at", [0, 1], ids=["init", "event"])
async def test_one_that_says_nothing_is_gone(bench: Bench, breaks_at: int) -> None:
    await bench.stored(A)
    bench.stream.breaks_at = breaks_at
    bench.stream.answers = [GONE]

    with pytest.raises(UserFunctionUnavailable) as caught:
        await bench.engine.open()
    assert caught.value is GONE


async def test_last_words_are_waited_for_only_briefly(bench: Bench) -> None:
    bench.stream.breaks_at = 0
    opening = asyncio.create_task(bench.engine.open())
    await bench.clock.advance(0.9)
    assert not opening.done()
    await bench.clock.advance(0.2)

    with pytest.raises(UserFunctionUnavailable) as caught:
        await opening
    assert caught.value is GONE


# --- Commands ------------------------------------------------------------------------


async def test_a_reply_without_events_is_the_outcome_and_nothing_is_stored(bench: Bench) -> None:
    await bench.opened()
    effect = SideEffect(service_name="other", command_name="Do")
    bench.stream.answers = [reply(side_effects=[effect], snapshot=SNAPSHOT)]

    assert await bench.engine.handle(WRITE) == Outcome(REPLY, [effect], version=0)
    assert bench.store.commits == []
    (message,) = bench.stream.sent
    assert (message.command.entity_id, message.command.id) == ("e", 1)
    assert (message.command.name, message.command.payload) == ("Write", WRITE.payload)


async def test_events_and_snapshot_are_one_commit_under_the_epoch(bench: Bench) -> None:
    await (await bench.stored(A)).opened()
    bench.stream.answers = [reply([B, C], snapshot=SNAPSHOT)]

    assert await bench.engine.handle(WRITE) == Outcome(REPLY, [], version=3)
    assert bench.engine.version == 3
    (commit,) = bench.store.commits
    assert (commit.key, commit.epoch) == (KEY, 7)
    append, put = commit.writes
    assert isinstance(append, AppendEvents)
    assert (append.expected_sequence, list(append.events)) == (1, [B, C])
    assert put == PutSnapshot(3, SNAPSHOT)


async def test_the_version_is_the_sequence_of_the_last_event(bench: Bench) -> None:
    await (await bench.stored(A, B)).opened()
    assert bench.engine.version == 2

    bench.stream.answers = [reply(), reply([C], command_id=2)]
    assert (await bench.engine.handle(WRITE)).version == 2
    assert (await bench.engine.handle(WRITE)).version == bench.engine.version == 3


async def test_the_outcome_comes_after_the_commit(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [reply([A])]
    confirmed = asyncio.Event()
    commit = bench.store.commit

    async def slow(what: Commit) -> None:
        await confirmed.wait()
        await commit(what)

    bench.store.commit = slow  # type: ignore[method-assign]
    handling = asyncio.create_task(bench.engine.handle(WRITE))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not handling.done()
    confirmed.set()
    await handling
    assert len(bench.store.commits) == 1


async def test_a_restart_is_passed_on(bench: Bench) -> None:
    await bench.opened()
    action = ClientAction(failure=Failure(command_id=1, description="no", restart=True))
    bench.stream.answers = [reply(client_action=action)]

    assert await bench.engine.handle(WRITE) == Outcome(action, [], restart=True, version=0)


async def test_a_reply_that_does_not_come_in_time_is_a_deadline(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [TimeoutError()]

    with pytest.raises(DeadlineExceeded, match="did not answer within 60 s"):
        await bench.engine.handle(WRITE)


async def test_a_user_function_that_ends_the_stream_in_a_command_says_why(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [GONE, failure("KeyError")]

    with pytest.raises(UserFunctionError) as caught:
        await bench.engine.handle(WRITE)
    assert (str(caught.value), caught.value.detail) == (
        "Unexpected entity failure",
        "entity 'e': KeyError",
    )


async def test_what_the_store_refuses_is_the_error(bench: Bench) -> None:
    await bench.opened()
    for _ in range(8):
        await bench.store.claim(range(1024))
    bench.stream.answers = [reply([A])]

    with pytest.raises(StaleEpoch):
        await bench.engine.handle(WRITE)
    assert bench.store.commits == []


async def test_no_answer_of_an_earlier_command_is_given_to_a_later_one(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [reply(), reply(command_id=1)]
    await bench.engine.handle(WRITE)

    with pytest.raises(UserFunctionError, match="Unexpected entity reply"):
        await bench.engine.handle(WRITE)


async def test_an_engine_is_of_use_until_something_unasked_is_on_its_stream(bench: Bench) -> None:
    await bench.opened()
    assert bench.engine.fault() is None

    bench.stream.spoilt = UserFunctionError("Unexpected entity reply")
    assert bench.engine.fault() is bench.stream.spoilt


async def test_closing_ends_the_stream(bench: Bench) -> None:
    await bench.engine.aclose()

    assert bench.stream.is_closed
