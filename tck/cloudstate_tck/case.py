"""What a case is, and what came of running it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudstate_tck.examination import Examination

__all__ = ["Case", "Phase", "Result", "Verdict"]


class Phase(IntEnum):
    """When a case runs, which also says what it examines.

    A user function is examined before the proxy in front of it, so that the first failure named
    is the cause and not its consequence.
    """

    DISCOVERY = 1  #: either side, as far as it is there
    MODEL = 2  #: the user function alone
    PROXY = 3  #: the proxy, with a user function behind it
    REFLECTION = 4  #: the proxy
    EVENTING = 5  #: the proxy, with a user function behind it
    HOSTILE = 6  #: the proxy, with a user function that breaks the protocol behind it


@dataclass(frozen=True, slots=True)
class Case:
    """One thing the protocol demands, and how to find out whether it is done.

    Attributes:
        id: Short and unique, such as `E5`.
        title: What holds if it passes, such as "several events are applied in order".
        kind: `discovery`, `reflection`, or the kind of entity: `eventsourced`, `kv`, `crdt`,
            `action`.
        phase: When it runs and what it examines.
        needs: Full names of the services that the user function must announce; without them the
            case is pending.
        run: Examines; raises `Mismatch` if the demand is not met.
    """

    id: str
    title: str
    kind: str
    phase: Phase
    needs: frozenset[str]
    run: Callable[[Examination], Awaitable[None]]


class Verdict(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Result:
    """A case that was run.

    Attributes:
        case: Which.
        verdict: What came of it.
        duration_s: How long it took, in seconds.
        reason: Why it failed or is pending; empty if it passed.
        expected: What should have been there; empty if the reason says it all.
        found: What was there.
        transcript: What went over the connections to the user function, if it failed and a
            recorder was there.
    """

    case: Case
    verdict: Verdict
    duration_s: float = 0.0
    reason: str = ""
    expected: str = ""
    found: str = ""
    transcript: tuple[str, ...] = ()
