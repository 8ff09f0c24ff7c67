"""A room: for each name a vote among the nodes, whether its owner is connected to them.

Every node says what it knows for sure, which is who is connected to itself. Whoever has the voice
of at least one node is in the room. A node that is gone for good has no voice any more once it is
expelled from the cluster.
"""

from __future__ import annotations

from collections import Counter

from cloudstate.crdt_entity import CrdtCommandContext, CrdtEntity, ORMap, Vote
from presence.presence_pb2 import DESCRIPTOR, People, Person, Visitor

__all__ = ["entity"]

entity = CrdtEntity(
    DESCRIPTOR.services_by_name["Presence"], default=ORMap, persistence_id="presence"
)

#: How many connections each visitor has to this process, by room and name.
connections: Counter[tuple[str, str]] = Counter()


@entity.command_handler("Enter")
def enter(visitor: Visitor, votes: ORMap[str, Vote], ctx: CrdtCommandContext) -> People:
    """Let somebody in, until the call ends."""
    if not visitor.name:
        ctx.fail("name who enters")
    here = (visitor.room, visitor.name)
    tell_who_is_gone(votes, visitor.room)
    connections[here] += 1
    votes.get_or_create(visitor.name, Vote).vote(True)

    def leave(_: object) -> None:
        connections[here] -= 1
        if not connections[here]:
            del connections[here]
            votes.get_or_create(visitor.name, Vote).vote(False)

    ctx.on_cancel(leave)
    ctx.on_change(lambda _: people_in(votes))
    return people_in(votes)


@entity.command_handler("Watch")
def watch(votes: ORMap[str, Vote], ctx: CrdtCommandContext) -> People:
    """Show who is there, now and after each change."""
    tell_who_is_gone(votes, ctx.entity_id)
    ctx.on_change(lambda _: people_in(votes))
    return people_in(votes)


@entity.command_handler("Who")
def who(votes: ORMap[str, Vote], ctx: CrdtCommandContext) -> People:
    """Show who is there now."""
    tell_who_is_gone(votes, ctx.entity_id)
    return people_in(votes)


def tell_who_is_gone(votes: ORMap[str, Vote], room: str) -> None:
    """Take back this node's voice for those who were connected to it before it was restarted."""
    for name, vote in votes.items():
        if vote.self_vote and not connections[room, name]:
            vote.vote(False)


def people_in(votes: ORMap[str, Vote]) -> People:
    """Say who is there."""
    present = sorted((name, vote.votes_for) for name, vote in votes.items() if vote.votes_for)
    return People(people=[Person(name=name, nodes=nodes) for name, nodes in present])
