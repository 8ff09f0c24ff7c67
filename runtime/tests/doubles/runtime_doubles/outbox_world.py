"""An outbox, those who write to it and a delivery machine, one small step after another.

What happens next is chosen at random among all that can happen; whatever breaks a promise is found
where it happens, or by `settle`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from google.protobuf.any_pb2 import Any

from cloudstate_core.durable.messages import Lane, Message
from cloudstate_core.store import EntityKey
from cloudstate_runtime.durable.machine import (
    Acknowledge,
    Acknowledged,
    Announced,
    Attempted,
    Deliver,
    DeliveryMachine,
    Input,
    Numbered,
    Opening,
    Park,
    Parked,
    Read,
    ReadOutbox,
    Rest,
    Rested,
    Revoked,
    ServicesChanged,
    Stored,
    Unparked,
    Verdict,
)

SENDERS, RECEIVERS = 3, 2


@dataclass
class Commit:
    """One commit of a sender, on its way."""

    sender: str
    messages: list[Message]
    is_stored: bool = False


@dataclass
class Outbox:
    """What is on disk.

    Attributes:
        waiting: Messages by number, parked ones as well.
        parked: Which of them are parked.
        was_parked: Which ever were: they have lost their place.
        noted: Which had their effect, as their receivers know until they are acknowledged.
        effects: Which had an effect, in the order of the effects.
    """

    waiting: dict[int, Message] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)
    was_parked: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    effects: list[str] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    def store(self, messages: list[Message]) -> None:
        for message in messages:
            self.sent.append(message)
            self.waiting[len(self.sent)] = message

    def forget(self, message_ids: list[str]) -> None:
        self.waiting = {n: m for n, m in self.waiting.items() if m.id not in message_ids}
        self.noted -= set(message_ids)
        self.parked -= set(message_ids)

    def page(self, after: int, limit: int) -> list[Numbered]:
        found = [
            Numbered(number, message)
            for number, message in sorted(self.waiting.items())
            if number > after and message.id not in self.parked
        ]
        return found[:limit]


class World:
    """Everything together.

    Args:
        random: Chooses.
        machine: Makes the machine under test, also after a crash.
    """

    def __init__(self, random: Random, machine: type[DeliveryMachine] = DeliveryMachine) -> None:
        self.random = random
        self.outbox = Outbox()
        self.commits: list[Commit] = []
        self.crashes = 0
        self._machine_class = machine
        self._ids = 0
        self._start()

    def _start(self) -> None:
        self.machine = self._machine_class(
            max_attempts=3,
            max_at_once=self.random.choice([1, 2, 5]),
            max_held=self.random.choice([1, 2, 4, 8]),
            page_messages=self.random.choice([1, 2, 8]),
        )
        self.attempts: list[Message] = []
        self.acknowledging: list[Acknowledge] = []
        self.parking: list[Park] = []
        self.rests: list[Rest] = []
        self.reading: ReadOutbox | None = None
        self.page: tuple[list[Numbered], bool] | None = None
        self.feed(Opening())

    def feed(self, input_: Input) -> None:
        for instruction in self.machine.receive(input_):
            match instruction:
                case Deliver(message):
                    self._check_delivery(message)
                    self.attempts.append(message)
                case Acknowledge():
                    assert not self.acknowledging, "two acknowledgements at a time"
                    self.acknowledging.append(instruction)
                case Park():
                    self.parking.append(instruction)
                case Rest():
                    self.rests.append(instruction)
                case ReadOutbox():
                    assert self.reading is None, "two reads at a time"
                    self.reading, self.page = instruction, None

    def _check_delivery(self, message: Message) -> None:
        waiting = list(self.outbox.waiting.values())
        assert message in waiting, f"{message.id} is delivered after it was acknowledged"
        assert message not in self.attempts, f"{message.id} is on its way twice"
        assert message.id not in self.outbox.parked, f"{message.id} is delivered while parked"
        for other in waiting[: waiting.index(message)]:
            if other.lane == message.lane and other.id not in self.outbox.was_parked:
                assert other.id in self.outbox.noted, f"{message.id} overtakes {other.id}"

    # --- Steps ----------------------------------------------------------------------------------

    def steps(self) -> list[str]:
        """What can happen now."""
        possible = ["announce", "announce", "services"]
        possible += ["store", "tell", "fail"] if self.commits else []
        possible += ["attempt"] * 3 if self.attempts else []
        possible += ["acknowledge"] * 2 if self.acknowledging else []
        possible += ["park"] if self.parking else []
        possible += ["rest"] if self.rests else []
        possible += ["read"] * 2 if self.reading is not None else []
        possible += ["unpark"] if self.outbox.parked else []
        return possible

    def step(self, name: str) -> None:
        """Let something happen."""
        getattr(self, f"_{name}")()

    def run(self, steps: int, *, crash_every: int = 0) -> None:
        """Let many things happen, and crash now and then."""
        for number in range(1, steps + 1):
            self.step(self.random.choice(self.steps()))
            if crash_every and number % crash_every == 0:
                self.crash()

    def settle(self) -> None:
        """Send nothing more, and let everything come to its end; check that it does."""
        for _ in range(20_000):
            left = [s for s in self.steps() if s not in ("announce", "fail", "services")]
            left = [s for s in left if s != "unpark"]
            if not left:
                break
            self.step(self.random.choice(left))
        unparked = [m.id for m in self.outbox.waiting.values() if m.id not in self.outbox.parked]
        assert unparked == [], f"nobody delivers {unparked}"
        assert self.machine.held == 0
        effects = self.outbox.effects
        assert len(effects) == len(set(effects)), "an effect happened twice"
        self._check_order()

    def _check_order(self) -> None:
        place = {message_id: n for n, message_id in enumerate(self.outbox.effects)}
        lanes: dict[Lane, list[str]] = {}
        for message in self.outbox.sent:
            if message.id in place and message.id not in self.outbox.was_parked:
                lanes.setdefault(message.lane, []).append(message.id)
        for sent in lanes.values():
            assert sent == sorted(sent, key=place.__getitem__), f"out of order: {sent}"

    def crash(self) -> None:
        """Lose everything but what is on disk; commits may have come that far or not."""
        self.crashes += 1
        for commit in self.commits:
            if not commit.is_stored and self.random.random() < 0.5:
                self.outbox.store(commit.messages)
        self.commits.clear()
        self._start()

    def _announce(self) -> None:
        busy = {commit.sender for commit in self.commits}
        free = [f"s{n}" for n in range(SENDERS) if f"s{n}" not in busy]
        if not free:
            return
        sender = self.random.choice(free)
        messages = [self._message(sender) for _ in range(self.random.choice([1, 1, 1, 2, 3]))]
        self.commits.append(Commit(sender, messages))
        self.feed(Announced([message.id for message in messages]))

    def _message(self, sender: str) -> Message:
        self._ids += 1
        receiver = f"r{self.random.randrange(RECEIVERS)}"
        lane = Lane(EntityKey("senders", sender), "Service", receiver)
        return Message(f"m{self._ids}", lane, "Service/Do", Any(), {})

    def _store(self) -> None:
        new = [commit for commit in self.commits if not commit.is_stored]
        if new:
            commit = self.random.choice(new)
            self.outbox.store(commit.messages)
            commit.is_stored = True

    def _tell(self) -> None:
        stored = [commit for commit in self.commits if commit.is_stored]
        if stored:
            commit = self.random.choice(stored)
            self.commits.remove(commit)
            self.feed(Stored(commit.messages))

    def _fail(self) -> None:
        commit = self.commits.pop(self.random.randrange(len(self.commits)))
        ids = [message.id for message in commit.messages]
        is_known = not commit.is_stored and self.random.random() < 0.5
        self.feed(Revoked(ids, may_be_stored=not is_known))

    def _attempt(self) -> None:
        message = self.attempts.pop(self.random.randrange(len(self.attempts)))
        verdict = self.random.choices(
            [Verdict.DONE, Verdict.FAILED, Verdict.NOT_NOW, Verdict.REFUSED], [8, 2, 1, 1]
        )[0]
        # An attempt that failed may have had its effect, and a crash may come before it is told.
        has_effect = verdict == Verdict.DONE or (
            verdict == Verdict.FAILED and self.random.random() < 0.5
        )
        if has_effect and message.id not in self.outbox.noted:
            self.outbox.noted.add(message.id)
            self.outbox.effects.append(message.id)
        if self.random.random() < 0.02:
            self.crash()
            return
        self.feed(Attempted(message, verdict, "why"))

    def _acknowledge(self) -> None:
        done = self.acknowledging.pop()
        self.outbox.forget(list(done.message_ids))
        self.feed(Acknowledged(done.message_ids))

    def _park(self) -> None:
        park = self.parking.pop(self.random.randrange(len(self.parking)))
        self.outbox.parked.add(park.message.id)
        self.outbox.was_parked.add(park.message.id)
        if self.random.random() < 0.3:
            self._unpark()  # somebody was quicker than the answer of the store
        self.feed(Parked(park.message))

    def _unpark(self) -> None:
        self.outbox.parked.discard(self.random.choice(sorted(self.outbox.parked)))
        self.feed(Unparked())

    def _rest(self) -> None:
        rest = self.rests.pop(self.random.randrange(len(self.rests)))
        self.feed(Rested(rest.lane, rest.rest))

    def _services(self) -> None:
        self.feed(ServicesChanged())

    def _read(self) -> None:
        assert self.reading is not None
        if self.page is None:
            found = self.outbox.page(self.reading.after, self.reading.limit)
            self.page = found, len(found) < self.reading.limit
            return
        (page, is_all), self.page, self.reading = self.page, None, None
        self.feed(Read(page, is_all))
