"""The machine of one node among three that are to forget a fourth."""

from __future__ import annotations

from collections.abc import Sequence

from replicating_machine import Machine, messages

from cloudstate_core.cluster import Members
from cloudstate_crdt import Replica
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.replication.words import (
    Instruction,
    Keep,
    Kept,
    MembersChanged,
    Received,
    Traced,
)
from cloudstate_crdt.replication_pb2 import Departures, Life, Message, Retirement

D = Replica("d", 2)
DEPARTED = Departed({"d": 2})
FORGOTTEN = Retired().retire("d", 2, folds=True)
EMPTY = Trace()
OF_D = Trace(b"d" * 16)
ALIVE = Trace(b"a" * 16, must_adopt=True)


class Forgetting(Machine):
    """Node a among a, b and c, who are to forget d."""

    def give_up(self, epoch: int = 2, **epochs: int) -> list[Instruction]:
        epochs = epochs or {"a": 1, "b": 7, "c": 1}
        gone = {"d": epoch}
        members = Members(epochs, frozenset(epochs), expelled=gone, forgotten=gone)
        return self.machine.receive(MembersChanged(members))

    def scanned(self, *traces: tuple[str, Trace], number: int = 1) -> list[Instruction]:
        given = Traced(number, traces, is_scan=True, is_last=True)
        return self.machine.receive(given)

    def report(self) -> Departures:
        """What this node says next."""
        [said] = [each for each in messages(self.tick(0.5), "departures") if each.view]
        return said

    def hear_from(self, name: str, said: Departures, *, generation: int = 0) -> list[Instruction]:
        epoch = {"b": 7, "c": 1}[name]
        message = Message(epoch=epoch, process=5, generation=generation, departures=said)
        return self.machine.receive(Received(name, message.SerializeToString()))

    def hear_others(self, said: Departures) -> list[Instruction]:
        return [*self.hear_from("b", said), *self.hear_from("c", said)]

    def have_forgotten(self) -> list[Instruction]:
        """Agree, and forget."""
        self.give_up()
        self.scanned(("x", OF_D))
        assert kept(self.hear_others(self.report())) == [FORGOTTEN]
        return self.machine.receive(Kept(FORGOTTEN))


def kept(done: Sequence[Instruction]) -> list[Retired]:
    return [each.retired for each in done if isinstance(each, Keep)]


def retirement(node: str = "d", epoch: int = 2, *participants: Life) -> Departures:
    return Departures(retirements=[Retirement(node=node, epoch=epoch, participants=participants)])
