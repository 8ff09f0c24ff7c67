"""P1b: what a server acknowledged survives SIGKILL, and nothing is doubled or skipped."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest
from kill_loop import EXAMPLE, cloudstate_run, judge, kill_again_and_again

KILLS = 40
CLIENTS = 8


@pytest.fixture(autouse=True)
def _example_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_over_forty_kills(tmp_path: Path) -> None:
    command = cloudstate_run(tmp_path / "data")

    acknowledged = await kill_again_and_again(
        command, kills=KILLS, clients=CLIENTS, random=Random(40)
    )
    verdict = await judge(acknowledged, tmp_path / "data")

    starts_s = sorted(acknowledged.starts_s)
    print(
        f"PROMISE P1b kills={KILLS} acknowledged={verdict.acknowledged} stored={verdict.stored} "
        f"acked_lost={len(verdict.lost)} doubled={len(verdict.doubled)} gaps={len(verdict.gaps)} "
        f"start_p50_s={starts_s[len(starts_s) // 2]:.2f} start_max_s={starts_s[-1]:.2f} "
        f"target=0 {'ok' if verdict.is_clean() else 'FAIL'}"
    )
    assert verdict.acknowledged > KILLS * CLIENTS
    assert verdict.is_clean(), verdict


@pytest.mark.timeout(120)
async def test_the_kill_loop_finds_a_server_that_answers_before_it_stores(tmp_path: Path) -> None:
    lossy = Path(__file__).with_name("lossy_server.py")
    command = [sys.executable, str(lossy), str(tmp_path / "data")]

    acknowledged = await kill_again_and_again(command, kills=4, clients=CLIENTS, random=Random(4))
    verdict = await judge(acknowledged, tmp_path / "data")

    assert verdict.lost
