from __future__ import annotations

from cloudstate_core.store import EntityKey, RememberedReply
from cloudstate_core.stores.copies import Reply
from cloudstate_core.stores.replies import Replies


def key(n: int = 0) -> EntityKey:
    return EntityKey("things", f"{n}")


def reply(name: str, *, keep_s: float = 10, keep_count: int = 1000) -> Reply:
    return Reply(name.encode(), b"digest", b"reply", keep_s, keep_count)


def test_replies_of_entities_that_never_come_back_are_forgotten() -> None:
    replies = Replies()
    for n in range(1000):
        replies.add(key(n), reply("c"), float(n))

    assert len(replies) == 10
    assert replies.find(key(999), "c", 999.0) == RememberedReply(b"digest", b"reply")
    assert replies.find(key(980), "c", 999.0) is None


def test_the_order_by_age_does_not_grow_with_replies_that_are_gone() -> None:
    replies = Replies()
    for n in range(10_000):
        replies.add(key(), reply(f"{n}", keep_s=1e6, keep_count=5), 0.0)
        replies.add(key(1), reply("the same"), 0.0)

    assert len(replies) == 6
    assert len(replies._by_age) <= 65


def test_a_forgotten_entity_is_not_counted() -> None:
    replies = Replies()
    replies.add(key(), reply("a"), 0.0)
    replies.add(key(), reply("b"), 0.0)
    replies.forget(key())
    replies.forget(key())

    assert len(replies) == 0
    assert replies.find(key(), "a", 0.0) is None
