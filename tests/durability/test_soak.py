"""P6: a cluster to which something happens all the time; `make soak` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak import soak
from test_three_nodes import FORGETFUL


@pytest.mark.timeout(180)
async def test_a_cluster_keeps_its_promises_whatever_happens_to_it(tmp_path: Path) -> None:
    assert await soak(0.3, seed=4, folder=tmp_path)


@pytest.mark.timeout(180)
async def test_a_cluster_that_repairs_nothing_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not await soak(0.1, seed=4, folder=tmp_path, program=FORGETFUL, within_s=2.0)
    assert "not the same everywhere within 2 s" in capsys.readouterr().out
