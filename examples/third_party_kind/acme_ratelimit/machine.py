"""Rules of one rate limited entity in the runtime, with no I/O.

Give `receive` an input, carry out the instructions it returns, and report what came of them as
further inputs. A misbehaving user function does not raise; it yields `Crash`.

Everything that decides how full a bucket is, what is stored and what is answered is in this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum

from google.protobuf.any_pb2 import Any

from acme_ratelimit.ratelimit_pb2 import Bucket, FromFunction, Init, Reply, Terms, ToFunction
from cloudstate.entity_pb2 import ClientAction, SideEffect
from cloudstate_core.anys import type_name
from cloudstate_core.value import value

__all__ = [
    "Answer",
    "Answered",
    "Ask",
    "CommandArrived",
    "Crash",
    "Input",
    "Instruction",
    "Load",
    "Loaded",
    "MessageArrived",
    "Moment",
    "Opening",
    "RateLimitMachine",
    "State",
]


@value
class Moment:
    """A time, on two clocks.

    Attributes:
        monotonic_s: On the one that never jumps, but begins anew with every process.
        unix_time_s: On the one that goes on while no process runs, but can be set.
    """

    monotonic_s: float
    unix_time_s: float


@value
class Opening:
    """The entity is wanted in memory."""


@value
class Loaded:
    """What the store has; None if it has no bucket."""

    revision: int
    bucket: Bucket | None
    now: Moment


@value
class CommandArrived:
    """A client's command."""

    name: str
    payload: Any
    now: Moment


@value
class MessageArrived:
    """The user function's next message."""

    message: FromFunction


@value
class Answered:
    """What the command changed is durable."""


Input = Opening | Loaded | CommandArrived | MessageArrived | Answered


@value
class Load:
    """Read the bucket. The result is `Loaded`."""


@value
class Ask:
    """Send a message and wait for the next one. The result is `MessageArrived`."""

    message: ToFunction


@value
class Answer:
    """Store what the command changed, and answer it then. The result is `Answered`.

    Attributes:
        action: The answer.
        side_effects: What else is to be called.
        revision: Of the bucket in the store.
        bucket: Replaces it; None if it stays as it is.
    """

    action: ClientAction
    side_effects: Sequence[SideEffect]
    revision: int
    bucket: Bucket | None = None


@value
class Crash:
    """The user function broke the protocol.

    Attributes:
        reason: What a client may see.
        detail: What the author of the user function needs to know.
    """

    reason: str
    detail: str


Instruction = Load | Ask | Answer | Crash


class State(Enum):
    """Where an activation is."""

    NEW = "new"
    LOADING = "loading the bucket"
    AGREEING = "awaiting the terms"
    IDLE = "idle"
    AWAITING_REPLY = "awaiting a reply"
    ANSWERING = "answering"
    ENDED = "ended"


