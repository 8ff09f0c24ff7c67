"""Connects the nodes of a cluster over NATS."""

from __future__ import annotations

from cloudstate_nats.backend import NatsBackend
from cloudstate_nats.settings import NatsSettings

__all__ = ["NatsBackend", "NatsSettings"]
