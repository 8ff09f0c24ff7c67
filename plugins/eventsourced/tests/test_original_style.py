"""An entity written for the original Python library registers, and works as it did."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from served import Serve
from shoppingcart.domain_pb2 import Cart as DomainCart
from shoppingcart.domain_pb2 import ItemAdded, ItemRemoved
from shoppingcart.domain_pb2 import LineItem as DomainLineItem
from shoppingcart.shoppingcart_pb2 import (
    _SHOPPINGCART,
    AddLineItem,
    Cart,
    GetShoppingCart,
    LineItem,
    RemoveLineItem,
)
from shoppingcart.shoppingcart_pb2 import DESCRIPTOR as FILE_DESCRIPTOR

from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from cloudstate_core.anys import decode
from cloudstate_core.store import EntityKey

CART = "com.example.shoppingcart.ShoppingCart"


@dataclass
class CartState:
    owner: str
    items: MutableMapping[str, LineItem] = field(default_factory=dict)


def new_cart(entity_id: str) -> CartState:
    return CartState(entity_id)


entity = EventSourcedEntity(_SHOPPINGCART, [FILE_DESCRIPTOR], new_cart)


# Handlers and other functions stand in any order; only handlers need annotations.
def stored(item):
    return DomainLineItem(productId=item.product_id, name=item.name, quantity=item.quantity)


@entity.snapshot()
def snapshot(state: CartState):
    cart = DomainCart()
    # It has always been so in the example of the original library, and it has always raised:
    # protobuf does not let a repeated field be assigned.
    cart.items = [stored(item) for item in state.items.values()]
    return cart


@entity.snapshot_handler()
def restore(state: CartState, cart: DomainCart):
    state.items = {item.productId: shown(item) for item in cart.items}


def shown(item):
    return LineItem(product_id=item.productId, name=item.name, quantity=item.quantity)


@entity.event_handler(ItemAdded)
def item_added(state: CartState, event: ItemAdded):
    known = state.items.get(event.item.productId)
    if known is None:
        state.items[event.item.productId] = shown(event.item)
    else:
        known.quantity += event.item.quantity


@entity.event_handler(ItemRemoved)
def item_removed(state: CartState, event: ItemRemoved):
    del state.items[event.productId]


@entity.command_handler("GetCart")
def get_cart(state: CartState):
    return Cart(items=state.items.values())


@entity.command_handler("AddItem")
def add_item(item: AddLineItem, ctx: EventSourcedCommandContext):
    if item.quantity <= 0:
        ctx.fail(f"cannot add {item.quantity} of {item.product_id}")
    else:
        ctx.emit(ItemAdded(item=stored(item)))
    return Empty()


@entity.command_handler("RemoveItem")
def remove_item(state: CartState, item: RemoveLineItem, ctx: EventSourcedCommandContext):
    if item.product_id not in state.items:
        ctx.fail(f"{item.product_id} is not in the cart of {state.owner}")
    else:
        ctx.emit(ItemRemoved(productId=item.product_id))
    return Empty()


@pytest.mark.usefixtures("logged")
async def test_an_entity_of_the_original_library_works(serving: Serve) -> None:
    async with serving(entities=[entity]) as served:

        async def ask(command: str, message: Message) -> object:
            action = (await served.ask(command, message, CART)).action
            if action.HasField("failure"):
                return action.failure.description
            return decode(action.reply.payload)

        def add(product: str, quantity: int) -> AddLineItem:
            return AddLineItem(user_id="joe", product_id=product, name="x", quantity=quantity)

        assert await ask("AddItem", add("a", 2)) == Empty()
        assert await ask("AddItem", add("b", 0)) == "cannot add 0 of b"
        remove = RemoveLineItem(user_id="joe", product_id="b")
        assert await ask("RemoveItem", remove) == "b is not in the cart of joe"
        # The hundredth event asks for the snapshot that cannot be taken.
        for _ in range(120):
            assert await ask("AddItem", add("b", 1)) == Empty()
        assert await ask("RemoveItem", RemoveLineItem(user_id="joe", product_id="a")) == Empty()

        expected = Cart(items=[LineItem(product_id="b", name="x", quantity=120)])
        assert await ask("GetCart", GetShoppingCart(user_id="joe")) == expected
        await served.passivate()
        assert await ask("GetCart", GetShoppingCart(user_id="joe")) == expected
        events = await served.store.inner.events(EntityKey(CART, "joe"), after=0, limit=999)
        assert [event.sequence for event in events] == list(range(1, 123))
