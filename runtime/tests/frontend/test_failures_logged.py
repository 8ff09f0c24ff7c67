"""What is logged of failed requests when there are very many of them."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from cloudstate_core.errors import UserFunctionError
from cloudstate_core.testing.clock import ManualClock
from cloudstate_runtime.frontend.calls import Calls


class Host:
    """All that refusals need of one."""

    def __init__(self) -> None:
        self.clock = ManualClock()


def refuse(calls: Calls, times: int) -> list[Any]:
    """Refuse requests for one reason, and return what is logged of it."""
    error = UserFunctionError("the user function is away", detail="connection refused")
    with capture_logs() as logs:
        for _ in range(times):
            assert calls.refusal(error, "Cart", "Add").message == "the user function is away"
    return logs


async def test_of_many_requests_that_fail_some_are_logged_and_the_others_counted() -> None:
    host: Any = Host()
    calls = Calls(host)

    first = refuse(calls, 10_000)
    assert [each["event"] for each in first] == ["request_failed"] * 100
    assert first[0]["detail"] == "connection refused"
    await host.clock.advance(1.0)
    second = refuse(calls, 10_000)
    assert [each["event"] for each in second] == [
        "failed_requests_not_logged",
        *["request_failed"] * 10,
    ]
    assert second[0]["count"] == 9_900


async def test_errors_that_clients_are_given_an_id_of_are_all_logged() -> None:
    host: Any = Host()
    calls = Calls(host)
    with capture_logs() as logs:
        for _ in range(1_000):
            calls.refusal(KeyError("x"), "Cart", "Add")

    assert len({each["error_id"] for each in logs}) == 1_000
