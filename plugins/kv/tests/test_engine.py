from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any as AnyType

import pytest
from pinboard.pinboard_pb2 import Board, Note, Text

from cloudstate.entity_pb2 import ClientAction, Failure, Reply, SideEffect
from cloudstate.value_entity_pb2 import (
    ValueEntityAction,
    ValueEntityDelete,
    ValueEntityReply,
    ValueEntityStreamIn,
    ValueEntityStreamOut,
    ValueEntityUpdate,
)
from cloudstate_core.anys import encode
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import (
    DeadlineExceeded,
    StoreUnavailable,
    UserFunctionError,
    UserFunctionUnavailable,
)
from cloudstate_core.handler import Outcome, Request
from cloudstate_core.links import EntityStream
from cloudstate_core.store import Commit, DeleteValue, EntityKey, PutValue, Write
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.testing.clock import ManualClock
from cloudstate_kv.engine import ValueEngine

KEY = EntityKey("boards", "e")
A, B = encode(Note(text="a")), encode(Note(text="b"))
UPDATE_B = ValueEntityAction(update=ValueEntityUpdate(value=B))
DELETE = ValueEntityAction(delete=ValueEntityDelete())
REPLY = ClientAction(reply=Reply(payload=encode(Text(text="t"))))
PIN = Request("pinboard.Pinboard", "Pin", encode(Board(id="e")))
GONE = UserFunctionUnavailable("Unexpected entity termination", detail="it is gone")
EFFECT = SideEffect(service_name="other", command_name="Do")

ENTITY = DeployedEntity(
    entity_type="cloudstate.valueentity.ValueEntity",
    service_name="pinboard.Pinboard",
    persistence_id="boards",
    passivation_timeout_s=None,
    methods={},
    file="pinboard/pinboard.proto",
)


@dataclass
class ScriptedStream(EntityStream[AnyType, AnyType]):
    """A user function that answers what a test has written down.

    Attributes:
        answers: What `ask` and `receive` return or raise, in order; then they wait for ever.
        is_broken: Whether sending fails.
        sent: What the engine sent.
    """

    answers: list[ValueEntityStreamOut | Exception] = field(default_factory=list)
    is_broken: bool = False
    spoilt: UserFunctionError | None = None
    is_closed: bool = False
    sent: list[ValueEntityStreamIn] = field(default_factory=list)

    async def send(self, message: ValueEntityStreamIn) -> None:
        if self.is_broken:
            raise GONE
        self.sent.append(message)

    async def receive(self) -> ValueEntityStreamOut:
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask(self, message: ValueEntityStreamIn, timeout_s: float) -> ValueEntityStreamOut:
        assert timeout_s == 60.0
        await self.send(message)
        return await self.receive()

    def unasked(self) -> UserFunctionError | None:
        return self.spoilt

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Bench:
    """An engine with everything around it.

    Attributes:
        committed: What the engine has had committed: request, writes and outcome.
        failing: What the next commit raises.
    """

    stream: ScriptedStream = field(default_factory=ScriptedStream)
    clock: ManualClock = field(default_factory=ManualClock)
    committed: list[tuple[Request, tuple[Write, ...], Outcome]] = field(default_factory=list)
    failing: Exception | None = None

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        host = SimpleNamespace(
            link=SimpleNamespace(open_stream=lambda _rpc: self.stream),
            store=self.store,
            commit=self._commit,
            clock=self.clock,
            relay_timeout_s=60.0,
        )
        types = {"Pin": "type.googleapis.com/pinboard.Text"}
        self.engine = ValueEngine(ENTITY, "e", host, types)  # type: ignore[arg-type]

    async def _commit(
        self, request: Request, key: EntityKey, writes: Sequence[Write], outcome: Outcome
    ) -> Outcome:
        assert key == KEY
        if self.failing is not None:
            raise self.failing
        self.committed.append((request, tuple(writes), outcome))
        # The host keeps effects that it will see to itself.
        return Outcome(outcome.action, (), outcome.restart, outcome.version)

    async def stored(self, *writes: Write) -> Bench:
        for write in writes:
            await self.store.commit(Commit(KEY, 0, (write,)))
        return self

    async def opened(self) -> Bench:
        await self.engine.open()
        self.stream.sent.clear()
        return self


@pytest.fixture
def bench() -> Bench:
    return Bench()


def reply(state_action: ValueEntityAction | None = None, **fields: AnyType) -> ValueEntityStreamOut:
    plain = {"command_id": 1, "client_action": REPLY, "state_action": state_action}
    return ValueEntityStreamOut(reply=ValueEntityReply(**{**plain, **fields}))


def failure(description: str) -> ValueEntityStreamOut:
    return ValueEntityStreamOut(failure=Failure(description=description))


