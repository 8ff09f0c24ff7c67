"""P5, P17: sixteen clients that send again, a server that is killed every three seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from post_chaos import HERE, Judged, Sent, judge, send_through_kills

KILLS = 20
EVERY_S = 3.0
CLIENTS = 16


@pytest.mark.timeout(300)
async def test_every_letter_is_stored_and_received_once_and_in_order(tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).parent / "cloudstate"),
        "run",
        "post_office:sender",
        "post_office:receiver",
        "--port=0",
        f"--data={tmp_path}",
    ]

    sent = await send_through_kills(command, kills=KILLS, every_s=EVERY_S, clients=CLIENTS, seed=17)
    judged = await judge(sent, tmp_path)

    _print(sent, judged)
    assert judged.is_clean(), judged
    assert sent.hung_up > CLIENTS
    assert sum(len(replies) > 1 for replies in sent.acknowledged.values()) > CLIENTS
    assert judged.stored > KILLS * CLIENTS


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("forgets-what-came", "doubled"),
        ("posts-later", "lost"),
        ("forgets-answers", "doubled"),
    ],
)
async def test_what_is_broken_on_purpose_is_found(tmp_path: Path, how: str, found: str) -> None:
    command = [sys.executable, str(HERE / "broken_post_office.py"), how, str(tmp_path)]

    sent = await send_through_kills(command, kills=4, every_s=1.0, clients=CLIENTS, seed=5)
    judged = await judge(sent, tmp_path)

    assert getattr(judged, found), judged


def _print(sent: Sent, judged: Judged) -> None:
    print(
        f"PROMISE P17 kills={sent.kills} clients={CLIENTS} stored={judged.stored} "
        f"acknowledged={len(sent.acknowledged)} hung_up={sent.hung_up} refused={sent.refused} "
        f"lost={len(judged.lost)} doubled={len(judged.doubled)} "
        f"out_of_order={len(judged.out_of_order)} changed={len(judged.changed)} "
        f"waiting={judged.waiting} target=0 {'ok' if judged.is_clean() else 'FAIL'}"
    )
