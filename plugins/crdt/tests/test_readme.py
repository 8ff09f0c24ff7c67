"""What the README shows is what files say that are tested; its second example is here."""

from __future__ import annotations

from pathlib import Path

from excerpts import excerpts, missing_piece

from cloudstate_core.anys import encode
from cloudstate_crdt import GCounter, ORMap, Replica, standard_types

HERE = Path(__file__).parent
README = (HERE.parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_files_as_they_are() -> None:
    program, example = excerpts(README)

    assert program.text == (HERE.parent / program.file).read_text(encoding="utf-8")
    file = (HERE.parent / example.file).read_text(encoding="utf-8")
    assert missing_piece(example.text, file) is None
    assert README.count("```") == 4


def test_the_types_underneath_are_of_use_by_themselves() -> None:
    types = standard_types()
    berlin = Replica("berlin", 1)
    cart, same_cart = ORMap.bottom(types), ORMap.bottom(types)

    delta = cart.update(berlin, encode("socks"), GCounter, lambda count, me: count.increment(me, 2))
    same_cart.join(delta)

    removed = same_cart.remove(encode("socks"))
    added = cart.update(berlin, encode("socks"), GCounter, lambda count, me: count.increment(me, 1))
    cart.join(removed)
    same_cart.join(added)
    assert cart == same_cart
    assert cart.get(encode("socks")).value == 1
