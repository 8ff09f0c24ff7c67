"""What goes into a `ReplicationMachine` and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudstate_core.cluster import Members
from cloudstate_core.value import value
from cloudstate_crdt.departed import Departed, Retired, Trace
from cloudstate_crdt.replicas import Change
from cloudstate_crdt.replication_pb2 import EntityChange

__all__ = [
    "Adopt",
    "Adopted",
    "AdoptionFailed",
    "Broadcast",
    "Changed",
    "Digested",
    "Flush",
    "GapSuspected",
    "Input",
    "Instruction",
    "Join",
    "JoinFailed",
    "JoinRefused",
    "Joined",
    "Keep",
    "KeepFailed",
    "Kept",
    "LoadDigests",
    "Loaded",
    "MembersChanged",
    "Read",
    "ReadDigests",
    "ReadTraces",
    "Received",
    "Report",
    "ScanTraces",
    "Send",
    "Settle",
    "StateRead",
    "Ticked",
    "Traced",
    "Unsure",
]

# --- Instructions --------------------------------------------------------------------


@value
class Broadcast:
    """Send a message to all other nodes. It may be lost."""

    message: bytes


@value
class Send:
    """Send a message to one node. It may be lost."""

    to: str
    message: bytes


@value
class Join:
    """Join a change into the copy of an entity, and answer with what came of it.

    Answers: `Joined`, `JoinRefused`, `JoinFailed`.

    Attributes:
        entity_id: The entity.
        change: What to join.
        sender: Who sent it.
        epoch: In which life.
        process: In which process.
        sequences: The numbers of the sender's changes that it contains.
        size: How many bytes it had.
        answer: The sender waits to hear that it is stored.
        digest: Set if the sender wants our state, should it be another than this afterwards.
        round: The comparison that it belongs to; 0 for none.
    """

    entity_id: str
    change: Change
    sender: str
    epoch: int
    process: int
    sequences: Sequence[int]
    size: int
    answer: bool = False
    digest: bytes = b""
    round: int = 0


@value
class Read:
    """Read the copy of an entity. Answer: `StateRead`.

    Attributes:
        entity_id: The entity.
        to: Whom the state is for.
        instead_of: What would be sent in its place if that is shorter; None for nothing.
        unless: It need not be sent if it has this digest.
        round: The comparison that asked for it; 0 for none.
        is_wanted: The other has asked for it, and is to send its own if that is another still.
    """

    entity_id: str
    to: str
    instead_of: EntityChange | None = None
    unless: bytes = b""
    round: int = 0
    is_wanted: bool = False


@value
class ReadDigests:
    """Read the digests of the copies of some entities. Answer: `Digested`."""

    entity_ids: Sequence[str]


@value
class LoadDigests:
    """Read the digests of all copies anew. Answers: `Digested`, again and again, and `Loaded`.

    What an earlier load has read and not given yet is of no use any more.
    """


@value
class ScanTraces:
    """Read what all copies have of departed writers. Answers: `Traced`, the last one `is_last`.

    Attributes:
        number: Which scan. What is read for an earlier one need not be read on.
        departed: Which writers.
    """

    number: int
    departed: Departed


@value
class ReadTraces:
    """Read what the copies of some entities have of departed writers. Answer: `Traced`.

    Attributes:
        number: The scan that this goes on with.
        departed: Which writers.
        entity_ids: The entities.
    """

    number: int
    departed: Departed
    entity_ids: Sequence[str]


@value
class Adopt:
    """Let this node take over what departed writers have left alive in a copy, and store it.

    Answers: `Adopted`, `AdoptionFailed`.
    """

    entity_id: str
    departed: Departed


@value
class Keep:
    """Make it durable that writers are forgotten, and then forget them in all copies.

    Answers: `Kept`, in the turn in which the copies forget them, with nothing else in between;
    `KeepFailed`.
    """

    retired: Retired


@value
class Settle:
    """Let the one go on who waits for a change to be stored.

    Attributes:
        waiter: Who.
        stored: How many members have it.
        needed: How many should have.
        failure: Why it is not as many, if it is not; empty if it is.
    """

    waiter: int
    stored: int
    needed: int
    failure: str = ""


@value
class Report:
    """Tell the operator.

    Attributes:
        what: What has happened, as the name of a log event.
        fields: More about it.
    """

    what: str
    fields: Mapping[str, object]


Instruction = (
    Broadcast
    | Send
    | Join
    | Read
    | ReadDigests
    | LoadDigests
    | ScanTraces
    | ReadTraces
    | Adopt
    | Keep
    | Settle
    | Report
)

# --- Inputs --------------------------------------------------------------------------


@value
class Ticked:
    """Some time has gone by, on a clock that never goes back."""

    now_s: float


@value
class MembersChanged:
    """The members are these."""

    members: Members


@value
class Changed:
    """This node has changed an entity, and stored it.

    Attributes:
        entity_id: The entity.
        delta: What it has grown by.
        consistency: How many copies must have it.
        waiter: Who waits for that; None if nobody does.
    """

    entity_id: str
    delta: Change
    consistency: str
    waiter: int | None = None


@value
class Unsure:
    """The copy of an entity may be another than this node knows of."""

    entity_id: str


@value
class Flush:
    """Whatever is ready to be sent is to be sent."""


@value
class Received:
    """A message has come."""

    sender: str
    message: bytes


@value
class GapSuspected:
    """The transport may have lost messages to this node."""


@value
class Joined:
    """The copy has the change, in the store too."""

    join: Join
    has_changed: bool


@value
class JoinRefused:
    """The change cannot belong to the entity."""

    join: Join
    why: str


@value
class JoinFailed:
    """It is not known whether the copy has the change."""

    join: Join
    why: str


@value
class StateRead:
    """What the copy of an entity is; None for none."""

    read: Read
    state: Change | None


@value
class Digested:
    """Digests of entities.

    Attributes:
        digests: By entity; None for one that there is no copy of.
        unread: Entities whose digests could not be read now.
    """

    digests: Sequence[tuple[str, bytes | None]]
    unread: Sequence[str] = ()


@value
class Loaded:
    """The digests of all copies have been given."""


@value
class Traced:
    """What copies have of departed writers.

    Attributes:
        number: The scan for which it was read.
        traces: By entity; all that were asked for, or of a scan those that are not empty.
        unread: Entities that were asked for and could not be read now.
        is_scan: It was read by a scan.
        is_last: The scan has gone through all copies.
    """

    number: int
    traces: Sequence[tuple[str, Trace]]
    unread: Sequence[str] = ()
    is_scan: bool = False
    is_last: bool = False


@value
class Adopted:
    """A copy has nothing alive of departed writers any more, in the store too.

    Attributes:
        entity_id: Whose copy.
        delta: The change; None if there was nothing to take over.
    """

    entity_id: str
    delta: Change | None


@value
class AdoptionFailed:
    """It is not known whether this node has taken over what was to be."""

    entity_id: str
    why: str


@value
class Kept:
    """Writers are forgotten: durably, and in all copies from now on."""

    retired: Retired


@value
class KeepFailed:
    """It is not known whether it was made durable that writers are forgotten. Nothing is."""

    why: str


Input = (
    Ticked
    | MembersChanged
    | Changed
    | Unsure
    | Flush
    | Received
    | GapSuspected
    | Joined
    | JoinRefused
    | JoinFailed
    | StateRead
    | Digested
    | Loaded
    | Traced
    | Adopted
    | AdoptionFailed
    | Kept
    | KeepFailed
)
