"""The cluster, from one of its nodes: the membership machine over a transport and a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import assert_never

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.cluster import Members, NodeIdentity
from cloudstate_core.errors import CloudstateError, ConfigurationError, StoreError
from cloudstate_core.transport import Transport
from cloudstate_runtime.cluster.kept import KeptRecords
from cloudstate_runtime.cluster.membership import (
    Broadcast,
    Expel,
    Forget,
    Heard,
    Input,
    Instruction,
    Joined,
    Keep,
    Kept,
    LeftOut,
    MembershipMachine,
    NameTaken,
    NewMembers,
    Report,
    Send,
    Ticked,
)

__all__ = ["TOPIC", "ClusterMembers", "open_members"]

log = structlog.get_logger()

#: What nodes talk of membership under.
TOPIC = "cluster/members"

#: How often the machine learns what time it is: while the node joins, and later.
_JOIN_TICK_S = 0.05
_TICK_S = 0.25

#: How long to wait before what could not be stored is stored again.
_STORE_PAUSE_S = 1.0

#: How many messages may wait to be sent; more are left out, as if they were lost.
_MAX_OUTGOING = 1000


class ClusterMembers:
    """This node among the others; a `Cluster`.

    Attributes:
        transport: The way to the others.
        left_out: Set when this node has no part in the cluster any more.
        reason: Why.
    """

    def __init__(
        self, machine: MembershipMachine, transport: Transport, kept: KeptRecords, clock: Clock
    ) -> None:
        """Keep what it is given."""
        self.transport = transport
        self.left_out = asyncio.Event()
        self.reason = ""
        self._machine = machine
        self._kept = kept
        self._clock = clock
        self._listeners: list[Callable[[Members], None]] = []
        self._name_is_taken = False
        self._must_keep = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- Cluster ---------------------------------------------------------------------

    @property
    def node(self) -> NodeIdentity:
        """This node; its epoch is final once `join` has returned."""
        return self._machine.node

    @property
    def members(self) -> Members:
        return self._machine.members

    @contextmanager
    def on_change(self, changed: Callable[[Members], None]) -> Iterator[None]:
        self._listeners.append(changed)
        try:
            yield
        finally:
            self._listeners.remove(changed)

    # --- The operator ----------------------------------------------------------------

    async def expel(self, name: str) -> None:
        """Take a node out of the cluster for good, in its present life.

        Raises:
            CloudstateError: It is no other member.
            StoreError: It is out, but this node may not know it after a restart.
        """
        if name == self.node.name:
            raise CloudstateError(
                f"node {name!r} cannot expel itself; ask one of those that stay to do it"
            )
        if name not in self._machine.records.members():
            known = ", ".join(sorted(self._machine.records.members()))
            hint = ""
            if name in self._machine.records:
                hint = ", which was expelled; `forget` gives up what it has written"
            raise CloudstateError(
                f"expected a member of the cluster ({known}), found {name!r}{hint}"
            )
        self._give(Expel(name))
        log.warning("node_expelled", node=name)
        await self.keep()

    async def forget(self, name: str) -> None:
        """Give up what a node has written in its lives that are over.

        Of a node that was expelled these are all; of a member, all before its present one. Doing
        it again changes nothing.

        Raises:
            CloudstateError: The node is not known, or it is a member that is silent, so that its
                present life seems to be meant.
            StoreError: It is given up, but this node may not know it after a restart.
        """
        records, members = self._machine.records, self.members
        if name not in records:
            known = ", ".join(sorted(each for each, _ in records.items()))
            raise CloudstateError(f"expected a node of the cluster ({known}), found {name!r}")
        if name in members.epochs and name not in members.reachable:
            raise CloudstateError(
                f"node {name!r} is a member and cannot be reached; what it writes in its present "
                "life can be given up only when it was expelled: if it will not come back, expel it"
            )
        self._give(Forget(name))
        log.warning("node_forgotten", node=name, epoch=records.of(name).forgotten_epoch)
        await self.keep()

    # --- Life ------------------------------------------------------------------------

    async def join(self) -> None:
        """Return when this node serves.

        Raises:
            ConfigurationError: Another process has its name.
            StoreError: What is known cannot be kept.
        """
        await self.keep()
        while True:
            self._give(Ticked(self._clock.monotonic_s()))
            if self._machine.has_joined:
                break
            await self._clock.sleep(_JOIN_TICK_S)
            if self._name_is_taken:
                raise ConfigurationError(
                    f"another process is node {self.node.name!r} of this cluster; give each node a "
                    "name of its own, with --node or the setting runtime.node"
                )
        await self.keep()

    async def run(self) -> None:
        """Tell the others of this node, and notice who is silent; runs until cancelled."""
        while True:
            await self._clock.sleep(_TICK_S)
            self._give(Ticked(self._clock.monotonic_s()))

    async def keep_on(self) -> None:
        """Keep what is learnt; runs until cancelled."""
        while True:
            await self._must_keep.wait()
            try:
                await self.keep()
            except StoreError as error:
                log.warning("cluster_not_kept", error=str(error))
                await self._clock.sleep(_STORE_PAUSE_S)

    async def keep(self) -> None:
        """Keep what is known now.

        Raises:
            StoreError: It is not known to be kept.
        """
        async with self._keeping:
            self._must_keep.clear()
            try:
                life = self._machine.life
                await self._kept.save(self._machine.records, life)
            except StoreError:
                self._must_keep.set()
                raise
            self._give(Kept(life))

    async def aclose(self) -> None:
        """Give up what is being sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- The machine -----------------------------------------------------------------

    def heard(self, sender: str, message: bytes) -> None:
        """Take in what another node says."""
        self._give(Heard(sender, message))

    def _give(self, given: Input) -> None:
        for instruction in self._machine.receive(given):
            self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Broadcast(message=message):
                self._post(partial(self.transport.broadcast, TOPIC, message))
            case Send(to=to, message=message):
                self._post(partial(self.transport.send, to, TOPIC, message))
            case Keep():
                self._must_keep.set()
            case Joined(node=node):
                log.info("cluster_joined", node=node.name, members=sorted(self.members.epochs))
            case NewMembers(members=members):
                self._tell(members)
            case NameTaken():
                self._name_is_taken = True
                log.critical("node_name_is_taken", node=self.node.name)
            case LeftOut(reason=reason):
                self.reason = reason
                self.left_out.set()
                log.critical("node_is_left_out", node=self.node.name, reason=reason)
            case Report(what=what, fields=fields):
                log.warning(what, **fields)
            case _:
                assert_never(instruction)

    def _tell(self, members: Members) -> None:
        log.info(
            "cluster_changed",
            members=sorted(members.epochs),
            unreachable=sorted(members.epochs.keys() - members.reachable),
        )
        for changed in tuple(self._listeners):
            try:
                changed(members)
            except Exception:
                log.exception("members_not_taken")

    def _post(self, send: Callable[[], Awaitable[None]]) -> None:
        if len(self._tasks) >= _MAX_OUTGOING:
            return
        task = asyncio.get_running_loop().create_task(_sent(send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _sent(send: Callable[[], Awaitable[None]]) -> None:
    try:
        await send()
    except Exception as error:  # as good as lost on the way
        log.warning("heartbeat_not_sent", error=str(error))


@asynccontextmanager
async def open_members(
    members: ClusterMembers, *, is_connected: bool
) -> AsyncIterator[ClusterMembers]:
    """Join the cluster, and go on telling the others until the end.

    Args:
        members: The node.
        is_connected: Whether there can be others; if not, nothing is told.

    Raises:
        ConfigurationError: Another process has the node's name.
        StoreError: What is known cannot be kept.
    """
    tasks: list[asyncio.Task[None]] = []
    async with members.transport.listen(TOPIC, members.heard):
        try:
            await members.join()
            if is_connected:
                tasks += map(asyncio.create_task, (members.run(), members.keep_on()))
            yield members
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await members.aclose()
