"""The machine, a user function and the copy, in any order of steps: in the end both are equal."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from driven_machine import PAYLOAD, counter
from puppets import cancelled, reply, streamed, update

from cloudstate.crdt_pb2 import CrdtStreamIn, CrdtStreamOut
from cloudstate_crdt.instructions import (
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    CopyRead,
    Crash,
    Emit,
    Input,
    MessageArrived,
    Opening,
    ReadCopy,
    Report,
    Send,
)
from cloudstate_crdt.machine import CrdtMachine


class History:
    """One entity whose parts take their steps when chance says so."""

    def __init__(self, seed: int, machine_class: type[CrdtMachine] = CrdtMachine) -> None:
        self.random = Random(seed)
        types = dict.fromkeys(("Do", "Watch"), "type.googleapis.com/puppet.Word")
        self.machine = machine_class("puppet.Puppet", "e", types)
        self.copy = 0
        self.to_function: deque[CrdtStreamIn] = deque()
        self.to_runtime: deque[CrdtStreamOut] = deque()
        self.commits: deque[Commit] = deque()
        self.reads = 0
        self.ids = 0
        self.answered: list[int] = []
        # The user function's end.
        self.total = 0
        self.asked: list[tuple[int, bool]] = []
        self.streams: set[int] = set()
        self.cancellations: list[int] = []
        self.running: set[int] = set()
        self.give(Opening(None))

    def give(self, input_: Input) -> None:
        for instruction in self.machine.receive(input_):
            match instruction:
                case Send(message):
                    self.to_function.append(message)
                case Commit():
                    self.commits.append(instruction)
                case ReadCopy():
                    self.reads += 1
                case Emit():
                    pass
                case Crash() | Report():
                    raise AssertionError(instruction)

    def step(self) -> None:
        steps = [self.arrive, self.change_elsewhere, self.leave, *self.possible()]
        self.random.choice(steps)()

    def possible(self) -> list:
        """What is under way and can go on."""
        return [
            step
            for step, waits in (
                (self.receive, self.to_function),
                (self.deliver, self.to_runtime),
                (self.store, self.commits),
                (self.read, self.reads),
                (self.answer, self.asked),
                (self.answer_cancellation, self.cancellations),
            )
            if waits
        ]

    def finish(self) -> None:
        while steps := self.possible():
            self.random.choice(steps)()
        assert self.total == self.copy, "the user function has something else"

    # --- The runtime ---

    def arrive(self) -> None:
        self.ids += 1
        streams = self.random.random() < 0.4
        self.give(CommandArrived(self.ids, "Watch" if streams else "Do", PAYLOAD, streamed=streams))

    def leave(self) -> None:
        self.give(ClientLeft(self.random.randint(1, max(self.ids, 1))))

    def change_elsewhere(self) -> None:
        self.copy += self.random.randint(1, 9)
        self.give(CopyChanged())

    def store(self) -> None:
        commit = self.commits.popleft()
        self.copy += commit.change.update.gcounter.increment
        if not commit.is_cancelled:
            self.answered.append(commit.command_id)
        self.give(Committed(commit.operation))

    def read(self) -> None:
        self.reads -= 1
        # Whoever has the copy's turn shows what is stored.
        exists = self.copy or self.total
        self.give(CopyRead(counter(self.copy) if exists else None))

    def deliver(self) -> None:
        self.give(MessageArrived(self.to_runtime.popleft()))

    # --- The user function ---

    def receive(self) -> None:
        message = self.to_function.popleft()
        match message.WhichOneof("message"):
            case "command":
                self.asked.append((message.command.id, message.command.streamed))
            case "delta":
                assert not self.asked, "it is told in the middle of a command"
                # Those of streams that it has ended itself are settled by that.
                assert not self.running & set(self.cancellations), "in the middle of a cancellation"
                self.total += message.delta.gcounter.increment
            case "stream_cancelled":
                command_id = message.stream_cancelled.id
                if command_id in self.streams:
                    self.streams.discard(command_id)
                    self.running.add(command_id)
                self.cancellations.append(command_id)

    def grow(self):
        by = self.random.choice((0, 0, 1, 5))
        self.total += by
        return update(by) if by else None

    def answer(self) -> None:
        command_id, streams = self.asked.pop(self.random.randrange(len(self.asked)))
        accepts = streams and self.random.random() < 0.8
        if accepts:
            self.streams.add(command_id)
        self.to_runtime.append(reply("x", self.grow(), streamed=accepts, command_id=command_id))
        for each in sorted(self.streams):
            ends = self.random.random() < 0.1
            if ends:
                self.streams.discard(each)
            self.to_runtime.append(streamed("y", ends=ends, command_id=each))

    def answer_cancellation(self) -> None:
        command_id = self.cancellations.pop()
        self.to_runtime.append(cancelled(self.grow(), command_id=command_id))


def run(seed: int, machine_class: type[CrdtMachine] = CrdtMachine) -> None:
    history = History(seed, machine_class)
    for _ in range(60):
        history.step()
    history.finish()
    assert sorted(history.answered) == list(range(1, history.ids + 1)), "not one answer for each"
    assert len(history.machine._open) == len(history.streams)


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("overtaking", [1, 100])
def test_in_any_order_of_steps_both_have_the_same_in_the_end(
    block: int, overtaking: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudstate_crdt.machine._MAX_OVERTAKING", overtaking)
    for seed in range(block * 150, block * 150 + 150):
        run(seed)


class Talkative(CrdtMachine):
    """Tells of changes in the middle of commands."""

    def _is_outstanding(self) -> bool:
        return False


class Forgetful(CrdtMachine):
    """Does not look again at what it has read too early."""

    def _compare(self, view):
        self._is_reading = False
        return () if self._is_outstanding() else super()._compare(view)


class Hasty(CrdtMachine):
    """Takes what is not stored for stored."""

    def _is_outstanding(self) -> bool:
        return bool(self._unanswered or self._cancelling)


@pytest.mark.parametrize("machine_class", [Talkative, Forgetful, Hasty])
def test_a_machine_that_does_not_keep_turns_is_found(machine_class: type[CrdtMachine]) -> None:
    def run_all() -> None:
        for seed in range(300):
            run(seed, machine_class)

    with pytest.raises(AssertionError):
        run_all()
