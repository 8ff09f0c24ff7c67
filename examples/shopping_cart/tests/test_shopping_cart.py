from __future__ import annotations

import pytest
from google.protobuf.empty_pb2 import Empty
from shoppingcart import domain_pb2 as domain
from shoppingcart.shopping_cart_entity import CartState, entity
from shoppingcart.shoppingcart_pb2 import (
    AddLineItem,
    Cart,
    GetShoppingCart,
    LineItem,
    RemoveLineItem,
)

from cloudstate_core.testing import AsyncEntityKit, EntityKit

SOCKS = LineItem(product_id="socks", name="Socks", quantity=2)


@pytest.fixture
def kit() -> EntityKit:
    return EntityKit(entity)


def add_socks(quantity: int = 2, user: str = "joe") -> AddLineItem:
    return AddLineItem(user_id=user, product_id="socks", name="Socks", quantity=quantity)


def test_a_new_cart_is_empty(kit: EntityKit) -> None:
    assert kit.handle("GetCart", GetShoppingCart(user_id="joe")).reply == Cart()


def test_an_added_product_is_an_event_and_in_the_cart(kit: EntityKit) -> None:
    handled = kit.handle("AddItem", add_socks())

    assert handled.reply == Empty()
    assert handled.events == (
        domain.ItemAdded(item=domain.LineItem(productId="socks", name="Socks", quantity=2)),
    )
    assert handled.state == CartState({"socks": SOCKS})


def test_a_quantity_below_one_is_refused_and_changes_nothing(kit: EntityKit) -> None:
    handled = kit.handle("AddItem", add_socks(quantity=0))

    assert handled.failure is not None
    assert handled.failure.description == "quantity of 'socks' must be more than 0, not 0"
    assert handled.events == ()


def test_the_same_product_is_counted_together(kit: EntityKit) -> None:
    kit.handle("AddItem", add_socks())

    assert kit.handle("AddItem", add_socks(3)).state.items["socks"].quantity == 5


def test_a_removed_product_is_gone_and_cannot_be_removed_again(kit: EntityKit) -> None:
    kit.handle("AddItem", add_socks())
    remove = RemoveLineItem(user_id="joe", product_id="socks")

    assert kit.handle("RemoveItem", remove).state == CartState()
    again = kit.handle("RemoveItem", remove)

    assert again.failure is not None
    assert again.failure.description == "product 'socks' is not in the cart"


def test_the_carts_of_two_users_are_two(kit: EntityKit) -> None:
    kit.handle("AddItem", add_socks(user="joe"))

    assert kit.state("ann") == CartState()


def test_a_cart_survives_a_crash(kit: EntityKit) -> None:
    kit.handle("AddItem", add_socks())

    kit.crash()

    assert kit.handle("GetCart", GetShoppingCart(user_id="joe")).reply == Cart(items=[SOCKS])


def test_a_cart_is_the_same_from_its_snapshot(kit: EntityKit) -> None:
    for _ in range(101):  # with a snapshot at the hundredth event
        kit.handle("AddItem", add_socks(quantity=1))

    kit.crash()

    assert kit.state("joe").items["socks"].quantity == 101


def test_a_cart_that_nobody_looks_at_leaves_memory(kit: EntityKit) -> None:
    kit.handle("AddItem", add_socks())
    assert kit.is_live("joe")

    kit.clock.advance(30)

    assert not kit.is_live("joe")
    assert kit.state("joe") == CartState({"socks": SOCKS})


async def test_in_an_asynchronous_test_the_same_is_awaited() -> None:
    kit = AsyncEntityKit(entity)

    await kit.handle("AddItem", add_socks())
    await kit.crash()

    assert await kit.state("joe") == CartState({"socks": SOCKS})
