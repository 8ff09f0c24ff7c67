# Every target works on a fresh clone: what it needs is installed into this folder first.
# On the machine: Python 3.11 or newer with venv, make, and a package index for pip.

PYTHON ?= python3
PORT ?= 9000
EXAMPLE ?= shopping_cart
MINUTES ?= 10
SEED ?= 1

VENV := .venv/bin
UV := .tools/uv/bin/uv

.DEFAULT_GOAL := help

# What `make demo` serves, and what it shows to try.
include examples/$(EXAMPLE)/demo.mk

.PHONY: help bootstrap demo test promises soak check style types format protos protos-check lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

bootstrap: ## install the locked tools and every distribution into .venv, if anything changed
	@$(PYTHON) tools/bootstrap.py

demo: bootstrap ## serve an example over gRPC and HTTP (EXAMPLE=shopping_cart, bank or presence, PORT=9000)
	$(info as soon as it is served, in another terminal:)
	$(info $(TRY))
	@cd examples/$(EXAMPLE) && exec ../../$(VENV)/cloudstate run $(ENTITIES) --port $(PORT)

test: bootstrap ## run every test, on all cores
	$(VENV)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

promises: bootstrap ## run the fault tests and show the figures of each promise
	$(VENV)/python -m pytest -q -s tests/durability backends/sqlite/tests plugins/eventsourced/tests \
		plugins/crdt/tests runtime/tests/activation runtime/tests/durable runtime/tests/function \
		| grep --only-matching 'PROMISE .*'

soak: bootstrap ## let things happen to a cluster under load (MINUTES=10, SEED=1)
	$(VENV)/python tests/durability/soak.py --minutes $(MINUTES) --seed $(SEED)

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
