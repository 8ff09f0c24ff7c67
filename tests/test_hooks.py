"""A hook exists only with a documentation heading and a user in this repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudstate_core import hookspecs
from cloudstate_core.plugins import load_plugins

REPOSITORY = Path(__file__).resolve().parents[1]
HOOKS = [name for name in vars(hookspecs) if name.startswith("cloudstate_register_")]


def headings() -> list[str]:
    text = (REPOSITORY / "docs" / "plugins.md").read_text()
    return re.findall(r"^## (cloudstate_register_\w+)$", text, re.MULTILINE)


def test_every_hook_has_a_heading_and_every_heading_a_hook() -> None:
    assert headings() == list(dict.fromkeys(headings()))
    assert sorted(headings()) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_user_in_this_repository(hook: str) -> None:
    axis = hook.removeprefix("cloudstate_register_").removesuffix("s")

    added = [entry for info in load_plugins().installed for entry in info.registers]

    assert any(entry.startswith(f"{axis} ") for entry in added), added


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_what_it_returns(hook: str) -> None:
    assert "Returns:" in (getattr(hookspecs, hook).__doc__ or "")
