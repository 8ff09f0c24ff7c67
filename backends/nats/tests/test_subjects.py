from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudstate_nats.subjects import Subjects, token


@given(st.text(max_size=50), st.text(max_size=50))
def test_different_texts_are_different_tokens_without_a_meaning_in_subjects(one, other) -> None:
    assert (token(one) == token(other)) == (one == other)
    assert not set(token(one)) & set(" .*>\r\n\t\0")
    assert token(one).isascii()


def test_what_is_plain_stays_readable() -> None:
    subjects = Subjects("shop")

    assert subjects.to_all("members") == "shop.all.members"
    assert subjects.to_node("a.b", "deltas/carts") == "shop.to.a=2Eb.deltas=2Fcarts"
    assert subjects.inbox("a") == "shop.to.a.*"
