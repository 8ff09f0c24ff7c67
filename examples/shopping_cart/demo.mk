# What `make demo` serves, and what it shows to try.

ENTITIES := shoppingcart.shopping_cart_entity:entity

define TRY
  curl -X POST http://127.0.0.1:$(PORT)/cart/joe/items/add -H 'content-type: application/json' -d '{"productId": "socks", "name": "Socks", "quantity": 2}'
  curl http://127.0.0.1:$(PORT)/carts/joe
  curl -X POST http://127.0.0.1:$(PORT)/cart/joe/items/socks/remove
or over gRPC:
  cd examples/shopping_cart && ../../$(VENV)/python -m shoppingcart.client --address 127.0.0.1:$(PORT) joe
endef
