"""A shopping cart, event sourced."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty

from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from shoppingcart import domain_pb2 as domain
from shoppingcart.shoppingcart_pb2 import _SHOPPINGCART as SHOPPING_CART
from shoppingcart.shoppingcart_pb2 import (
    AddLineItem,
    Cart,
    GetShoppingCart,
    LineItem,
    RemoveLineItem,
)


@dataclass
class CartState:
    """What is in one user's cart, by product."""

    items: dict[str, LineItem] = field(default_factory=dict)


def empty_cart() -> CartState:
    """Return the cart of a user who never bought anything."""
    return CartState()


entity = EventSourcedEntity(SHOPPING_CART, init_state=empty_cart, persistence_id="shopping-cart")


@entity.command_handler("AddItem")
def add_item(item: AddLineItem, ctx: EventSourcedCommandContext) -> Empty:
    """Put some of a product into the cart."""
    if item.quantity <= 0:
        ctx.fail(f"quantity of {item.product_id!r} must be more than 0, not {item.quantity}")
    ctx.emit(
        domain.ItemAdded(
            item=domain.LineItem(productId=item.product_id, name=item.name, quantity=item.quantity)
        )
    )
    return Empty()


@entity.command_handler("RemoveItem")
def remove_item(state: CartState, item: RemoveLineItem, ctx: EventSourcedCommandContext) -> Empty:
    """Take a product out of the cart, however much of it is there."""
    if item.product_id not in state.items:
        ctx.fail(f"product {item.product_id!r} is not in the cart")
    ctx.emit(domain.ItemRemoved(productId=item.product_id))
    return Empty()


@entity.command_handler("GetCart")
def get_cart(state: CartState, _: GetShoppingCart) -> Cart:
    """Show the cart."""
    return Cart(items=state.items.values())


@entity.event_handler(domain.ItemAdded)
def item_added(state: CartState, event: domain.ItemAdded) -> None:
    """Count an added product."""
    added = event.item
    item = state.items.get(added.productId)
    if item is None:
        item = state.items[added.productId] = LineItem(product_id=added.productId, name=added.name)
    item.quantity += added.quantity


@entity.event_handler(domain.ItemRemoved)
def item_removed(state: CartState, event: domain.ItemRemoved) -> None:
    """Forget a removed product."""
    del state.items[event.productId]


@entity.snapshot()
def snapshot(state: CartState) -> domain.Cart:
    """Return the whole cart, as it is stored every hundred events."""
    return domain.Cart(
        items=[
            domain.LineItem(productId=item.product_id, name=item.name, quantity=item.quantity)
            for item in state.items.values()
        ]
    )


@entity.snapshot_handler()
def restore(state: CartState, stored: domain.Cart) -> None:
    """Set the cart from a snapshot."""
    state.items = {
        item.productId: LineItem(product_id=item.productId, name=item.name, quantity=item.quantity)
        for item in stored.items
    }
