"""What the operator can ask a node about its cluster, and have it do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypedDict

from cloudstate_core.errors import CloudstateError
from cloudstate_runtime.cluster.members import ClusterMembers

__all__ = ["NodeEntry", "entries_of", "node_commands"]


class NodeEntry(TypedDict):
    """One node, as `cloudstate nodes list` shows it.

    Attributes:
        name: The node.
        epoch: Of its latest life that has joined.
        state: "here" for the node that was asked, "reachable", "unreachable", or "expelled".
        forgotten: Of its latest life whose data was given up, and with it all before; 0 for none.
    """

    name: str
    epoch: int
    state: str
    forgotten: int


def node_commands(
    cluster: ClusterMembers,
) -> Mapping[str, Callable[[Mapping[str, object]], Awaitable[object]]]:
    """Return what can be asked, by its name."""

    async def entries(_: Mapping[str, object]) -> object:
        return entries_of(cluster)

    async def expel(question: Mapping[str, object]) -> object:
        name = _name_in(question)
        await cluster.expel(name)
        if question.get("forget") is True:
            await cluster.forget(name)
        return entries_of(cluster)

    async def forget(question: Mapping[str, object]) -> object:
        await cluster.forget(_name_in(question))
        return entries_of(cluster)

    return {"nodes.list": entries, "nodes.expel": expel, "nodes.forget": forget}


def _name_in(question: Mapping[str, object]) -> str:
    name = question.get("name")
    if not isinstance(name, str):
        raise CloudstateError(f"expected the name of a node, found {type(name).__name__}")
    return name


def entries_of(cluster: ClusterMembers) -> list[NodeEntry]:
    """Return all nodes that are known, by name."""
    members, here = cluster.members, cluster.node.name
    states = {
        **dict.fromkeys(members.expelled, "expelled"),
        **{name: _state(name, here, name in members.reachable) for name in members.epochs},
    }
    entries = [
        NodeEntry(
            name=name,
            epoch=members.epochs.get(name, members.expelled.get(name, 0)),
            state=state,
            forgotten=members.forgotten.get(name, 0),
        )
        for name, state in states.items()
    ]
    return sorted(entries, key=lambda entry: entry["name"])


def _state(name: str, here: str, is_reachable: bool) -> str:  # noqa: FBT001  # one of three words
    if name == here:
        return "here"
    return "reachable" if is_reachable else "unreachable"
