"""A cluster of one node, which nobody is connected with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_core.transport import Transport
from cloudstate_core.transports.in_process import InProcessTransport, Network

__all__ = ["Alone"]


class Alone:
    """The `Cluster` of a node that reaches nobody.

    Args:
        node: The node.
        clock: The time.
        members: Who belongs to the cluster, if not the node alone. Nobody ever joins or leaves.
    """

    def __init__(self, node: NodeIdentity, clock: Clock, members: Members | None = None) -> None:
        self.node = node
        # An end of a network that has no other. Chance has nothing to decide there.
        network = Network(clock, Random(0))  # noqa: S311
        self.transport: Transport = InProcessTransport(node.name, network)
        self._members = members or Members(
            epochs={node.name: node.epoch}, reachable=frozenset({node.name}), expelled={}
        )

    @property
    def members(self) -> Members:
        return self._members

    def on_change(self, changed: Callable[[Members], None]) -> AbstractContextManager[None]:
        return nullcontext()
