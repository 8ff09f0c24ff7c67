"""Clients that wait: for the one answer to a command, or for the elements of a stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

from cloudstate.entity_pb2 import ClientAction
from cloudstate_core.handler import Outcome, Request
from cloudstate_crdt.entity_errors import EntityDeleted, SlowReader

__all__ = [
    "MAX_QUEUED_BYTES",
    "MAX_QUEUED_MESSAGES",
    "Call",
    "Element",
    "StreamedCall",
    "UnaryCall",
]

#: How much is kept for a client that does not take it, until its stream is ended.
MAX_QUEUED_MESSAGES = 1_000
MAX_QUEUED_BYTES = 4 * 2**20

_NOTHING = ClientAction()


class Call(ABC):
    """A command of a client, from the client's side.

    Attributes:
        request: The command.
        command_id: Its number on the entity's stream; 0 until it has one.
        streamed: Whether the client takes a stream.
        is_answered: Whether its user function has answered; what follows is the runtime's doing.
        is_committing: Whether that is being done.
        is_left: Whether the client of a stream takes nothing any more.
        has_ended: Whether nothing follows for the client.
    """

    streamed: bool
    command_id = 0
    is_answered = False
    is_committing = False
    is_left = False
    has_ended = False
    _when_settled: Sequence[Callable[[], None]] = ()

    def __init__(self, request: Request) -> None:
        """Begin to wait."""
        self.request = request

    @abstractmethod
    def answer(self, outcome: Outcome, *, ends: bool) -> None:
        """Let the client have the answer, or the first element; `ends` if nothing follows."""

    @abstractmethod
    def emit(self, outcome: Outcome, *, ends: bool) -> None:
        """Let the client have another element, after those before it."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Let the client have an error, after what it was given before. Nothing follows."""

    @abstractmethod
    def end(self) -> None:
        """Say that nothing follows, and nothing is wrong."""

    def refuse(self) -> None:
        """Say that there is no such entity any more."""
        self.fail(EntityDeleted())

    def when_settled(self, settled: Callable[[], None]) -> None:
        """Call `settled` when it is decided what the client is answered."""
        self._when_settled = (*self._when_settled, settled)

    def _settle(self) -> None:
        waiting, self._when_settled = self._when_settled, ()
        for settled in waiting:
            settled()


class Element(NamedTuple):
    """One element of a stream.

    Attributes:
        outcome: The element.
        is_stored: Whether what it asks for is stored with what its command has changed.
    """

    outcome: Outcome
    is_stored: bool


class UnaryCall(Call):
    """A command with one answer."""

    streamed = False

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def outcome(self) -> Outcome:
        """Return the answer. Whoever stops waiting for it does not stop the command."""
        return await self._outcome

    def answer(self, outcome: Outcome, *, ends: bool) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)
        self._settle()

    def emit(self, outcome: Outcome, *, ends: bool) -> None:
        raise AssertionError("a command without a stream has one answer")

    def fail(self, error: Exception) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)
            self._outcome.exception()  # its client may have left
        self._settle()

    def end(self) -> None:
        self.answer(Outcome(_NOTHING), ends=True)


class StreamedCall(Call):
    """A command with a stream of answers, which wait here until the client takes them."""

    streamed = True

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._waiting: deque[Element] = deque()
        self._bytes = 0
        self._has_begun = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    async def elements(self) -> AsyncGenerator[Element, None]:
        """Yield what there is, in order, each when it is asked for.

        Raises:
            Exception: What the call has failed with.
        """
        while True:
            while self._has_begun and self._waiting:
                element = self._waiting.popleft()
                self._bytes -= _size(element.outcome)
                yield element
            if self._has_begun and self.has_ended:
                if self._error is not None:
                    raise self._error
                return
            self._news.clear()
            await self._news.wait()

    def answer(self, outcome: Outcome, *, ends: bool) -> None:
        # Elements may have come before, since the first one had to be stored.
        if not self._has_begun:
            self._has_begun = True
            if _says_something(outcome):
                self._waiting.appendleft(Element(outcome, is_stored=True))
                self._bytes += _size(outcome)
        if ends:
            self.end()
        self._news.set()
        self._settle()

    def emit(self, outcome: Outcome, *, ends: bool) -> None:
        if self.has_ended:
            return
        if _says_something(outcome):
            self._waiting.append(Element(outcome, is_stored=False))
            self._bytes += _size(outcome)
        if len(self._waiting) > MAX_QUEUED_MESSAGES or self._bytes > MAX_QUEUED_BYTES:
            # Not one of them may be lost without a word.
            self._waiting.clear()
            self._bytes = 0
            self.fail(SlowReader("the client takes what it is sent more slowly than it is made"))
            return
        if ends:
            self.end()
        self._news.set()

    def fail(self, error: Exception) -> None:
        if not self.has_ended:
            self._error = error
        if not self._has_begun:
            # Without the first one, the others make no sense.
            self._waiting.clear()
            self._bytes = 0
        self._has_begun = True
        self.end()
        self._settle()

    def end(self) -> None:
        self.has_ended = True
        self._news.set()


def _says_something(outcome: Outcome) -> bool:
    return bool(outcome.side_effects) or outcome.action.WhichOneof("action") is not None


def _size(outcome: Outcome) -> int:
    effects = sum(effect.ByteSize() for effect in outcome.side_effects)
    return outcome.action.ByteSize() + effects
