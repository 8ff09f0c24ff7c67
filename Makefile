# Every target works on a fresh clone: what it needs is installed into this folder first.
# On the machine: Python 3.11 or newer with venv, make, and a package index for pip.

PYTHON ?= python3
PORT ?= 9000

VENV := .venv/bin
UV := .tools/uv/bin/uv

.DEFAULT_GOAL := help
.PHONY: help bootstrap demo test promises check style types format protos protos-check lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

bootstrap: ## install the locked tools and every distribution into .venv, if anything changed
	@$(PYTHON) tools/bootstrap.py

demo: bootstrap ## serve the shopping cart over gRPC and HTTP (PORT=9000)
	@echo 'as soon as it is served, in another terminal:'
	@echo "  curl -X POST http://127.0.0.1:$(PORT)/cart/joe/items/add -H 'content-type: application/json' \\"
	@echo "       -d '{\"productId\": \"socks\", \"name\": \"Socks\", \"quantity\": 2}'"
	@echo '  curl http://127.0.0.1:$(PORT)/carts/joe'
	@echo '  curl -X POST http://127.0.0.1:$(PORT)/cart/joe/items/socks/remove'
	@echo 'or over gRPC:'
	@echo '  cd examples/shopping_cart && ../../$(VENV)/python -m shoppingcart.client --address 127.0.0.1:$(PORT) joe'
	@cd examples/shopping_cart && exec ../../$(VENV)/cloudstate run \
		shoppingcart.shopping_cart_entity:entity --port $(PORT)

test: bootstrap ## run every test
	$(VENV)/python -m pytest

promises: bootstrap ## run the fault tests and show the figures of each promise
	$(VENV)/python -m pytest -q -s tests/durability backends/sqlite/tests plugins/eventsourced/tests \
		runtime/tests/activation runtime/tests/durable runtime/tests/function \
		| grep --only-matching 'PROMISE .*'

check: style types test protos-check ## everything that must hold before a change is merged

style: bootstrap ## judge style and formatting
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

format: bootstrap ## format the code, and mend what can be mended without thought
	$(VENV)/ruff check --fix-only .
	$(VENV)/ruff format .

types: bootstrap ## check the types
	$(VENV)/mypy

protos: ## write the generated code anew
	@$(PYTHON) tools/bootstrap.py --protoc
	.tools/protoc/bin/python tools/generate_protos.py

protos-check: ## fail if the generated code is not what the protos say
	@$(PYTHON) tools/bootstrap.py --protoc
	.tools/protoc/bin/python tools/generate_protos.py --check

lock: bootstrap ## resolve and lock the dependencies (UPGRADE=--upgrade for newer ones)
	$(VENV)/python tools/lock.py $(UV) $(UPGRADE)

bench: bootstrap ## measure the budgets, each beside its echo
	$(VENV)/python -m bench

clean: ## remove all that the other targets have installed and left behind
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
