"""Running a case, and saying what came of it."""

from __future__ import annotations

import time

from cloudstate_tck.case import Case, Result, Verdict
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch

__all__ = ["run_case"]


async def run_case(case: Case, examination: Examination) -> Result:
    """Run one case. Never raises for what is examined."""
    missing = sorted(case.needs - examination.services)
    if missing:
        reason = f"the user function does not announce {', '.join(missing)}"
        return Result(case, Verdict.PENDING, reason=reason)
    started_s = time.perf_counter()
    try:
        await _examine(case, examination)
    except Mismatch as mismatch:
        reason, expected, found = mismatch.what, mismatch.expected, mismatch.found
    except Exception as error:
        # The other cases are still worth running.
        reason, expected, found = "the case", "an end", f"{type(error).__name__}: {error}"
    else:
        return Result(case, Verdict.PASSED, time.perf_counter() - started_s)
    duration_s = time.perf_counter() - started_s
    recorder = examination.recorder
    transcript = () if recorder is None else recorder.transcript()
    return Result(case, Verdict.FAILED, duration_s, reason, expected, found, transcript)


async def _examine(case: Case, examination: Examination) -> None:
    recorder = examination.recorder
    if recorder is not None:
        recorder.forget()
    await case.run(examination)
    if recorder is not None:
        await recorder.expect_quiet(examination.conditions.quiet_s)
