"""One question and one answer at a time on an entity's stream, within the time that is given.

What every engine does that asks its user function and waits: a limit on how long an answer may
take, and the last words of a user function that ends the stream instead of answering.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from google.protobuf.message import Message

from cloudstate_core.clock import Clock
from cloudstate_core.errors import DeadlineExceeded, UserFunctionError, UserFunctionUnavailable
from cloudstate_core.links import EntityStream

__all__ = ["LAST_WORDS_TIMEOUT_S", "Exchange"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

#: How long the reason for which a stream has ended may be on its way, in seconds.
LAST_WORDS_TIMEOUT_S = 1.0


class Exchange(Generic[In, Out]):
    """The runtime's end of one stream, for an engine that is asked for one thing at a time."""

    def __init__(
        self, stream: EntityStream[In, Out], clock: Clock, answer_timeout_s: float
    ) -> None:
        """Talk on a stream.

        Args:
            stream: Which.
            clock: The time.
            answer_timeout_s: How long one answer may take, in seconds.
        """
        self._stream = stream
        self._clock = clock
        self._answer_timeout_s = answer_timeout_s

    async def tell(self, message: In) -> Out | None:
        """Send a message that is not answered.

        Returns:
            None; or the user function's last words, if it has ended the stream.

        Raises:
            UserFunctionUnavailable: The stream is over, and nothing was said about it.
        """
        try:
            await self._stream.send(message)
        except UserFunctionUnavailable as gone:
            return await self._last_words(gone)
        return None

    async def ask(self, message: In) -> Out:
        """Send a message and return the answer, or last words in its place.

        Raises:
            DeadlineExceeded: There was no answer in time. The stream must not be used further.
            UserFunctionUnavailable: The stream is over, and nothing was said about it.
        """
        try:
            return await self._stream.ask(message, self._answer_timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the user function did not answer within {self._answer_timeout_s:g} s"
            ) from None
        except UserFunctionUnavailable as gone:
            return await self._last_words(gone)

    def unasked(self) -> UserFunctionError | None:
        """Return what came without having been asked; see `EntityStream.unasked`."""
        return self._stream.unasked()

    async def aclose(self) -> None:
        """End the stream."""
        await self._stream.aclose()

    async def _last_words(self, gone: UserFunctionUnavailable) -> Out:
        """Return why the user function has ended the stream, if it said so; raise `gone` if not."""
        try:
            async with self._clock.timeout(LAST_WORDS_TIMEOUT_S):
                return await self._stream.receive()
        except TimeoutError:
            raise gone from None
