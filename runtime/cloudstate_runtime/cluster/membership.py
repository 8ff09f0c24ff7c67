"""Who belongs to the cluster, as one node finds out: a pure machine.

Its rules:

* What is known of the nodes only grows, and is put together by taking what is greater. Every node
  tells all others everything it knows, again and again; so all come to know the same, whatever is
  lost, comes twice or comes late.
* A node belongs to the cluster from when it joins until it is expelled, reachable or not. Nobody is
  expelled for being silent: only the operator knows that a node will not come back.
* A node that starts asks all others before it serves anybody. If its epoch was expelled, or is
  older than the one they know, it takes a greater one.
* A new epoch is told to nobody before the node has joined: a second process of a name that is taken
  would else drive out the first.
* What a node has written stays when it goes, until the operator gives it up. That is said only of
  lives that are over: of one that was expelled, or that a later one has followed.
* When too many nodes are known, those that were expelled and given up are known no longer, the
  oldest first. What is left of them is the horizon: a life up to that epoch, of a node that is not
  known, is over. A node that hears so of itself takes a greater epoch, or has no way back.
* A node that learns the same later has no way back in this life.
* A node counts how far its store has come, and tells it when it is stored. Whose store has not come
  as far as others have heard has a copy of an older one, or has lost what was written last: what it
  writes would bear numbers that it has given out before. It takes a greater epoch, or has no way
  back.
* Whether a second process has this node's name is certain only when one answers a question of this
  process; what an earlier process has sent may still be on its way.
"""

from __future__ import annotations

from math import inf

from google.protobuf.message import DecodeError

from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_core.transport import check_node_name
from cloudstate_core.value import value
from cloudstate_runtime.cluster.membership_pb2 import Heartbeat
from cloudstate_runtime.cluster.records import MAX_NODES, Known, Life, Records, read_records

__all__ = [
    "Broadcast",
    "Expel",
    "Forget",
    "Heard",
    "Input",
    "Instruction",
    "Joined",
    "Keep",
    "Kept",
    "LeftOut",
    "MembershipMachine",
    "NameTaken",
    "NewMembers",
    "Report",
    "Send",
    "Ticked",
    "Timing",
]


_STORE_IS_OLDER = "its store is older than what the cluster has heard of it"


@value
class Timing:
    """How long everything takes, in seconds.

    Attributes:
        heartbeat_s: Between two messages to all others.
        unreachable_after_s: Who was not heard of for so long counts as unreachable.
        join_timeout_s: How long a node that starts waits for answers.
        mark_every_s: Between two marks of how far its store has come.
    """

    heartbeat_s: float = 1.0
    unreachable_after_s: float = 5.0
    join_timeout_s: float = 2.0
    mark_every_s: float = 30.0


# --- Inputs --------------------------------------------------------------------------


@value
class Ticked:
    """It is this late, in seconds since some moment."""

    now_s: float


@value
class Heard:
    """A node has sent something."""

    sender: str
    message: bytes


@value
class Expel:
    """The operator wants a node out. It must be a member, and another one than this."""

    name: str


@value
class Forget:
    """The operator gives up what a known node has written in its lives that are over."""

    name: str


@value
class Kept:
    """What was known is stored, with this life of the node."""

    life: Life


Input = Ticked | Heard | Expel | Forget | Kept


# --- Instructions --------------------------------------------------------------------


@value
class Broadcast:
    """Send this to all others."""

    message: bytes


@value
class Send:
    """Send this to one node."""

    to: str
    message: bytes


@value
class Keep:
    """Keep what is known now."""


@value
class Joined:
    """From now on this node serves, as this one."""

    node: NodeIdentity


@value
class NewMembers:
    """These belong together now."""

    members: Members


@value
class NameTaken:
    """Another process has this node's name, and is alive."""


@value
class LeftOut:
    """This node has no part in the cluster any more."""

    reason: str


@value
class Report:
    """Tell the operator."""

    what: str
    fields: dict[str, str | int]


Instruction = Broadcast | Send | Keep | Joined | NewMembers | NameTaken | LeftOut | Report


