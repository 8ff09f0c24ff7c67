"""A machine of one replicated entity in the hands of a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as AnyType

from google.protobuf.any_pb2 import Any
from puppets import reply

from cloudstate.crdt_pb2 import (
    CrdtStreamOut,
)
from cloudstate.entity_pb2 import SideEffect
from cloudstate_crdt import GCounter, Lattice, Replica
from cloudstate_crdt.instructions import (
    ClientLeft,
    CommandArrived,
    Commit,
    Committed,
    CopyChanged,
    Crash,
    Input,
    Instruction,
    MessageArrived,
    Opening,
    ReadCopy,
    Send,
    StreamLost,
)
from cloudstate_crdt.machine import CrdtMachine, State
from cloudstate_crdt.replicas import DELETED
from cloudstate_crdt.translation.deltas import view_of
from cloudstate_crdt.translation.translation import View, Viewpoint

PAYLOAD = Any(type_url="t", value=b"x")
EFFECT = SideEffect(service_name="s", command_name="c")
READ = (ReadCopy(),)


def seen(state: Lattice) -> View:
    return view_of(state, Viewpoint("a", ("a",)))


def counter(total: int) -> View:
    return seen(GCounter({Replica("a"): total} if total else {}))


class Driven:
    """A machine in the hands of a test."""

    def __init__(self, view: View | AnyType | None = None, *, deleted: bool = False) -> None:
        types = {
            "Do": "type.googleapis.com/puppet.Word",
            "Watch": "type.googleapis.com/puppet.Word",
        }
        self.machine = CrdtMachine("puppet.Puppet", "e", types)
        self.started = self.give(Opening(DELETED if deleted else view))

    def give(self, input_: Input) -> Sequence[Instruction]:
        return tuple(self.machine.receive(input_))

    def command(self, command_id: int, *, streams: bool = False) -> Sequence[Instruction]:
        name = "Watch" if streams else "Do"
        return self.give(CommandArrived(command_id, name, PAYLOAD, streamed=streams))

    def says(self, message: CrdtStreamOut, command_id: int = 1) -> Sequence[Instruction]:
        inner = getattr(message, str(message.WhichOneof("message")))
        if not inner.command_id:
            inner.command_id = command_id
        return self.give(MessageArrived(message))

    def commits(self, message: CrdtStreamOut, command_id: int = 1) -> Commit:
        """Let the user function say something that is to be stored."""
        commit, *others = self.says(message, command_id)
        assert isinstance(commit, Commit), commit
        assert not others
        return commit

    def watched(self, command_id: int = 1) -> Driven:
        """Accept a stream."""
        self.command(command_id, streams=True)
        self.give(Committed(self.commits(reply("first", streamed=True), command_id).operation))
        return self

    def crashes(self, instructions: Sequence[Instruction]) -> str:
        (crash,) = instructions
        assert isinstance(crash, Crash), crash
        assert self.machine.state == State.ENDED
        assert self.machine.is_idle()
        # Nothing is done any more.
        for input_ in (CopyChanged(), Committed(1), ClientLeft(1), StreamLost("", "")):
            assert self.give(input_) == ()
        return f"{crash.reason}: {crash.detail}"


def sent(instructions: Sequence[Instruction]) -> list[str]:
    return [_words(each) for each in instructions]


def _words(instruction: Instruction) -> str:
    if not isinstance(instruction, Send):
        return type(instruction).__name__
    message = instruction.message
    kind = str(message.WhichOneof("message"))
    return f"delta {message.delta}".strip() if kind == "delta" else kind
