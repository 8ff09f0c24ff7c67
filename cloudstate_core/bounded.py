"""Bounding the time of a coroutine that usually does not wait at all."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable
from typing import Any, Generic, TypeVar

from cloudstate_core.clock import Clock

__all__ = ["DEFAULT_SEND_TIMEOUT_S", "bounded", "each_bounded"]

T = TypeVar("T")

#: How long a user function may take no message that nothing is answered to, such as an event that
#: is replayed. Without a limit one that stands still would hold its entity for ever.
DEFAULT_SEND_TIMEOUT_S = 60.0


async def bounded(coroutine: Coroutine[Any, Any, T], clock: Clock, timeout_s: float) -> T:
    """Return what a coroutine returns; start a timer only if it has to wait for something.

    Setting a timer and taking it back costs as much as a whole plain handler, so the coroutine is
    first run up to the point where it waits, which a plain handler never reaches.

    Args:
        coroutine: A coroutine that was not begun.
        clock: The time.
        timeout_s: How long it may wait, in seconds.

    Raises:
        TimeoutError: It took longer, and was cancelled.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as returned:
        return returned.value  # type: ignore[no-any-return]  # it is what the coroutine returned
    async with clock.timeout(timeout_s):
        return await _Begun(coroutine, waits_for)


async def each_bounded(
    coroutines: Iterable[Coroutine[Any, Any, None]], clock: Clock, timeout_s: float
) -> None:
    """Run coroutines one after another, each as `bounded` does.

    Args:
        coroutines: Coroutines that were not begun; each is asked for when the one before it is
            through.
        clock: The time.
        timeout_s: How long each may wait, in seconds.

    Raises:
        TimeoutError: One took longer, and was cancelled. Those after it were not asked for.
    """
    for coroutine in coroutines:
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            continue
        async with clock.timeout(timeout_s):
            await _Begun(coroutine, waits_for)


class _Begun(Generic[T]):
    """The rest of a coroutine that has been run up to its first wait."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, Any, T]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    got = yield waits_for
                except BaseException as error:  # it is the coroutine's to handle
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(got)
            except StopIteration as returned:
                return returned.value  # type: ignore[no-any-return]  # as above
