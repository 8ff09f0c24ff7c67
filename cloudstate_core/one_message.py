"""One message where a stream of them is expected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

__all__ = ["OneMessage"]

T = TypeVar("T")


class OneMessage(AsyncIterator[T], Generic[T]):
    """Yields one message. Unlike a generator it need not be closed."""

    __slots__ = ("_left",)

    def __init__(self, message: T) -> None:
        """Keep the message until it is asked for."""
        self._left = [message]

    async def __anext__(self) -> T:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()