class MembershipMachine:
    """One node's view.

    Attributes:
        node: This node; its epoch is final once it has joined.
        records: What is known of all nodes.
        life: The node's present life once it has joined, its earlier one before; to be kept.
        has_joined: Whether this node serves.
        is_left_out: Whether this node has no part any more.
    """

    def __init__(
        self,
        name: str,
        records: Records,
        life: Life,
        process: int,
        unix_time_ms: int,
        timing: Timing,
    ) -> None:
        """Begin from what was kept.

        Args:
            name: Of this node.
            records: What it knew in its earlier lives; the machine's from now on.
            life: Its latest one, as its store knows it.
            process: A number that no other process has; not 0.
            unix_time_ms: The epoch of a node that needs a new one, unless that is too small.
            timing: How long everything takes.
        """
        self.records = records
        self.has_joined = False
        self.is_left_out = False
        self._name = name
        self._process = process
        self._unix_time_ms = unix_time_ms
        self._timing = timing
        self._epoch = 0
        self._started_s: float | None = None
        self._now_s = 0.0
        self._sent_s = -inf
        self._heard_s: dict[str, float] = {}
        self._suspect = 0
        self._joining: set[str] = set()
        self._marked_s = -inf
        self.life = life
        known = records.of(name)
        goes_on = known.is_member and not life.is_behind(known.life)
        self._epoch = life.epoch if goes_on else self._epoch_above(known)
        self._members = self.members

    @property
    def node(self) -> NodeIdentity:
        """This node in this life."""
        return NodeIdentity(self._name, self._epoch)

    @property
    def members(self) -> Members:
        """Who belongs together now."""
        last_s = self._now_s - self._timing.unreachable_after_s
        # A node that was left out is still the one it was.
        epochs = {**self.records.members(), self._name: self._epoch}
        reachable = {name for name, at_s in self._heard_s.items() if at_s >= last_s}
        return Members(
            epochs=epochs,
            reachable=frozenset({self._name, *(reachable & epochs.keys())}),
            expelled=self.records.expelled(),
            forgotten=self.records.forgotten(),
            horizon=self.records.horizon,
        )

    def receive(self, given: Input) -> list[Instruction]:
        """Take in what has happened, and return what is to be done."""
        match given:
            case Ticked(now_s=now_s):
                done = self._ticked(now_s)
            case Heard(sender=sender, message=message):
                done = self._heard(sender, message)
            case Expel(name=name):
                known = self.records.of(name)
                done = self._operator_says(name, Known(known.epoch, expelled_epoch=known.epoch))
            case Forget(name=name):
                over = self.records.of(name).last_life_over
                done = self._operator_says(name, Known(0, forgotten_epoch=over))
            case Kept(life=life):
                done = self._kept(life)
        if self.has_joined and (members := self.members) != self._members:
            self._members = members
            done.append(NewMembers(members))
        return done

    # --- Time ------------------------------------------------------------------------

    def _ticked(self, now_s: float) -> list[Instruction]:
        self._now_s = now_s
        if self._started_s is None:
            self._started_s = now_s
        if not self.has_joined:
            if self._must_wait(now_s - self._started_s):
                return [Broadcast(self._heartbeat(asks=True))]
            return self._join()
        if self.is_left_out:
            return []
        done: list[Instruction] = []
        if self._is_mark_due():
            self._marked_s = now_s
            self.life = Life(self._epoch, self.life.mark + 1)
            done.append(Keep())
        if now_s - self._sent_s >= self._timing.heartbeat_s:
            self._sent_s = now_s
            done.append(Broadcast(self._heartbeat()))
        return done

    def _is_mark_due(self) -> bool:
        """Whether it is time, and nobody can have heard of a later mark than the one before."""
        if self._now_s - self._marked_s < self._timing.mark_every_s:
            return False
        return self.records.members().keys() <= self._heard_s.keys() | {self._name}

    def _kept(self, life: Life) -> list[Instruction]:
        # Told from now on, and not before: what others have heard is in the store.
        if life.epoch == self._epoch and self.has_joined:
            self.records.join(self._name, Known(life.epoch, mark=life.mark))
        return []

    def _must_wait(self, waited_s: float) -> bool:
        """Whether somebody may still have something to say to a node that starts."""
        if waited_s >= self._timing.join_timeout_s:
            return False
        others = (self.records.members().keys() | self._joining) - {self._name}
        return not (others and others <= self._heard_s.keys())

    def _join(self) -> list[Instruction]:
        self.has_joined = True
        if self.life.epoch != self._epoch:
            self.life = Life(self._epoch)
        self.records.join(self._name, Known(self._epoch))
        self._sent_s = self._now_s
        self._members = self.members
        return [Keep(), Joined(self.node), Broadcast(self._heartbeat())]

    # --- Others ----------------------------------------------------------------------

    def _heard(self, sender: str, message: bytes) -> list[Instruction]:
        heartbeat = Heartbeat()
        try:
            heartbeat.ParseFromString(message)
            check_node_name(sender)
            told = read_records(heartbeat.nodes, heartbeat.horizon)
            if not heartbeat.process:
                raise ValueError("expected the number of a process")
        except (DecodeError, ValueError) as error:
            fields: dict[str, str | int] = {"sender": sender, "reason": str(error)}
            return [Report("heartbeat_not_understood", fields)]
        is_unknown = self._name not in told and self._epoch <= told.horizon
        done = self._learn(told)
        if is_unknown:
            done += self._is_over("the cluster does not know it any more")
        if sender == self._name:
            done += self._heard_namesake(heartbeat)
        elif sender in self.records:
            self._heard_s[sender] = self._now_s
        elif not self.has_joined and len(self._joining) < MAX_NODES:
            self._joining.add(sender)
        if heartbeat.asks and not self.is_left_out:
            done.append(Send(sender, self._heartbeat(answers=heartbeat.process)))
        return done

    def _heard_namesake(self, heartbeat: Heartbeat) -> list[Instruction]:
        if heartbeat.process == self._process:
            return []
        if heartbeat.answers == self._process:
            return [NameTaken()]
        if heartbeat.process == self._suspect:
            return []
        self._suspect = heartbeat.process
        return [Send(self._name, self._heartbeat(asks=True))]

    def _learn(self, told: Records) -> list[Instruction]:
        done: list[Instruction] = []
        is_news = False
        for name, known in told.items():
            if self.records.join(name, known):
                is_news = True
            elif name not in self.records and known.last_epoch > self.records.horizon:
                done.append(Report("too_many_nodes", {"node": name, "limit": MAX_NODES}))
        # Only now: of what the sender knows its horizon says nothing.
        is_news |= self.records.join_horizon(told)
        if is_news:
            done.append(Keep())
            done += self._look_at_itself()
        return done

    def _look_at_itself(self) -> list[Instruction]:
        if self.is_left_out:
            return []
        known = self.records.of(self._name)
        if known.expelled_epoch >= self._epoch:
            return self._is_over("it was expelled from the cluster")
        if known.epoch > self._epoch:
            return self._is_over("the cluster knows a later life of it")
        if known.epoch == self._epoch and self.life.is_behind(known.life):
            epoch = self._epoch
            return [*self._is_over(_STORE_IS_OLDER), Report("store_is_older", {"epoch": epoch})]
        return []

    def _is_over(self, reason: str) -> list[Instruction]:
        """Have no part in the cluster in this life, or not begin it."""
        if self.is_left_out:
            return []
        if not self.has_joined:
            self._epoch = self._epoch_above(self.records.of(self._name))
            return []
        self.is_left_out = True
        return [LeftOut(reason)]

    def _epoch_above(self, known: Known) -> int:
        return max(self._unix_time_ms, known.last_epoch + 1, self.records.horizon + 1)

    def _operator_says(self, name: str, known: Known) -> list[Instruction]:
        self.records.join(name, known)
        self._sent_s = self._now_s
        return [Keep(), Broadcast(self._heartbeat())]

    def _heartbeat(self, *, asks: bool = False, answers: int = 0) -> bytes:
        heartbeat = Heartbeat(
            process=self._process,
            asks=asks,
            answers=answers,
            nodes=self.records.messages(),
            horizon=self.records.horizon,
        )
        return heartbeat.SerializeToString()
