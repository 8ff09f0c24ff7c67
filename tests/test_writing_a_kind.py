"""What `docs/writing_a_kind.md` shows is what the example's files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from excerpts import Excerpt, excerpts, missing_piece

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/writing_a_kind.md"
EXAMPLE = ROOT / "examples/third_party_kind"

EXCERPTS = excerpts(PAGE.read_text())


@pytest.mark.parametrize(
    "excerpt", [each for each in EXCERPTS if each.file], ids=lambda each: each.file
)
def test_an_excerpt_is_what_the_file_says(excerpt: Excerpt) -> None:
    assert missing_piece(excerpt.text, (EXAMPLE / excerpt.file).read_text()) is None


def test_all_code_on_the_page_is_from_a_file_and_only_commands_are_not() -> None:
    assert {each.language for each in EXCERPTS if not each.file} == {"sh"}
    assert PAGE.read_text().count("```") == 2 * len(EXCERPTS)


def test_every_file_of_the_kind_is_on_the_page() -> None:
    package = EXAMPLE / "acme_ratelimit"
    files = {path.name for path in package.iterdir() if path.suffix in {".py", ".proto"}}
    written = {name for name in files if "_pb2" not in name and name != "__init__.py"}

    shown = {Path(each.file).name for each in EXCERPTS if "acme_ratelimit" in each.file}
    assert shown == written
    assert len(written) == 8
    table = PAGE.read_text()
    assert all(f"| `{name}` |" in table for name in written)


def test_the_commands_on_the_page_exist() -> None:
    from cloudstate_core.plugins import load_plugins

    named = {
        word
        for each in EXCERPTS
        if each.language == "sh"
        for word in re.findall(r"cloudstate (\w+)", each.text)
    }

    assert named == {"plugins", "protos", "proxy", "run", "serve"}
    assert named <= set(load_plugins().commands)


FILE = "class A:\n    x = 1\n\n    def f(self):\n        return 1\n\n    y = 2\n"


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        "x = 1\n",
        "    def f(self):\n        return 1\n",
        "class A:\n    x = 1\n# ...\n    y = 2\n",
    ],
)
def test_a_true_excerpt_is_recognised(text: str) -> None:
    assert missing_piece(text, FILE) is None


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("x = 2\n", "x = 2\n"),
        ("def f(self):\n    return 1\n\ny = 3\n", "def f(self):\n    return 1\n\ny = 3\n"),
        ("    y = 2\n# ...\n    x = 1\n", "\n    x = 1\n"),
        ("def f(self):\n        return 1\n", "def f(self):\n        return 1\n"),
        ("class A:\n    def f(self):\n", "class A:\n    def f(self):\n"),
    ],
    ids=["another value", "another end", "another order", "another indent", "left out unsaid"],
)
def test_an_excerpt_that_is_not_true_is_found(text: str, missing: str) -> None:
    assert missing_piece(text, FILE) == missing
