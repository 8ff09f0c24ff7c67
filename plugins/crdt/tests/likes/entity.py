"""Who likes an article: a set of readers, which every node may change at once."""

from __future__ import annotations

from cloudstate.crdt_entity import CrdtCommandContext, CrdtEntity, ORSet
from likes.likes_pb2 import DESCRIPTOR, Article, Mark, Total

entity = CrdtEntity(DESCRIPTOR.services_by_name["Likes"], default=ORSet, persistence_id="likes")


@entity.command_handler("Like")
def like(readers: ORSet[str], mark: Mark, ctx: CrdtCommandContext) -> Total:
    if not mark.reader:
        ctx.fail("a like needs a reader")
    readers.add(mark.reader)
    return Total(likes=len(readers))


@entity.command_handler("Unlike")
def unlike(readers: ORSet[str], mark: Mark) -> Total:
    readers.discard(mark.reader)
    return Total(likes=len(readers))


@entity.command_handler("Watch")
def watch(readers: ORSet[str], article: Article, ctx: CrdtCommandContext) -> Total:
    ctx.on_change(lambda change: Total(likes=len(readers)))
    return Total(likes=len(readers))