# --- Opening -------------------------------------------------------------------------


async def test_an_entity_without_a_value_is_opened_with_an_empty_state(bench: Bench) -> None:
    await bench.engine.open()

    (message,) = bench.stream.sent
    assert (message.init.service_name, message.init.entity_id) == ("pinboard.Pinboard", "e")
    assert message.init.HasField("state")
    assert not message.init.state.HasField("value")
    assert bench.engine.version == 0


async def test_what_is_stored_is_sent(bench: Bench) -> None:
    await bench.stored(PutValue(0, B), PutValue(1, A))
    await bench.engine.open()

    (message,) = bench.stream.sent
    assert message.init.state.value == A
    assert bench.engine.version == 2


async def test_what_was_deleted_is_not_sent_and_its_revision_is_known(bench: Bench) -> None:
    await bench.stored(PutValue(0, A), DeleteValue(1))
    await bench.engine.open()

    assert not bench.stream.sent[0].init.state.HasField("value")
    assert bench.engine.version == 2


async def test_a_user_function_that_ends_the_stream_at_its_start_says_why(bench: Bench) -> None:
    bench.stream.is_broken, bench.stream.answers = True, [failure("unknown service")]

    with pytest.raises(UserFunctionError) as caught:
        await bench.engine.open()
    assert str(caught.value) == "Unexpected entity failure"
    assert caught.value.detail == "entity 'e': unknown service"


async def test_last_words_are_waited_for_only_briefly(bench: Bench) -> None:
    bench.stream.is_broken = True
    opening = asyncio.create_task(bench.engine.open())
    await bench.clock.advance(0.9)
    assert not opening.done()
    await bench.clock.advance(0.2)

    with pytest.raises(UserFunctionUnavailable) as caught:
        await opening
    assert caught.value is GONE


# --- Commands ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state_action", "writes", "version"),
    [(None, (), 1), (UPDATE_B, (PutValue(1, B),), 2), (DELETE, (DeleteValue(1),), 2)],
    ids=["nothing", "update", "delete"],
)
async def test_every_answer_is_committed_with_what_it_changes(
    bench: Bench,
    state_action: ValueEntityAction | None,
    writes: tuple[Write, ...],
    version: int,
) -> None:
    await (await bench.stored(PutValue(0, A))).opened()
    bench.stream.answers = [reply(state_action, side_effects=[EFFECT])]

    outcome = await bench.engine.handle(PIN)

    ((request, written, committed),) = bench.committed
    assert request is PIN
    assert written == writes
    assert (committed.action, list(committed.side_effects)) == (REPLY, [EFFECT])
    assert (committed.version, bench.engine.version) == (version, version)
    # What the host returns is the outcome.
    assert outcome == Outcome(REPLY, (), version=version)


async def test_a_failure_is_committed_without_a_change(bench: Bench) -> None:
    await bench.opened()
    failed = ClientAction(failure=Failure(command_id=1, description="no"))
    bench.stream.answers = [reply(client_action=failed)]

    outcome = await bench.engine.handle(PIN)

    assert outcome == Outcome(failed, (), version=0)
    assert [writes for _, writes, _ in bench.committed] == [()]


async def test_what_cannot_be_committed_is_the_error(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [reply(UPDATE_B)]
    bench.failing = StoreUnavailable("no")

    with pytest.raises(StoreUnavailable):
        await bench.engine.handle(PIN)
    assert bench.engine.version == 0


async def test_a_reply_that_does_not_come_in_time_is_a_deadline(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [TimeoutError()]

    with pytest.raises(DeadlineExceeded, match="did not answer within 60 s"):
        await bench.engine.handle(PIN)


async def test_a_user_function_that_ends_the_stream_in_a_command_says_why(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [GONE, failure("KeyError")]

    with pytest.raises(UserFunctionError) as caught:
        await bench.engine.handle(PIN)
    assert caught.value.detail == "entity 'e': KeyError"


async def test_no_answer_of_an_earlier_command_is_given_to_a_later_one(bench: Bench) -> None:
    await bench.opened()
    bench.stream.answers = [reply(), reply(UPDATE_B)]
    await bench.engine.handle(PIN)

    with pytest.raises(UserFunctionError, match="Unexpected entity reply"):
        await bench.engine.handle(PIN)
    assert len(bench.committed) == 1


async def test_an_engine_is_of_use_until_something_unasked_is_on_its_stream(bench: Bench) -> None:
    await bench.opened()
    assert bench.engine.fault() is None

    bench.stream.spoilt = UserFunctionError("Unexpected entity reply")
    assert bench.engine.fault() is bench.stream.spoilt


async def test_closing_ends_the_stream(bench: Bench) -> None:
    await bench.engine.aclose()

    assert bench.stream.is_closed
