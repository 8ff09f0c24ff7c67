"""The service of the README and of the page on replicated entities, without a socket."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing

import pytest
from likes.entity import entity
from likes.likes_pb2 import Article, Mark, Total

from cloudstate_core.testing import AsyncEntityKit, EntityKit


def mark(reader: str) -> Mark:
    return Mark(article="a", reader=reader)


def test_a_reader_counts_once() -> None:
    kit = EntityKit(entity)
    kit.handle("Like", mark("ann"))
    kit.handle("Like", mark("joe"))

    handled = kit.handle("Like", mark("ann"))

    assert handled.reply == Total(likes=2)
    assert handled.state == {"ann", "joe"}


def test_a_like_without_a_reader_is_refused() -> None:
    handled = EntityKit(entity).handle("Like", mark(""))

    assert handled.failure is not None
    assert handled.failure.description == "a like needs a reader"


def test_what_was_liked_is_there_after_a_crash() -> None:
    kit = EntityKit(entity)
    kit.handle("Like", mark("ann"))
    kit.handle("Like", mark("joe"))
    kit.handle("Unlike", mark("ann"))
    assert kit.state("a") == {"joe"}
    kit.crash()

    assert kit.state("a") == {"joe"}
    assert kit.handle("Unlike", mark("ann")).reply == Total(likes=1)
    assert kit.state("a") == {"joe"}


def test_what_was_told_of_a_state_stays_what_it_was() -> None:
    kit = EntityKit(entity)
    first = kit.handle("Like", mark("ann"))
    kit.handle("Like", mark("joe"))

    assert first.entity_id == "a"
    assert first.state == {"ann"}
    assert kit.state("b") == set()


async def test_whoever_watches_is_told_of_every_change() -> None:
    async with (
        asyncio.timeout(10.0),
        AsyncEntityKit(entity) as kit,
        aclosing(kit.stream("Watch", Article(article="a"))) as totals,
    ):
        assert (await anext(totals)).reply == Total(likes=0)

        await kit.handle("Like", mark("ann"))
        await kit.handle("Like", mark("ann"))
        await kit.handle("Unlike", mark("ann"))

        assert (await anext(totals)).reply == Total(likes=1)
        assert (await anext(totals)).reply == Total(likes=0)


def test_a_kit_that_is_thrown_away_ends_what_it_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    EntityKit(entity).handle("Like", mark("ann"))
    gc.collect()

    assert caplog.messages == []
