"""What authors of replicated types test them with."""

from __future__ import annotations

from cloudstate_crdt.testing.histories import History, Mutation, Step
from cloudstate_crdt.testing.laws import LatticeLaws

__all__ = ["History", "LatticeLaws", "Mutation", "Step"]
