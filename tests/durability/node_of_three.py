"""One node of three, for the tests: `node_of_three.py NAME ADDRESS HOW run ...`.

It is `cloudstate run` as it stands, as a node whose members are given: a, b and c. HOW is `whole`,
or `forgetful`: then the node is broken on purpose, asks for nothing that is missing and compares
nothing, so that the test of three nodes can be seen to find what does not converge.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from cloudstate_core.cli import main
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_core.transport import Transport
from cloudstate_crdt.replication.comparison import Comparisons
from cloudstate_crdt.replication.progress import Progress
from cloudstate_nats.backend import NatsBackend
from cloudstate_runtime import runtime

MEMBERS = Members(epochs={"a": 1, "b": 1, "c": 1}, reachable=frozenset("abc"), expelled={})


class GivenCluster:
    """A cluster that nobody joins or leaves."""

    def __init__(self, name: str, transport: Transport) -> None:
        self.node = NodeIdentity(name, MEMBERS.epochs[name])
        self.transport = transport
        self.members = MEMBERS

    def on_change(self, changed: Callable[[Members], None]) -> AbstractContextManager[None]:
        return nullcontext()


def open_given(name: str, address: str) -> Callable[..., object]:
    """Return what opens the cluster in place of the runtime's own."""

    @asynccontextmanager
    async def open_cluster(
        settings: object, store: object, epoch: int, clock: Clock, *rest: object
    ) -> AsyncIterator[GivenCluster]:
        backend = NatsBackend()
        async with backend.open(backend.settings_type(), address, name, clock) as transport:
            yield GivenCluster(name, transport)

    return open_cluster


def ask_for_nothing(progress: Progress, now_s: float) -> list[tuple[int, int]]:
    return []


def compare_nothing(*unused: object) -> None:
    return None


if __name__ == "__main__":
    node_name, nats_address, how = sys.argv[1:4]
    del sys.argv[1:4]
    runtime.open_cluster = open_given(node_name, nats_address)
    if how == "forgetful":
        Progress.ask = ask_for_nothing
        Comparisons.buckets_received = compare_nothing
    sys.exit(main())
