"""Durable commands of the shopping cart through the front door of the real process."""

from __future__ import annotations

import json
import urllib.request

from bench.embedded import EXAMPLE, SERVICE, cart_item
from bench.figures import Figure
from bench.front_door import USERS, Subject, measure_front_door

__all__ = ["measure"]


def measure() -> list[Figure]:
    """Measure gRPC and HTTP, each against its echo, in alternation."""
    return measure_front_door(
        Subject(
            what="durable command",
            entities=("shoppingcart.shopping_cart_entity:entity",),
            folder=EXAMPLE,
            grpc_path=f"/{SERVICE}/AddItem",
            message=cart_item,
            http_path="/cart/{user}/items/add",
            http_body='{"productId":"socks","name":"Socks","quantity":1}',
            carried_out=_stored,
        )
    )


def _stored(address: str) -> int:
    stored = 0
    for number in range(USERS):
        url = f"http://{address}/carts/user-{number}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            stored += sum(item["quantity"] for item in json.load(answer)["items"])
    return stored
