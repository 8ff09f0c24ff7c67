"""All histories of three replicas and four operations end as a causal oracle says."""

from __future__ import annotations

import pytest
from small_scope import SCOPES, Scope

#: Four operations on three replicas can see each other in this many ways.
SHAPES = 156


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name)
@pytest.mark.timeout(300)
def test_every_history_ends_as_the_oracle_says(scope: Scope) -> None:
    count, found = scope.differences()

    print(f"PROMISE {scope.name}: {count} histories of 4 operations, {len(found)} differ")
    assert found[:3] == []
    assert count == SHAPES * len(scope.operations) ** 4
