from __future__ import annotations

import pytest
from one_crdt_stream import doing

from cloudstate_core.testing.kind_contract import EntityKindContract
from cloudstate_crdt.entity import CrdtEntity
from cloudstate_crdt.plugin import CrdtKind


class TestCrdtKind(EntityKindContract):
    @pytest.fixture
    def kind(self) -> CrdtKind:
        return CrdtKind()

    @pytest.fixture
    def entity(self) -> CrdtEntity:
        return doing()
