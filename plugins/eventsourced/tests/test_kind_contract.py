from __future__ import annotations

import pytest
from shoppingcart.shopping_cart_entity import entity as shopping_cart

from cloudstate_core.testing.kind_contract import EntityKindContract
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.plugin import EventSourcedKind


class TestEventSourcedKind(EntityKindContract):
    @pytest.fixture
    def kind(self) -> EventSourcedKind:
        return EventSourcedKind()

    @pytest.fixture
    def entity(self) -> EventSourcedEntity:
        return shopping_cart
