"""What a kit shows of a replicated entity: what the next handler would see."""

from __future__ import annotations

import itertools
from contextlib import suppress

from one_crdt_stream import SERVICE, doing
from puppet.puppet_pb2 import Order, Word

from cloudstate.crdt_entity import CrdtCommandContext, GCounter, LWWRegister
from cloudstate_core.errors import StoreUnavailable
from cloudstate_core.store import EntityKey
from cloudstate_core.testing import EntityKit
from cloudstate_core.testing.faulty_store import FaultyStore

ORDER = Order(id="e")


def count(counter: GCounter, order: Order) -> Word:
    counter.increment()
    return Word(text=str(counter.value))


def test_an_entity_that_nobody_has_asked_begins_with_its_default() -> None:
    kit = EntityKit(doing(count))
    assert kit.state("e").value == 0

    register = EntityKit(doing(default=lambda entity_id: LWWRegister(f"of {entity_id}")))
    assert register.state("e").value == "of e"
    assert EntityKit(doing(default=None)).state("e") is None


def test_looking_stores_nothing() -> None:
    kit = EntityKit(doing(count))

    kit.state("e")

    assert kit.run(kit.store.value(EntityKey(SERVICE, "e"))).revision == 0


def test_what_was_stored_is_seen_after_a_crash_and_after_idle_time() -> None:
    kit = EntityKit(doing(count), passivation_timeout_s=30)
    kit.handle("Do", ORDER)
    kit.crash()
    assert kit.state("e").value == 1

    kit.clock.advance(31)
    assert kit.state("e").value == 1
    assert kit.handle("Do", ORDER).reply == Word(text="2")
    assert kit.state("e").value == 2


def test_a_change_of_a_handler_that_raises_is_not_seen() -> None:
    def do(counter: GCounter, order: Order) -> Word:
        counter.increment()
        if counter.value == 2:
            raise ValueError("two")
        return Word()

    kit = EntityKit(doing(do))
    kit.handle("Do", ORDER)
    assert kit.handle("Do", ORDER).failure is not None

    assert kit.state("e").value == 1


def test_what_was_deleted_stays_so_after_a_crash() -> None:
    def do(counter: GCounter, order: Order, ctx: CrdtCommandContext) -> Word:
        ctx.delete()
        return Word()

    kit = EntityKit(doing(do))
    kit.handle("Do", ORDER)
    assert kit.state("e") is None

    kit.crash()
    assert kit.state("e") is None


def test_a_store_that_cannot_be_read_is_an_error_and_can_be_read_later() -> None:
    kit = EntityKit(doing(count))
    kit.handle("Do", ORDER)
    for fail_at in itertools.count(1):
        store = FaultyStore(kit.store, fail_at=fail_at)
        after = EntityKit(doing(count), store=store)
        with suppress(StoreUnavailable):
            assert after.state("e").value == 1
            assert not store.has_failed
        assert after.state("e").value == 1
        if not store.has_failed:
            break
    assert fail_at > 2
