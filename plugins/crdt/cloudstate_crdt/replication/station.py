"""This node, as the parts of its replication share it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_crdt.departed import Retired
from cloudstate_crdt.registry import Registry
from cloudstate_crdt.replication.limits import Limits
from cloudstate_crdt.replication.parts import Reassembly, split
from cloudstate_crdt.replication.progress import Progress
from cloudstate_crdt.replication.reports import Reports
from cloudstate_crdt.replication.wire import in_batches
from cloudstate_crdt.replication.words import Broadcast, Instruction, Read, Send
from cloudstate_crdt.replication_pb2 import Changes, EntityChange, Message, Part, States

__all__ = ["Peer", "Station"]

#: Room for what is around the changes in a message, or around the data in a part.
_ENVELOPE_BYTES = 128

#: How many processes of one node are followed. Messages of earlier ones may be on their way still.
_MAX_PROCESSES = 4

#: What a message of a whole state has beside the state.
_BESIDE_A_STATE = 64 * 1024


class Peer:
    """Another member, in one of its lives.

    Attributes:
        name: Its name.
        epoch: Its epoch.
        progress: Which of its changes have arrived, by process.
        reassembly: Its message of which not all parts have come.
        stored: The numbers of its changes that are stored and not confirmed yet, by process.
        changes: What it is sent again.
        forgotten: Up to which number what it misses is kept no longer.
        states: States that it is sent, by whether they were wanted.
        to_read: Which copies are still to be read for it.
        is_reading: Whether one is being read.
        joining_bytes: How much of what it has sent waits to be stored.
        refused: Until when an entity's state is not asked for again.
        told_s: When it was told last which writers are forgotten.
    """

    def __init__(self, name: str, epoch: int, limits: Limits) -> None:
        self.name = name
        self.epoch = epoch
        self.progress: OrderedDict[int, Progress] = OrderedDict()
        self.reassembly = Reassembly(limits.max_state_bytes + _BESIDE_A_STATE)
        self.stored: dict[int, list[int]] = {}
        self.changes: list[EntityChange] = []
        self.forgotten = 0
        self.states: dict[bool, list[EntityChange]] = {True: [], False: []}
        self.to_read: deque[Read] = deque()
        self.is_reading = False
        self.joining_bytes = 0
        self.refused: dict[str, float] = {}
        self.told_s = float("-inf")
        self._ask_again_s = limits.ask_again_s

    @property
    def identity(self) -> NodeIdentity:
        return NodeIdentity(self.name, self.epoch)

    def progress_of(self, process: int, start: int) -> Progress:
        """Return what has arrived from a process.

        Args:
            process: Which one.
            start: The number that counts as the last that has arrived, if it is a new one.
        """
        found = self.progress.get(process)
        if found is None:
            found = self.progress[process] = Progress(start, self._ask_again_s)
            if len(self.progress) > _MAX_PROCESSES:
                self.progress.popitem(last=False)
        return found


class Station:
    """What this node is, what time it is, whom it knows, and what is to be done next.

    Attributes:
        node: This node.
        process: Which process of this node: a random number.
        registry: The types that are known.
        limits: The bounds.
        choose: Returns a random number below the one it is given.
        now_s: The time, on a clock that never goes back.
        members: Who belongs to the cluster.
        peers: The other members, by name.
        retired: Which departed writers are forgotten.
        to_do: Instructions for whoever carries them out.
    """

    def __init__(
        self,
        node: NodeIdentity,
        process: int,
        registry: Registry,
        limits: Limits,
        choose: Callable[[int], int],
        max_message_bytes: int,
    ) -> None:
        self.node = node
        self.process = process
        self.registry = registry
        self.limits = limits
        self.choose = choose
        self.batch_bytes = max_message_bytes - _ENVELOPE_BYTES
        self.now_s = 0.0
        self.members = Members(epochs={node.name: node.epoch}, reachable=frozenset(), expelled={})
        self.peers: dict[str, Peer] = {}
        self.retired = Retired()
        self.to_do: list[Instruction] = []
        self._max_message_bytes = max_message_bytes
        self._reports = Reports(limits.report_every_s)
        self._divided = 0

    @property
    def is_member(self) -> bool:
        return self.members.epochs.get(self.node.name) == self.node.epoch

    def report(self, what: str, node: str, **fields: object) -> None:
        """Tell the operator, unless the same was told lately."""
        self.to_do += self._reports.report(what, node, self.now_s, **fields)

    def broadcast(self, **body: object) -> None:
        """Send a message to all; the keyword says what kind it is."""
        self.to_do += map(Broadcast, self._written(body))

    def send(self, peer: Peer, **body: object) -> None:
        """Send a message to one; the keyword says what kind it is."""
        self.to_do += (Send(peer.name, message) for message in self._written(body))

    def send_changes(self, peer: Peer, changes: list[EntityChange], forgotten: int) -> None:
        for batch in list(in_batches(changes, self.batch_bytes)) or [[]]:
            self.send(peer, changes=Changes(changes=batch, forgotten=forgotten))

    def send_states(
        self,
        peer: Peer,
        states: list[EntityChange],
        *,
        round_: int = 0,
        were_wanted: bool = False,
    ) -> None:
        for batch in in_batches(states, self.batch_bytes):
            message = States(states=batch, round=round_, were_wanted=were_wanted)
            self.send(peer, states=message)

    def _written(self, body: dict[str, object]) -> Iterable[bytes]:
        message = self._enclosed(body)
        if len(message) <= self._max_message_bytes:
            return [message]
        self._divided += 1
        parts = split(message, self._divided, self.batch_bytes)
        return (self._enclosed({"part": part}) for part in parts)

    def _enclosed(self, body: dict[str, object] | dict[str, Part]) -> bytes:
        written: bytes = Message(
            epoch=self.node.epoch,
            process=self.process,
            generation=self.retired.generation,
            **body,
        ).SerializeToString()
        return written
