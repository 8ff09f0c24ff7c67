"""All cases, in the order in which they run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from pkgutil import iter_modules

import cloudstate_tck.cases
from cloudstate_tck.case import Case, Phase

__all__ = ["FUNCTION_PHASES", "HOSTILE_PHASES", "PROXY_PHASES", "all_cases", "select"]

#: What can be run with a user function alone.
FUNCTION_PHASES = frozenset({Phase.DISCOVERY, Phase.MODEL})

#: What needs a proxy with a user function behind it.
PROXY_PHASES = frozenset({Phase.DISCOVERY, Phase.PROXY, Phase.REFLECTION, Phase.EVENTING})

#: What needs a proxy with the hostile user function behind it.
HOSTILE_PHASES = frozenset({Phase.HOSTILE})


def all_cases() -> tuple[Case, ...]:
    """Return what every module of `cloudstate_tck.cases` lists as `CASES`, in running order."""
    names = [module.name for module in iter_modules(cloudstate_tck.cases.__path__)]
    modules = [import_module(f"cloudstate_tck.cases.{name}") for name in names]
    return in_order(case for module in modules for case in module.CASES)


def in_order(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Sort by phase, then kind, then number.

    Raises:
        ValueError: If two cases have one id.
    """
    ordered = sorted(cases, key=lambda case: (case.phase, case.kind, _natural(case.id)))
    seen: set[str] = set()
    for case in ordered:
        if case.id in seen:
            raise ValueError(f"two cases have the id {case.id!r}")
        seen.add(case.id)
    return tuple(ordered)


def select(
    cases: Iterable[Case],
    *,
    phases: Collection[Phase],
    kinds: Collection[str] = (),
    only: Sequence[str] = (),
) -> tuple[Case, ...]:
    """Choose cases.

    Args:
        cases: Where to choose from; the order is kept.
        phases: What is examined.
        kinds: Kinds of entities; empty for all. Discovery and reflection always stay.
        only: Patterns such as `E*` or `*snapshot*` for id or title, whatever the case; empty for
            all.
    """
    wanted = {*kinds, "discovery", "reflection"} if kinds else None
    return tuple(
        case
        for case in cases
        if case.phase in phases and (wanted is None or case.kind in wanted) and _matches(case, only)
    )


def _matches(case: Case, patterns: Sequence[str]) -> bool:
    names = (case.id.lower(), case.title.lower())
    return not patterns or any(
        fnmatchcase(name, pattern.lower()) for name in names for pattern in patterns
    )


def _natural(case_id: str) -> tuple[str, int, str]:
    """Split an id so that E10 follows E9."""
    found = re.fullmatch(r"(\D*)(\d*)(.*)", case_id)
    assert found is not None
    letters, number, rest = found.groups()
    return letters, int(number or 0), rest
