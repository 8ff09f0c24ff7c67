from __future__ import annotations

import pytest
from profiles.entity import entity as profiles

from cloudstate_core.testing.kind_contract import EntityKindContract
from cloudstate_kv.entity import ValueEntity
from cloudstate_kv.plugin import ValueKind


class TestValueKind(EntityKindContract):
    @pytest.fixture
    def kind(self) -> ValueKind:
        return ValueKind()

    @pytest.fixture
    def entity(self) -> ValueEntity:
        return profiles
