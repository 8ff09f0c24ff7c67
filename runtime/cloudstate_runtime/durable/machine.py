"""Which message is delivered when, with no I/O.

Give `receive` an input, carry out the instructions it returns, and report what came of them as
further inputs.

* Messages wait in lanes; of each lane one message is on its way at a time, in the order in which
  they were committed. Lanes do not wait for each other.
* A message is *held* from when it comes to memory until the store knows that it is done or parked.
  What is held, or about to be stored, is never taken from the outbox a second time.
* Memory holds so many messages at most. When more are stored, those are left in the outbox, and so
  is everything that comes after them, until memory has room and they are read from there: what was
  stored first comes first.
* A lane rests after a failed attempt. A message that is parked is out of its lane, which goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from cloudstate_core.durable.messages import Lane, Message
from cloudstate_core.value import value

__all__ = [
    "Acknowledge",
    "Acknowledged",
    "Announced",
    "Attempted",
    "Closing",
    "Deliver",
    "DeliveryMachine",
    "Input",
    "Instruction",
    "Numbered",
    "Opening",
    "Park",
    "Parked",
    "Read",
    "ReadOutbox",
    "Rest",
    "Rested",
    "Revoked",
    "ServicesChanged",
    "Stored",
    "Unparked",
    "Verdict",
]


class Verdict:
    """What came of an attempt, in words.

    Looking up a member of an enum would cost as much as the rest of a transition (Python 3.11).
    """

    #: It had its effect, now or before.
    DONE: Final = "done"
    #: It was not the message's turn; the attempt does not count.
    NOT_NOW: Final = "not now"
    FAILED: Final = "failed"
    #: It will not do better another time.
    REFUSED: Final = "refused"


@value
class Numbered:
    """A message of the outbox, with its number there."""

    number: int
    message: Message


@value
class Opening:
    """The outbox may hold messages of an earlier run."""


@value
class Announced:
    """Messages are about to be stored."""

    message_ids: Sequence[str]


@value
class Stored:
    """Messages that were announced are stored."""

    messages: Sequence[Message]


@value
class Revoked:
    """Messages that were announced were not stored; or, if they may be, nobody knows."""

    message_ids: Sequence[str]
    may_be_stored: bool


@value
class Read:
    """What the outbox holds after the number that was asked for; `is_all` if nothing follows."""

    page: Sequence[Numbered]
    is_all: bool


@value
class Attempted:
    """An attempt to deliver has come to its end."""

    message: Message
    verdict: str
    reason: str = ""


@value
class Rested:
    """A rest is over."""

    lane: Lane
    rest: int


@value
class ServicesChanged:
    """What is served has changed: who waited for a service may try again."""


@value
class Acknowledged:
    """The store has forgotten messages."""

    message_ids: Sequence[str]


@value
class Parked:
    """The store keeps a message as parked."""

    message: Message


@value
class Unparked:
    """Somebody let parked messages wait in the outbox again."""


@value
class Closing:
    """Nothing new is to be begun."""


Input = (
    Opening
    | Announced
    | Stored
    | Revoked
    | Read
    | Attempted
    | Rested
    | ServicesChanged
    | Acknowledged
    | Parked
    | Unparked
    | Closing
)


@value
class ReadOutbox:
    """Read the outbox after a number. The result is `Read`."""

    after: int
    limit: int


@value
class Deliver:
    """Try to deliver a message. The result is `Attempted`."""

    message: Message


@value
class Rest:
    """Wait, the longer the more rests a lane has had in a row. The result is `Rested`."""

    lane: Lane
    rest: int
    rests_in_a_row: int


@value
class Acknowledge:
    """Tell the store that messages are done. The result is `Acknowledged`."""

    message_ids: Sequence[str]


@value
class Park:
    """Let the store park a message. The result is `Parked`."""

    message: Message
    reason: str


Instruction = ReadOutbox | Deliver | Rest | Acknowledge | Park


class _Queue:
    """A lane with something in it: the first message is on its way, rests, or is being parked."""

    __slots__ = ("attempts", "messages", "rest", "rests_in_a_row", "waits_for_service")

    def __init__(self, message: Message) -> None:
        self.messages = deque([message])
        self.attempts = 0
        self.rest = 0
        self.rests_in_a_row = 0
        self.waits_for_service = False


class DeliveryMachine:
    """All lanes of one node."""

    def __init__(
        self, *, max_attempts: int, max_at_once: int, max_held: int, page_messages: int
    ) -> None:
        """Start with nothing held.

        Args:
            max_attempts: After so many attempts that failed a message is parked.
            max_at_once: How many messages may be on their way at once.
            max_held: How many messages memory holds, about.
            page_messages: How many are read from the outbox at once.
        """
        self._max_attempts = max_attempts
        self._max_at_once = max_at_once
        self._max_held = max_held
        self._page_messages = page_messages
        self._queues: dict[Lane, _Queue] = {}
        self._ready: deque[Lane] = deque()
        self._on_their_way = 0
        self._rests = 0
        self._is_closing = False
        # Names: of messages about to be stored, with whether the outbox was seen to hold them
        # already; of those that are held; of those to acknowledge; of those being parked.
        self._announced: dict[str, bool] = {}
        self._held: set[str] = set()
        self._done: list[str] = []
        self._is_acknowledging = False
        self._being_parked: set[str] = set()
        self._was_unparked_meanwhile = False
        # Whether the outbox may hold messages that are not held, and from where on.
        self._is_behind = False
        self._read_after = 0
        self._is_reading = False
        self._left_out_while_reading = False
        self._starts_over = False
        self._let_go_while_reading: set[str] = set()

    @property
    def held(self) -> int:
        """How many messages memory holds."""
        return len(self._held)

    def receive(self, input_: Input) -> list[Instruction]:
        """Take one input and return what must be done now."""
        instructions: list[Instruction] = []
        match input_:
            case Announced(message_ids):
                for message_id in message_ids:
                    self._announced[message_id] = False
            case Stored(messages):
                self._store(messages)
            case Attempted():
                self._settle(input_, instructions)
            case Acknowledged(message_ids):
                self._is_acknowledging = False
                self._let_go(message_ids)
            case Rested(lane, rest):
                self._wake(lane, rest)
            case Read(page, is_all):
                self._take_page(page, is_all=is_all)
            case Revoked(message_ids, may_be_stored):
                self._revoke(message_ids, may_be_stored=may_be_stored)
            case Parked(message):
                self._drop_parked(message)
            case Opening():
                self._read_from_start()
            case Unparked():
                self._was_unparked_meanwhile = bool(self._being_parked)
                self._read_from_start()
            case ServicesChanged():
                self._wake_those_without_service()
            case Closing():
                self._is_closing = True
        self._go_on(instructions)
        return instructions

    def _go_on(self, instructions: list[Instruction]) -> None:
        """Begin what can be begun now."""
        if self._done and not self._is_acknowledging:
            self._is_acknowledging = True
            instructions.append(Acknowledge(self._done))
            self._done = []
        if self._is_closing:
            return
        while self._ready and self._on_their_way < self._max_at_once:
            self._on_their_way += 1
            instructions.append(Deliver(self._queues[self._ready.popleft()].messages[0]))
        room = self._max_held - len(self._held)
        if self._is_behind and not self._is_reading and room * 2 >= self._max_held:
            self._is_reading = True
            self._left_out_while_reading = False
            instructions.append(ReadOutbox(self._read_after, min(room, self._page_messages)))

    # --- What comes to memory -------------------------------------------------------------------

    def _store(self, messages: Sequence[Message]) -> None:
        for message in messages:
            was_passed_by = self._announced.pop(message.id)
            has_room = not self._is_behind and len(self._held) < self._max_held
            if was_passed_by or has_room:
                self._hold(message)
                continue
            # It comes after those which are left in the outbox, and has to be read from there.
            if not self._is_behind:
                self._read_from_start()
            self._left_out_while_reading = True

    def _hold(self, message: Message) -> None:
        self._held.add(message.id)
        queue = self._queues.get(message.lane)
        if queue is not None:
            queue.messages.append(message)
            return
        self._queues[message.lane] = _Queue(message)
        self._ready.append(message.lane)

    def _revoke(self, message_ids: Sequence[str], *, may_be_stored: bool) -> None:
        for message_id in message_ids:
            self._announced.pop(message_id, None)
        if may_be_stored:
            self._read_from_start()

    def _read_from_start(self) -> None:
        self._is_behind = True
        if self._is_reading:
            self._starts_over = True
        self._read_after = 0

    def _take_page(self, page: Sequence[Numbered], *, is_all: bool) -> None:
        self._is_reading = False
        if self._starts_over:
            # What comes before this page has to be taken first.
            self._starts_over = False
            self._let_go_while_reading.clear()
            return
        for numbered in page:
            message = numbered.message
            if message.id in self._announced:
                self._announced[message.id] = True
            elif message.id not in self._held and message.id not in self._let_go_while_reading:
                self._hold(message)
        self._let_go_while_reading.clear()
        if page:
            self._read_after = page[-1].number
        self._is_behind = self._left_out_while_reading or not is_all

    # --- What leaves memory ---------------------------------------------------------------------

    def _let_go(self, message_ids: Sequence[str]) -> None:
        self._held.difference_update(message_ids)
        if self._is_reading:
            self._let_go_while_reading.update(message_ids)

    def _drop_parked(self, message: Message) -> None:
        self._advance(message.lane, self._queues[message.lane])
        self._being_parked.discard(message.id)
        self._let_go((message.id,))
        if self._was_unparked_meanwhile:
            # Perhaps it was this one, and it was passed by because it was still held.
            self._was_unparked_meanwhile = bool(self._being_parked)
            self._read_from_start()

    # --- Lanes ----------------------------------------------------------------------------------

    def _settle(self, attempted: Attempted, instructions: list[Instruction]) -> None:
        self._on_their_way -= 1
        message = attempted.message
        queue = self._queues[message.lane]
        if attempted.verdict == Verdict.DONE:
            self._done.append(message.id)
            self._advance(message.lane, queue)
            return
        if attempted.verdict == Verdict.FAILED:
            queue.attempts += 1
        if attempted.verdict == Verdict.REFUSED or queue.attempts >= self._max_attempts:
            # What comes after it waits until this is stored: should the process end before, the
            # message comes once more, and still before the others.
            self._being_parked.add(message.id)
            instructions.append(Park(message, attempted.reason))
            return
        self._rests += 1
        queue.rest = self._rests
        queue.rests_in_a_row += 1
        queue.waits_for_service = attempted.verdict == Verdict.NOT_NOW
        instructions.append(Rest(message.lane, queue.rest, queue.rests_in_a_row))

    def _advance(self, lane: Lane, queue: _Queue) -> None:
        queue.messages.popleft()
        queue.attempts = queue.rests_in_a_row = 0
        if queue.messages:
            self._ready.append(lane)
        else:
            del self._queues[lane]

    def _wake(self, lane: Lane, rest: int) -> None:
        queue = self._queues.get(lane)
        if queue is not None and queue.rest == rest:
            queue.rest = 0
            self._ready.append(lane)

    def _wake_those_without_service(self) -> None:
        for lane, queue in self._queues.items():
            if queue.rest and queue.waits_for_service:
                queue.rest = 0
                self._ready.append(lane)
