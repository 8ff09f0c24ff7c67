"""Read and fill a cart over gRPC, with the generated stub.

Run it beside `make demo`:

    python -m shoppingcart.client joe                      # show joe's cart
    python -m shoppingcart.client joe add socks "Socks" 2  # put two pairs of socks into it
    python -m shoppingcart.client joe remove socks         # take them out
"""

from __future__ import annotations

import argparse

import grpc

from shoppingcart.shoppingcart_pb2 import AddLineItem, GetShoppingCart, RemoveLineItem
from shoppingcart.shoppingcart_pb2_grpc import ShoppingCartStub


def main() -> None:
    """Carry out one command and show the cart."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="127.0.0.1:9000", help="host and port")
    parser.add_argument("user", help="whose cart")
    commands = parser.add_subparsers(dest="command")
    add = commands.add_parser("add", help="put some of a product into the cart")
    add.add_argument("product")
    add.add_argument("name")
    add.add_argument("quantity", type=int)
    remove = commands.add_parser("remove", help="take a product out of the cart")
    remove.add_argument("product")
    given = parser.parse_args()

    with grpc.insecure_channel(given.address) as channel:
        cart = ShoppingCartStub(channel)
        try:
            if given.command == "add":
                cart.AddItem(
                    AddLineItem(
                        user_id=given.user,
                        product_id=given.product,
                        name=given.name,
                        quantity=given.quantity,
                    )
                )
            elif given.command == "remove":
                cart.RemoveItem(RemoveLineItem(user_id=given.user, product_id=given.product))
            for item in cart.GetCart(GetShoppingCart(user_id=given.user)).items:
                print(f"{item.quantity:4} x {item.name} ({item.product_id})")
        except grpc.RpcError as error:
            parser.exit(1, f"{error.code().name}: {error.details()}\n")


if __name__ == "__main__":
    main()
