"""The suites find what they are there to find: each of these bugs, planted, and nothing without."""

from __future__ import annotations

import kinds_of_values as kinds
import pytest
from hypothesis import Phase
from hypothesis.errors import Flaky
from planted_bugs import BUGS, Bug
from small_scope import DEEP_MAP, MAP, ORSET

#: How often to look for a bug, with other histories.
ROUNDS = 20


def finder(bug: Bug) -> str | None:
    """The name of the first law or family of histories that shows the bug."""
    for scope in bug.scopes:
        _, found = scope.differences(length=3)
        if found:
            return f"histories of {scope.name}"
    # Most bugs show at once, in one law or another; the rare ones are worth a longer look.
    return next(filter(None, (broken_law(bug, each) for each in range(ROUNDS))), None)


def broken_law(bug: Bug, round_: int) -> str | None:
    """The name of the first law that shows the bug, in a hundred histories of this round."""

    class Suite(kinds.Laws):
        __test__ = True
        type_ = bug.type_
        mutations = staticmethod(bug.mutations)
        examples = 100
        seed = round_
        phases = (Phase.generate,)

    suite = Suite()
    for law in bug.laws or sorted(name for name in dir(suite) if name.startswith("test_")):
        try:
            getattr(suite, law)()
        except Flaky:
            raise  # a bug that shows only once is none of those that were planted
        except Exception:
            return law
    return None


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)

    found_by = finder(bug)

    print(f"PROMISE planted bug, {bug.name}: found by {found_by}")
    assert found_by is not None


@pytest.mark.parametrize("scope", [ORSET, MAP, DEEP_MAP], ids=lambda scope: scope.name)
def test_nothing_is_found_where_nothing_is_planted(scope) -> None:
    assert scope.differences(length=3)[1] == []


def test_there_are_enough_bugs() -> None:
    assert len({bug.name for bug in BUGS}) >= 12
