"""What `docs/testing_your_entities.md` shows is what tests say that pass."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from excerpts import Excerpt, excerpts, missing_piece

from cloudstate_core.testing import Handled

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/testing_your_entities.md").read_text(encoding="utf-8")
EXCERPTS = excerpts(PAGE)


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda each: Path(each.file).stem)
def test_an_excerpt_is_what_the_file_says(excerpt: Excerpt) -> None:
    assert missing_piece(excerpt.text, (ROOT / excerpt.file).read_text(encoding="utf-8")) is None


def test_all_code_on_the_page_is_from_a_test() -> None:
    assert PAGE.count("```") == 2 * len(EXCERPTS)
    assert {Path(each.file).name.partition("_")[0] for each in EXCERPTS} == {"test"}


def test_the_table_has_all_that_is_told_of_a_command() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))

    told = {each.name for each in fields(Handled) if not each.name.startswith("_")}
    assert listed == told | {"state"}
