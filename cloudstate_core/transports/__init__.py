"""The transport that needs no plugin: nodes in one process, over a network that can fail."""

from __future__ import annotations

from cloudstate_core.transports.faults import Faults
from cloudstate_core.transports.in_process import InProcessBackend, InProcessSettings, Network

__all__ = ["Faults", "InProcessBackend", "InProcessSettings", "Network"]
