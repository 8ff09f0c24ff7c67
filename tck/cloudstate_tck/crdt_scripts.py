"""Scripts for user functions with CRDTs, whose proxy the suite is.

Every script has an entity id of its own, whose beginning names the type, and ends each stream by a
half-close, as passivation does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from cloudstate.crdt_pb2 import CrdtDelta, CrdtReply, CrdtStreamIn, CrdtStreamOut
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.crdt_messages import (
    MODEL,
    Answer,
    cancel,
    cancelled,
    command,
    command_in,
    deleted,
    expect_same,
    init,
    replicated,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import expect_equal
from cloudstate_tck.function_client import ProtocolStream
from cloudstate_tck.model.crdt_pb2 import RequestAction, StreamedRequest, Update
from cloudstate_tck.protocol import CRDT

__all__ = [
    "Activation",
    "Asked",
    "Restarted",
    "Script",
    "Step",
    "Told",
    "activated",
    "asked",
    "case",
    "cases_of",
    "restarted",
    "run_script",
    "told",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """One command and its answer."""

    actions: tuple[RequestAction, ...]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Told:
    """Changes from elsewhere, which are not answered."""

    deltas: tuple[CrdtDelta, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """The entity leaves memory and comes back, with this state or without one."""

    delta: CrdtDelta | None


Step = Asked | Told | Restarted


@dataclass(frozen=True, slots=True)
class Script:
    """A case that is a sequence of steps with one entity.

    It starts without a state, unless the first step says with which.
    """

    title: str
    steps: tuple[Step, ...]


def asked(*asked_for: Update | RequestAction, gives: Answer) -> Asked:
    actions = tuple(
        each if isinstance(each, RequestAction) else RequestAction(update=each)
        for each in asked_for
    )
    return Asked(actions, gives)


def told(*deltas: CrdtDelta) -> Told:
    return Told(deltas)


def restarted(delta: CrdtDelta | None = None) -> Restarted:
    return Restarted(delta)


class Activation:
    """One stream of the model entity, with its command ids counted from 1.

    Attributes:
        entity_id: The entity.
        command_id: The last command's.
    """

    def __init__(self, stream: ProtocolStream[CrdtStreamIn, CrdtStreamOut], entity_id: str) -> None:
        self._stream = stream
        self.entity_id = entity_id
        self.command_id = 0

    async def expect(self, *actions: RequestAction, gives: Answer) -> None:
        """Send the next command and compare its answer.

        Raises:
            Mismatch: If the answer differs or is missing.
        """
        self.command_id += 1
        await self._stream.send(command_in(self.entity_id, self.command_id, *actions))
        await self._expect(f"the answer to command {self.command_id}", gives(self.command_id))

    async def expect_all(self, *each: Sequence[RequestAction]) -> list[CrdtReply]:
        """Send several commands at once; return their replies, in the order of the commands.

        Raises:
            Mismatch: If a reply is missing, or is one to another command.
        """
        first = self.command_id + 1
        for actions in each:
            self.command_id += 1
            await self._stream.send(command_in(self.entity_id, self.command_id, *actions))
        replies: dict[int, CrdtReply] = {}
        for _ in each:
            found = await self._stream.receive("the answer to one of several commands", "a reply")
            replies[found.reply.command_id] = found.reply
        answered, asked_for = sorted(replies), list(range(first, self.command_id + 1))
        expect_equal("the commands that are answered", asked_for, answered)
        return [replies[command_id] for command_id in asked_for]

    async def expect_tolerated(self, command_id: int, *, gives: Answer) -> None:
        """Let the client of a stream leave that has ended; the next command must be answered.

        That the leaving is answered as well is allowed.

        Raises:
            Mismatch: If anything else comes, or the answer is missing.
        """
        self.command_id += 1
        late = cancel(self.entity_id, command_id)
        await self._stream.send(late, command_in(self.entity_id, self.command_id))
        what, expected = f"the answer to command {self.command_id}", gives(self.command_id)
        found = await self._stream.receive(what, expected)
        if found.HasField("stream_cancelled_response"):
            expect_same("the answer to a late cancellation", cancelled(command_id), found)
            found = await self._stream.receive(what, expected)
        expect_same(what, expected, found)

    async def expect_stream(self, payload: StreamedRequest, *, gives: Answer) -> int:
        """Send the next command, whose client takes a stream; return its id.

        Raises:
            Mismatch: If the answer differs or is missing.
        """
        self.command_id += 1
        payload.id = self.entity_id
        message = command(self.entity_id, self.command_id, payload, "ProcessStreamed")
        await self._stream.send(message)
        await self._expect(f"the answer to command {self.command_id}", gives(self.command_id))
        return self.command_id

    async def expect_pushed(self, *expected: CrdtStreamOut) -> None:
        """Compare the next messages, which are elements of streamed commands.

        Raises:
            Mismatch: If one differs or is missing.
        """
        for message in expected:
            await self._expect("the next streamed message", message)

    async def expect_cancelled(self, command_id: int, gives: CrdtStreamOut) -> None:
        """Let the client of a streamed command leave, and compare what comes of it.

        Raises:
            Mismatch: If the answer differs or is missing.
        """
        await self._stream.send(cancel(self.entity_id, command_id))
        await self._expect(f"the answer to the cancellation of command {command_id}", gives)

    async def tell(self, *deltas: CrdtDelta) -> None:
        """Tell of changes from elsewhere."""
        await self._stream.send(*map(replicated, deltas))

    async def tell_deleted(self) -> None:
        """Tell of a deletion elsewhere."""
        await self._stream.send(deleted())

    async def _expect(self, what: str, expected: CrdtStreamOut) -> None:
        expect_same(what, expected, await self._stream.receive(what, expected))


@asynccontextmanager
async def activated(
    examination: Examination, entity_id: str, delta: CrdtDelta | None = None
) -> AsyncIterator[Activation]:
    """Open a stream for an entity with its state; passivate it at the end.

    Raises:
        Mismatch: If the user function does not end the stream in order.
    """
    async with examination.the_function().stream(CRDT) as stream:
        await stream.send(init(MODEL, entity_id, delta))
        yield Activation(stream, entity_id)
        await stream.complete()


case = partial(Case, kind="crdt", phase=Phase.MODEL, needs=frozenset({MODEL}))


def cases_of(first: int, type_: str, *scripts: Script) -> tuple[Case, ...]:
    """Return the cases of one type: its scripts, and that it is deleted elsewhere.

    Args:
        first: Number of the first case.
        type_: The type's name, as entity ids begin.
        scripts: What is said of the type, in order.
    """
    runs = [(script.title, partial(run_script, type_, script)) for script in scripts]
    runs.append(("it is deleted elsewhere", partial(_be_deleted, type_)))
    return tuple(
        case(f"C{number}", f"{type_}: {title}", run=run)
        for number, (title, run) in enumerate(runs, start=first)
    )


async def run_script(type_: str, script: Script, examination: Examination) -> None:
    """Take the steps of a script with a new entity of a type.

    Raises:
        Mismatch: If an answer differs or is missing, or a stream does not end in order.
    """
    entity_id = examination.new_entity_id(type_)
    for start, steps in _activations(script):
        async with activated(examination, entity_id, start) as entity:
            for step in steps:
                if isinstance(step, Asked):
                    await entity.expect(*step.actions, gives=step.answer)
                else:
                    await entity.tell(*step.deltas)


def _activations(script: Script) -> list[tuple[CrdtDelta | None, list[Asked | Told]]]:
    """Return what is said on each stream, and with which state it starts."""
    activations: list[tuple[CrdtDelta | None, list[Asked | Told]]] = []
    for step in script.steps:
        if isinstance(step, Restarted):
            activations.append((step.delta, []))
        else:
            if not activations:
                activations.append((None, []))
            activations[-1][1].append(step)
    return activations


async def _be_deleted(type_: str, examination: Examination) -> None:
    async with activated(examination, examination.new_entity_id(type_)) as entity:
        await entity.tell_deleted()
