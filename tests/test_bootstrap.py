"""The steps of the bootstrap that can go wrong without anybody noticing."""

from __future__ import annotations

import sys
from pathlib import Path

import bootstrap
import pytest


def test_pip_is_asked_what_it_is_set_up_with_and_the_environment_wins() -> None:
    listed = """\
:env:.index-url='http://127.0.0.1:1/env'
global.index-url='http://127.0.0.1:1/global'
global.cert='/etc/ssl/it\\'s.pem'
install.no-deps='true'
user.index-url='http://127.0.0.1:1/not-a-section-that-install-reads'
"""

    assert bootstrap.pip_settings(listed) == {
        "index-url": "http://127.0.0.1:1/env",
        "cert": "/etc/ssl/it's.pem",
        "no-deps": "true",
    }


def test_a_folder_is_current_until_what_it_was_made_from_changes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("one")
    stamp = bootstrap.Stamp(tmp_path, [lock])
    assert not stamp.is_current()
    assert not stamp.can_be_mended()

    stamp.write()
    assert bootstrap.Stamp(tmp_path, [lock]).is_current()

    lock.write_text("two")
    changed = bootstrap.Stamp(tmp_path, [lock])
    assert not changed.is_current()
    assert changed.can_be_mended()


def test_an_environment_of_another_python_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.Stamp(tmp_path, []).write()

    monkeypatch.setattr(sys, "version", "3.99.0")

    assert not bootstrap.Stamp(tmp_path, []).can_be_mended()


def test_an_environment_that_was_moved_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.Stamp(tmp_path, []).write()

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "elsewhere")

    assert not bootstrap.Stamp(tmp_path, []).can_be_mended()


def test_a_python_without_venv_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    assert "apt-get install python3-venv" in (bootstrap.missing_requirement() or "")


def test_an_old_python_is_told_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))

    assert "expected Python 3.11 or newer" in (bootstrap.missing_requirement() or "")


def test_this_python_lacks_nothing() -> None:
    assert bootstrap.missing_requirement() is None
