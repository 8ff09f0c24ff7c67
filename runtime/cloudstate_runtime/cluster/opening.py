"""Opening the cluster as the settings say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from random import Random

from cloudstate_core.alone import Alone
from cloudstate_core.clock import Clock
from cloudstate_core.cluster import NodeIdentity
from cloudstate_core.errors import SettingsError
from cloudstate_core.plugins import Plugins
from cloudstate_core.store import StateStore
from cloudstate_core.transport import Transport
from cloudstate_runtime.cluster.kept import KeptRecords
from cloudstate_runtime.cluster.members import ClusterMembers, open_members
from cloudstate_runtime.cluster.membership import MembershipMachine, Timing
from cloudstate_runtime.settings import DEFAULT_NODE, RuntimeSettings

__all__ = ["open_cluster"]


@asynccontextmanager
async def open_cluster(
    settings: RuntimeSettings,
    plugins: Plugins,
    sections: Mapping[str, object],
    store: StateStore,
    epoch: int,
    *,
    clock: Clock,
    random: Random,
) -> AsyncIterator[ClusterMembers]:
    """Be a node: of a cluster, or the only one if no transport is set.

    Args:
        settings: Which node, and how it is connected.
        plugins: For the transport.
        sections: For the settings of the transport.
        store: Where the node keeps what it knows of the cluster.
        epoch: The epoch to commit under.
        clock: The time.
        random: For a number that tells this process from others.

    Raises:
        ConfigurationError: It cannot be done as it is configured.
        TransportUnavailable: Nobody answers there.
        StoreError: What is kept cannot be read, or what is new not be kept.
    """
    kept = KeptRecords(store, epoch, settings.node)
    async with _transport(settings, plugins, sections, clock) as transport:
        records, life = await kept.load()
        machine = MembershipMachine(
            settings.node,
            records,
            life,
            process=random.getrandbits(63) + 1,
            unix_time_ms=int(clock.unix_time_s() * 1000),
            timing=_timing(settings),
        )
        members = ClusterMembers(machine, transport, kept, clock)
        async with open_members(members, is_connected=bool(settings.transport)):
            yield members


def _transport(
    settings: RuntimeSettings, plugins: Plugins, sections: Mapping[str, object], clock: Clock
) -> AbstractAsyncContextManager[Transport]:
    address, node = settings.transport, settings.node
    if not address:
        return nullcontext(Alone(NodeIdentity(node, 0), clock).transport)
    scheme, separator, _ = address.partition("://")
    backend = plugins.transports.get(scheme) if separator else None
    if backend is None:
        known = ", ".join(f"{each}://" for each in sorted(plugins.transports)) or "none"
        raise SettingsError(
            f"expected a transport that begins with one of those installed ({known}), found "
            f"{scheme + separator!r}"
        )
    if node == DEFAULT_NODE:
        raise SettingsError(
            "a node with others needs a name of its own: give one with --node or the setting "
            "runtime.node"
        )
    return backend.open(sections.get(scheme) or backend.settings_type(), address, node, clock)


def _timing(settings: RuntimeSettings) -> Timing:
    return Timing(
        heartbeat_s=settings.heartbeat_interval_s,
        unreachable_after_s=settings.unreachable_after_s,
        join_timeout_s=settings.join_timeout_s if settings.transport else 0.0,
    )
