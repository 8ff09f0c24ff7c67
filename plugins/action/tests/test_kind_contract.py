"""The action kind keeps the contract of kinds."""

from __future__ import annotations

import pytest
from stations import station

from cloudstate_action.entity import Action
from cloudstate_action.plugin import ActionKind
from cloudstate_core.testing.kind_contract import EntityKindContract


class TestActionKind(EntityKindContract):
    @pytest.fixture
    def kind(self) -> ActionKind:
        return ActionKind()

    @pytest.fixture
    def entity(self) -> Action:
        return station()
