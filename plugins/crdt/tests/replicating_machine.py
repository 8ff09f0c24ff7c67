"""The machine of one node among three, as tests talk to it."""

from __future__ import annotations

from random import Random

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt import GCounter, Replica, standard_types
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.replicas import Change, Consistency
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.machine import ReplicationMachine
from cloudstate_crdt.replication.wire import change_to
from cloudstate_crdt.replication.words import (
    Broadcast,
    Changed,
    Digested,
    Flush,
    Instruction,
    Join,
    Loaded,
    MembersChanged,
    ReadDigests,
    Received,
    Report,
    Send,
    Settle,
    Ticked,
)
from cloudstate_crdt.replication_pb2 import (
    Changes,
    Message,
)

REGISTRY = standard_types()
ME, PEER = Replica("a", 1), Replica("b", 7)
PEERS_PROCESS, OWN_PROCESS = 55, 44


class Machine:
    """Node a among a, b and c, with what it wants done."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        max_message_bytes: int = 10_000,
        retired: Retired | None = None,
    ) -> None:
        self.machine = ReplicationMachine(
            NodeIdentity("a", 1),
            OWN_PROCESS,
            REGISTRY,
            Random(1).randrange,
            max_message_bytes,
            limits,
            retired,
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

    def hear(self, *, epoch: int = 7, process: int = PEERS_PROCESS, **more) -> list[Instruction]:
        message = Message(epoch=epoch, process=process, **more).SerializeToString()
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


def settled(done: list[Instruction]) -> list[tuple[int, int, bool]]:
    return [
        (each.stored, each.needed, not each.failure) for each in done if isinstance(each, Settle)
    ]
