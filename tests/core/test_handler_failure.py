"""What a handler may raise, and what of it passes."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from cloudstate_core.handler_failure import failure_of
from cloudstate_core.host.event_loop import run_in_fastest_loop
from cloudstate_core.host.stop_signals import stop_signals


class OfTheApplication(BaseException):
    pass


def test_an_exception_is_left_as_it_is() -> None:
    error = KeyError("a")

    assert failure_of(error) is error


@pytest.mark.parametrize("error", [SystemExit(3), OfTheApplication("x")], ids=repr)
def test_what_would_end_the_process_becomes_an_error_that_names_it(error: BaseException) -> None:
    failure = failure_of(error)

    assert type(failure) is RuntimeError
    assert str(failure) == f"raised {error!r}, which ends the command and not the process"
    assert failure.__cause__ is error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=repr)
def test_what_ends_a_command_from_outside_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        failure_of(error)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is what it is at a terminal, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_passes_where_python_raises_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        failure_of(KeyboardInterrupt())
    assert in_a_loop(interrupted) is None  # the second Ctrl-C in `asyncio.run`


def test_a_keyboard_interrupt_is_the_handlers_own_where_the_loop_hears_of_ctrl_c() -> None:
    async def while_serving() -> str | None:
        with stop_signals():
            return await interrupted()

    assert in_a_loop(while_serving) == OWN
    assert in_a_thread(interrupted) == OWN


OWN = "raised KeyboardInterrupt(), which ends the command and not the process"


async def interrupted() -> str | None:
    """Return as what an interrupt is told; None if it passes."""
    try:
        return str(failure_of(KeyboardInterrupt()))
    except KeyboardInterrupt:
        return None


def in_a_loop(what: Callable[[], object]) -> object:
    found: list[object] = []

    async def run() -> None:
        found.append(await what())  # type: ignore[misc]

    run_in_fastest_loop(run())
    return found[0]


def in_a_thread(what: Callable[[], object]) -> object:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(in_a_loop(what)))
    thread.start()
    thread.join()
    return found[0]
