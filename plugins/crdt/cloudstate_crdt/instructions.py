"""What goes into a `CrdtMachine`, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.any_pb2 import Any

from cloudstate.crdt_pb2 import CrdtStateAction, CrdtStreamIn, CrdtStreamOut
from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate_core.metadata import EMPTY_METADATA, Metadata
from cloudstate_core.value import value
from cloudstate_crdt.replicas import Deleted
from cloudstate_crdt.translation.translation import Portion, View

__all__ = [
    "Answer",
    "Cancelled",
    "ClientLeft",
    "CommandArrived",
    "Commit",
    "Committed",
    "CopyChanged",
    "CopyNotRead",
    "CopyRead",
    "Crash",
    "Emit",
    "EndStream",
    "FoundDeleted",
    "Input",
    "Instruction",
    "MessageArrived",
    "NotCommitted",
    "Opening",
    "ReadCopy",
    "RefuseAll",
    "Report",
    "Send",
    "StreamLost",
    "TimedOut",
]


# --- Inputs --------------------------------------------------------------------------


@value
class Opening:
    """The entity is wanted in memory, and its copy was read; None if there is none."""

    view: View | Deleted | None


@value
class CommandArrived:
    """A client's command.

    Attributes:
        command_id: Counts from 1 within one stream.
        name: Of the command.
        payload: Its message.
        metadata: Its headers.
        streamed: Whether the client takes a stream.
    """

    command_id: int
    name: str
    payload: Any
    metadata: Metadata = EMPTY_METADATA
    streamed: bool = False


@value
class ClientLeft:
    """The client of a streamed command takes nothing any more, or never will."""

    command_id: int


@value
class MessageArrived:
    """The user function's next message."""

    message: CrdtStreamOut


@value
class StreamLost:
    """The user function's end of the stream is gone."""

    reason: str
    detail: str


@value
class TimedOut:
    """A command, or its cancellation, was not answered in time."""

    command_id: int


@value
class Committed:
    """What an operation changes is stored."""

    operation: int


@value
class NotCommitted:
    """What an operation changes is not stored, or nobody knows.

    Attributes:
        operation: Which.
        has_changed: Whether it would have changed the state.
    """

    operation: int
    has_changed: bool


@value
class FoundDeleted:
    """An operation could not be stored: the copy is a deleted one."""


@value
class CopyChanged:
    """The copy may be another than it was."""


@value
class CopyRead:
    """What the copy is now; None if there is none.

    A `Portion` has in it all places that can have changed since the last view or portion that the
    machine was given. It may be given only while `CrdtMachine.may_compare`.
    """

    view: View | Portion | Deleted | None


@value
class CopyNotRead:
    """The copy was not looked at, since an operation of the user function had begun meanwhile."""


Input = (
    Opening
    | CommandArrived
    | ClientLeft
    | MessageArrived
    | StreamLost
    | TimedOut
    | Committed
    | NotCommitted
    | FoundDeleted
    | CopyChanged
    | CopyNotRead
    | CopyRead
)


# --- Instructions --------------------------------------------------------------------


@value
class Send:
    """Send a message to the user function, after those before it."""

    message: CrdtStreamIn


@value
class Commit:
    """Store what an operation changes, after those before it; then release its answer.

    The result is `Committed`, `NotCommitted` or `FoundDeleted`. Only then is the client answered,
    and not before as many nodes have the change as the user function asks for.

    Attributes:
        operation: Which; unique within the entity's time in memory.
        command_id: The command, or the command of the stream that was cancelled.
        name: Of the command.
        change: What becomes of the state; nothing, if its `action` is not set.
        action: The answer, or the first element of a stream; may be unset.
        side_effects: What is to be called.
        ends: Whether nothing follows for the client.
        is_cancelled: Whether it answers a cancellation, so that there is no client.
    """

    operation: int
    command_id: int
    name: str
    change: CrdtStateAction
    action: ClientAction
    side_effects: Sequence[SideEffect]
    ends: bool
    is_cancelled: bool


@value
class Answer:
    """Answer a command that changes nothing."""

    command_id: int
    action: ClientAction


@value
class Emit:
    """Send the client of a stream another element, after those before it.

    Attributes:
        command_id: The command that began the stream.
        action: The element; may be unset.
        side_effects: What is to be called.
        ends: Whether it is the last one.
    """

    command_id: int
    action: ClientAction
    side_effects: Sequence[SideEffect]
    ends: bool


@value
class Cancelled:
    """The cancellation of a stream is answered."""

    command_id: int


@value
class ReadCopy:
    """Look at the copy when nobody works on it. The result is `CopyRead` or `CopyNotRead`."""


@value
class EndStream:
    """Say to the user function, after what was sent before, that nothing follows."""


@value
class RefuseAll:
    """The entity is deleted: refuse every command that is not answered, and end all streams."""


@value
class Report:
    """Tell the author of the user function."""

    text: str


@value
class Crash:
    """The entity cannot go on: fail whoever waits for it, and drop it from memory.

    Attributes:
        reason: In few words.
        detail: What the author of the user function needs to know.
    """

    reason: str
    detail: str


Instruction = (
    Send | Commit | Answer | Emit | Cancelled | ReadCopy | EndStream | RefuseAll | Report | Crash
)