class RateLimitMachine:
    """One activation of one entity; at most one command is outstanding."""

    def __init__(
        self, service_name: str, entity_id: str, output_type_urls: Mapping[str, str]
    ) -> None:
        """Start with nothing loaded.

        Args:
            service_name: The service.
            entity_id: Which entity.
            output_type_urls: For each command, the type its reply must have.
        """
        self.state = State.NEW
        self._service_name = service_name
        self._entity_id = entity_id
        self._output_type_urls = output_type_urls
        self._terms = Terms()
        self.revision = 0
        # How many tokens there were at some time, on the monotonic clock. A bucket that nobody took
        # from is full, whatever its size turns out to be.
        self._level = math.inf
        self._level_at_s = 0.0
        self._command_id = 0
        self._command_name = ""
        self._now = Moment(0.0, 0.0)
        self._reply = Reply()

    def receive(self, input_: Input) -> Sequence[Instruction]:
        """Take one input and return what must be done now."""
        match self.state, input_:
            case State.NEW, Opening():
                self.state = State.LOADING
                return (Load(),)
            case State.LOADING, Loaded():
                return self._begin(input_)
            case State.AGREEING, MessageArrived(message):
                return self._receive_terms(message)
            case State.IDLE, CommandArrived(name, payload, now):
                return self._send(name, payload, now)
            case State.AWAITING_REPLY, MessageArrived(message):
                return self._receive_reply(message)
            case State.ANSWERING, Answered():
                self.state = State.IDLE
                self.revision += 1 if self._reply.taken else 0
                return ()
            case _:
                return self._crash(
                    "Unexpected entity behavior",
                    f"{type(input_).__name__} while {self.state.value}",
                )

    def _begin(self, loaded: Loaded) -> Sequence[Instruction]:
        self.state, self.revision = State.AGREEING, loaded.revision
        if loaded.bucket is not None:
            # A clock that was set back must not take tokens away, so no age is negative. One that
            # was set forward fills the bucket too early, but never beyond its capacity.
            age_s = max(loaded.now.unix_time_s - loaded.bucket.unix_time_s, 0.0)
            self._level = loaded.bucket.level
            self._level_at_s = loaded.now.monotonic_s - age_s
        init = Init(service_name=self._service_name, entity_id=self._entity_id)
        return (Ask(ToFunction(init=init)),)

    def _refill(self, now_s: float) -> None:
        filled = self._level + (now_s - self._level_at_s) * self._terms.refill_per_s
        self._level, self._level_at_s = min(filled, float(self._terms.capacity)), now_s

    def _receive_terms(self, message: FromFunction) -> Sequence[Instruction]:
        if message.WhichOneof("message") != "terms":
            return self._crash_of(message, "expected terms")
        terms = message.terms
        if terms.capacity < 1 or not 0 <= terms.refill_per_s < math.inf:
            return self._crash("Unexpected entity terms", f"cannot work with {terms}")
        self.state, self._terms = State.IDLE, terms
        return ()

    def _send(self, name: str, payload: Any, now: Moment) -> Sequence[Instruction]:
        self._refill(now.monotonic_s)
        self.state = State.AWAITING_REPLY
        # Ids count from 1 within one stream.
        self._command_id += 1
        self._command_name, self._now = name, now
        message = ToFunction()
        message.command.available = int(self._level)
        command = message.command.command
        command.entity_id = self._entity_id
        command.id = self._command_id
        command.name = name
        command.payload.CopyFrom(payload)
        return (Ask(message),)

    def _receive_reply(self, message: FromFunction) -> Sequence[Instruction]:
        if message.WhichOneof("message") != "reply":
            return self._crash_of(message, "expected a reply")
        reply = message.reply
        fault = self._fault_of(reply)
        if fault:
            return self._crash("Unexpected entity reply", fault)
        # The bucket is stored before the client is answered: who was told that a token was taken
        # must not find it again after a crash.
        self.state, self._reply, bucket = State.ANSWERING, reply, None
        if reply.taken:
            self._level -= reply.taken
            bucket = Bucket(level=self._level, unix_time_s=self._now.unix_time_s)
        return (Answer(reply.client_action, reply.side_effects, self.revision, bucket),)

    def _fault_of(self, reply: Reply) -> str:
        if reply.command_id != self._command_id:
            return f"expected a reply to command {self._command_id}, found {reply.command_id}"
        action, available = reply.client_action, int(self._level)
        if action.HasField("failure") and reply.taken:
            return f"expected a failure to cost nothing, found {reply.taken}"
        if reply.taken > available:
            return f"expected at most {available} tokens to be taken, found {reply.taken}"
        expected = self._output_type_urls.get(self._command_name, "")
        found = action.reply.payload.type_url
        if action.HasField("reply") and type_name(found) != type_name(expected):
            return f"expected a reply of type {expected!r}, found {found!r}"
        return ""

    def _crash_of(self, message: FromFunction, expected: str) -> Sequence[Instruction]:
        match message.WhichOneof("message"):
            case "failure":
                return self._crash("Unexpected entity failure", message.failure.description)
            case found:
                return self._crash(
                    "Unexpected entity message", f"{expected}, found {found or 'nothing'}"
                )

    def _crash(self, reason: str, detail: str) -> Sequence[Instruction]:
        self.state = State.ENDED
        return (Crash(reason, f"entity {self._entity_id!r}: {detail}"),)
