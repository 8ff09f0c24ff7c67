"""What `docs/replicated_entities.md` shows is what files say that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from excerpts import Excerpt, excerpts, missing_piece

from cloudstate import crdt_entity
from cloudstate.crdt_entity import Crdt, WriteConsistency

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/replicated_entities.md").read_text(encoding="utf-8")
EXCERPTS = excerpts(PAGE)


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=range(len(EXCERPTS)))
def test_an_excerpt_is_what_the_file_says(excerpt: Excerpt) -> None:
    assert missing_piece(excerpt.text, (ROOT / excerpt.file).read_text(encoding="utf-8")) is None


def test_all_code_on_the_page_is_tested() -> None:
    assert PAGE.count("```") == 2 * len(EXCERPTS)
    assert all("tests" in Path(each.file).parts for each in EXCERPTS)


def test_the_table_has_every_type_with_methods_that_it_has() -> None:
    rows = dict(re.findall(r"^\| `(\w*[a-z]\w*)` \| (.*?) \|", PAGE, re.MULTILINE))
    types = {name: getattr(crdt_entity, name) for name in crdt_entity.__all__}
    crdts = {
        name: type_
        for name, type_ in types.items()
        if isinstance(type_, type) and issubclass(type_, Crdt) and type_ is not Crdt
    }

    assert rows.keys() == crdts.keys()
    for name, type_ in crdts.items():
        made = type_("") if name == "LWWRegister" else type_()
        for method in re.findall(r"`(\w+)(?:\(.*?\))?`", rows[name]):
            assert hasattr(made, method) or method in {"set", "in", "len", "for", "dict", "del"}


def test_the_table_has_every_consistency() -> None:
    listed = re.findall(r"^\| `([A-Z]+)`", PAGE, re.MULTILINE)

    assert listed == [each.name for each in WriteConsistency]


def test_the_public_names_are_all_there() -> None:
    assert crdt_entity.__all__ == sorted(crdt_entity.__all__)
    for name in crdt_entity.__all__:
        assert getattr(crdt_entity, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'NoSuch'"):
        crdt_entity.NoSuch  # noqa: B018  # that it fails is what is asked
