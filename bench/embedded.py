"""Entities in this process, without a front door: what the in-process figures measure."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from cloudstate_core.clock import SystemClock
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.handler import CommandHandler, Request
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import load_plugins
from cloudstate_core.store import StateStore
from cloudstate_runtime.runtime import open_runtime
from cloudstate_runtime.settings import RuntimeSettings

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "shopping_cart"
sys.path.insert(0, str(EXAMPLE))

__all__ = ["EXAMPLE", "SERVICE", "add_item", "cart_item", "embedded", "embedded_cart", "packed"]

SERVICE = "com.example.shoppingcart.ShoppingCart"


def add_item(user: str) -> Request:
    """Return a command that appends one event."""
    return Request(SERVICE, "AddItem", packed(cart_item(user)))


def cart_item(user: str) -> Message:
    """Return what that command says."""
    from shoppingcart.shoppingcart_pb2 import AddLineItem  # path set above

    return AddLineItem(user_id=user, product_id="socks", name="Socks", quantity=1)


def packed(message: Message) -> Any:
    """Return a message as a request carries it."""
    return Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(),
    )


@asynccontextmanager
async def embedded_cart(store_name: str) -> AsyncIterator[tuple[CommandHandler, StateStore]]:
    """Open runtime and cart over a store; yield the first handler and the store."""
    from shoppingcart.shopping_cart_entity import entity  # path set above

    async with embedded([entity], store_name) as opened:
        yield opened


@asynccontextmanager
async def embedded(
    entities: Sequence[EntityDefinition], store_name: str
) -> AsyncIterator[tuple[CommandHandler, StateStore]]:
    """Open runtime and entities over a store; yield the first handler and the store."""
    plugins = load_plugins()
    backend = plugins.stores[store_name]
    clock = SystemClock()
    link = LocalLink(UserFunction(entities, plugins), clock)
    with tempfile.TemporaryDirectory() as data:
        async with (
            backend.open(backend.settings_type(), Path(data), clock) as store,
            open_runtime(
                RuntimeSettings(), plugins, store, {"here": link}, clock=clock, random=Random(1)
            ) as runtime,
        ):
            await runtime.wait_until_deployed()
            yield runtime.handler, store
