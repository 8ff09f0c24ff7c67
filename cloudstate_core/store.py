"""The store contract: where the state of entities lives.

One contract for every kind. Whatever belongs to one command goes into one `Commit`, which is
written as a whole or not at all. A backend proves that it keeps the contract by passing
`cloudstate_core.testing.store_contract.StateStoreContract`.

Words:

* An `EntityKey` names one entity. It belongs to one of 1,024 *slices*, by a stable hash.
* A slice has one owner at a time, and the owner has an *epoch*. A commit under an older epoch than
  the slice's is refused, in the same transaction that would have written it.
* Events of one entity are numbered from 1 without gaps: their *sequence*.
* Events of one slice are numbered from 1 without gaps, in commit order: their *position*.
* A value has a *revision*: 0 before it was first written; every write, amendment and delete adds 1.
* An *amendment* is added to a value and read together with it, so that a small change of a large
  value is a small write. Putting or deleting the value ends its amendments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from pathlib import Path
from typing import ClassVar

from google.protobuf.any_pb2 import Any

from cloudstate_core.clock import Clock
from cloudstate_core.stored import (
    SLICES,
    EntityKey,
    LoggedEvent,
    OutboxMessage,
    ParkedMessage,
    RememberedReply,
    Snapshot,
    StoredEvent,
    StoredValue,
    slice_of,
)
from cloudstate_core.value import value

__all__ = [
    "KEEP_REPLIES",
    "KEEP_REPLIES_S",
    "MAX_AMENDMENTS",
    "MAX_ENTITY_ID_BYTES",
    "MAX_PAYLOAD_BYTES",
    "SLICES",
    "AmendValue",
    "AppendEvents",
    "Commit",
    "DeleteValue",
    "EnqueueMessage",
    "EntityKey",
    "LoggedEvent",
    "OutboxMessage",
    "ParkedMessage",
    "PutSnapshot",
    "PutValue",
    "Received",
    "RememberReply",
    "RememberedReply",
    "Snapshot",
    "StateStore",
    "StoreBackend",
    "StoredEvent",
    "StoredValue",
    "Write",
    "slice_of",
]

#: An entity id is at most this long, UTF-8 encoded. Ids are keys of indexes and parts of names
#: elsewhere; longer ones are refused at the door.
MAX_ENTITY_ID_BYTES = 512

#: Largest single payload, in bytes. The protocol's reference allows messages of 12 MB.
MAX_PAYLOAD_BYTES = 12 * 1024 * 1024

#: So many amendments one value takes: whoever reads it reads them all.
MAX_AMENDMENTS = 1_000

#: For how long the reply to a command is kept, in seconds, and how many replies of one entity,
#: unless their writer says otherwise: a caller that tries again does so within a day.
KEEP_REPLIES_S = 24 * 3600.0
KEEP_REPLIES = 10_000


@value
class AppendEvents:
    """Append events after the one numbered `expected_sequence` (0: the entity has none)."""

    expected_sequence: int
    events: Sequence[Any]
    metadata: Mapping[str, str] = field(default_factory=dict)


@value
class PutSnapshot:
    """Keep `state` as what the events up to and including `sequence` amount to.

    It replaces the snapshot that is kept, unless that one is of a larger sequence.
    """

    sequence: int
    state: Any


@value
class PutValue:
    """Replace the value whose revision is `expected_revision` (0: never written)."""

    expected_revision: int
    value: Any


@value
class AmendValue:
    """Add `amendment` to the value whose revision is `expected_revision`; the revision counts on.

    There has to be a value, and room for one of its `MAX_AMENDMENTS`.
    """

    expected_revision: int
    amendment: Any


@value
class DeleteValue:
    """Delete the value whose revision is `expected_revision`; the revision goes on counting."""

    expected_revision: int


@value
class EnqueueMessage:
    """Put a message into the outbox.

    Attributes:
        message_id: Unique among the messages that wait; a second one of the same id is refused
            with `ValueError`.
        destination: Whom it is for, in the words of whoever delivers it.
        payload: The message.
        metadata: Its headers.
    """

    message_id: str
    destination: str
    payload: Any
    metadata: Mapping[str, str] = field(default_factory=dict)


@value
class RememberReply:
    """Keep the reply to a command, so that the same command answers the same again.

    It replaces what was kept for the same command. Replies that are too old or too many are removed
    by later commits, so that they take no room for ever.

    Attributes:
        command_key: The caller's name for the command, unique per entity.
        digest: What tells two requests of the same key apart.
        reply: The reply's bytes.
        keep_s: For how long it is kept, in seconds, by the store's clock.
        keep_count: How many replies of the entity are kept at most, this one included: the newest.
    """

    command_key: str
    digest: bytes
    reply: bytes
    keep_s: float = KEEP_REPLIES_S
    keep_count: int = KEEP_REPLIES


@value
class Received:
    """Note that a message had its effect on this entity.

    A commit that notes a message which is noted already is refused as a whole: see
    `StateStore.commit`.
    """

    message_id: str


Write = (
    AppendEvents
    | PutSnapshot
    | PutValue
    | AmendValue
    | DeleteValue
    | EnqueueMessage
    | RememberReply
    | Received
)


@value
class Commit:
    """Everything one command changes.

    Attributes:
        key: The entity. Every write is about this entity.
        epoch: The epoch under which the writer owns the entity's slice.
        writes: At least one.
    """

    key: EntityKey
    epoch: int
    writes: tuple[Write, ...]


class StateStore(ABC):
    """Keeps the state of entities.

    Every method may be called by any number of tasks at once. Nothing that a method returns is
    shared with the store: changing it changes nothing that is stored.
    """

    @abstractmethod
    async def claim(self, slices: Sequence[int]) -> int:
        """Become the owner of slices and return the epoch to commit under.

        The epoch is larger than any that was claimed for any of these slices before, also by
        processes that have ended. From here on, commits under an older epoch are refused.

        Raises:
            StoreUnavailable: The outcome is unknown.
        """

    @abstractmethod
    async def commit(self, commit: Commit) -> None:
        """Write everything in `commit`, or nothing.

        When this returns, the writes survive a crash of the process, of the operating system and
        of the power supply, and every later read sees them. A caller that stops waiting (is
        cancelled) does not undo the commit.

        Commits about one entity are written in the order in which they were begun, that is, in
        which the coroutines of their `commit` first ran. So several may be begun without waiting
        in between, each expecting the sequence or the revision that the one before it leaves. If
        one of them is not written, those that build on it meet a `SequenceConflict` or a
        `RevisionConflict`, unless what failed it fails them too.

        Raises:
            StaleEpoch: Another process owns the entity now. Nothing was written.
            SequenceConflict: The entity's last event is not the expected one. Nothing was written.
            RevisionConflict: The value's revision is not the expected one, or there is no value to
                amend. Nothing was written.
            AlreadyReceived: A `Received` names a message that is noted already. Nothing was
                written.
            LimitExceeded: A payload is larger than `MAX_PAYLOAD_BYTES`, the value has
                `MAX_AMENDMENTS` already, or the disk is full. Nothing was written.
            StoreUnavailable: The outcome is unknown: read before trying again.
            ValueError: The commit itself makes no sense (no writes, no events, an empty or
                too long entity id, text that UTF-8 cannot encode, a negative sequence, a
                snapshot, a value or a name twice, a message id that waits already, a reply to be
                kept for no time). Nothing was written.
        """

    @abstractmethod
    async def snapshot(self, key: EntityKey) -> Snapshot | None:
        """Return the newest snapshot, or None.

        Raises:
            CorruptState: The stored bytes are not those that were written.
            StoreUnavailable: The store cannot be read now.
        """

    @abstractmethod
    async def events(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent]:
        """Return events of one entity in order of their sequence.

        Args:
            key: The entity.
            after: Return events with a larger sequence than this; 0 for all.
            limit: Return at most this many, at least 1. Fewer come back only at the end.

        Raises:
            CorruptState: The stored bytes are not those that were written, or one is missing.
            StoreUnavailable: The store cannot be read now.
            ValueError: `after` is negative or `limit` is less than 1.
        """

    @abstractmethod
    async def last_sequence(self, key: EntityKey) -> int:
        """Return the sequence of the entity's last event; 0 if it has none."""

    @abstractmethod
    async def value(self, key: EntityKey) -> StoredValue:
        """Return the value with its amendments; revision 0 and no value if never written.

        Raises:
            CorruptState: The stored bytes are not those that were written, or an amendment is
                missing.
            StoreUnavailable: The store cannot be read now.
        """

    @abstractmethod
    async def remembered_reply(self, key: EntityKey, command_key: str) -> RememberedReply | None:
        """Return what is remembered for a command of an entity, or None.

        None also if its time is over, or so many were remembered since that it is not kept.

        Raises:
            CorruptState: The stored bytes are not those that were written.
        """

    @abstractmethod
    async def log(
        self, slices: range, *, after: Mapping[int, int], limit: int
    ) -> list[LoggedEvent]:
        """Return events of all entities of some slices, in order of position within each slice.

        Args:
            slices: Which slices.
            after: For each slice, return larger positions than this; 0 for slices not named.
            limit: Return at most this many, at least 1.
        """

    @abstractmethod
    async def outbox(self, slices: range, *, after: int = 0, limit: int) -> list[OutboxMessage]:
        """Return the oldest messages that wait in the outbox of some slices.

        Parked messages do not wait.

        Args:
            slices: Which slices.
            after: Only messages with a larger number than this.
            limit: Return at most this many, at least 1.

        Returns:
            Messages in the order of their numbers.
        """

    @abstractmethod
    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        """Take messages out of the outbox for good, parked ones too. Unknown ids are ignored.

        In the same transaction every `Received` note of such an id is forgotten, on whatever
        entity, and those of ids that begin with one of these and a dot: nobody will bring the
        message again. So no more notes are kept than there are messages on their way.
        """

    @abstractmethod
    async def park(self, message_id: str, reason: str) -> bool:
        """Take a message out of those that wait, and keep it with the reason.

        The notes that it was received stay. A message that is parked already keeps its reason.

        Returns:
            Whether it waited.
        """

    @abstractmethod
    async def unpark(self, message_ids: Sequence[str]) -> list[str]:
        """Let parked messages wait in the outbox again, each under its old number.

        Returns:
            Which of them were parked.
        """

    @abstractmethod
    async def parked(self, *, after: int = 0, limit: int) -> list[ParkedMessage]:
        """Return the oldest parked messages, in the order of their numbers.

        Args:
            after: Only messages with a larger number than this.
            limit: Return at most this many, at least 1.
        """

    @abstractmethod
    async def offsets(self, consumer: str) -> dict[int, int]:
        """Return how far a consumer of the log has read: position by slice."""

    @abstractmethod
    async def save_offsets(self, consumer: str, offsets: Mapping[int, int]) -> None:
        """Keep how far a consumer has read, for the slices named."""

    @abstractmethod
    async def keys(
        self, persistence_id: str, *, prefix: str = "", after: str = "", limit: int
    ) -> list[EntityKey]:
        """List entities that have events, a snapshot or a value.

        Args:
            persistence_id: Whose entities.
            prefix: Only ids that start with this.
            after: Only ids that come later, compared as UTF-8 bytes; "" for all.
            limit: Return at most this many, at least 1.

        Returns:
            Keys in the order of their ids' UTF-8 bytes; the last id is the next `after`.
        """

    @abstractmethod
    async def delete(self, key: EntityKey, epoch: int) -> None:
        """Erase every trace of an entity, durably. No error if there is none.

        The messages that it has in the outbox, waiting or parked, are such a trace. Sequence and
        revision start anew.

        Positions of its events in the log stay used: readers see that they are gone, not others
        in their place.

        Raises:
            StaleEpoch: Another process owns the entity now. Nothing was deleted.
        """

    @abstractmethod
    async def check(self) -> None:
        """Return if the store can take commits now.

        Raises:
            StoreUnavailable: It cannot.
        """


class StoreBackend(ABC):
    """A way to keep state, as a plugin offers it.

    Attributes:
        name: One word, unique in the process: what the setting `store` says.
        settings_type: A frozen dataclass with a default for every field; its values come from the
            settings section of that name.
        durable: Whether state outlives the process.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type]
    durable: ClassVar[bool]

    @abstractmethod
    def open(
        self, settings: object, data_dir: Path, clock: Clock
    ) -> AbstractAsyncContextManager[StateStore]:
        """Open the store, and close it in the end.

        Args:
            settings: An instance of `settings_type`.
            data_dir: Where files go, if this backend writes files; made if missing.
            clock: The time, for what is written beside an event.

        Raises:
            StoreUnusable: From entering: not writable, in use by another process, or of a version
                that this release cannot read. Nothing was changed.
        """

    @abstractmethod
    def describe(self, settings: object, data_dir: Path) -> str:
        """Return what completes "state is kept …" in the line printed at start: "in FILE"."""
