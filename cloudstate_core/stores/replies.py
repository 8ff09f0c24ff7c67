"""Remembered replies in memory: by entity and command, and by age."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

from cloudstate_core.store import EntityKey, RememberedReply
from cloudstate_core.stores.copies import Reply

__all__ = ["Replies"]

#: How many of those whose time is over may go with each one that is added: more than one, so that
#: they go faster than they come; few, so that no commit has to wait for many.
_REMOVED_AT_ONCE = 4

#: The order by age holds entries of replies that are gone already. It is made anew when more than
#: half are such, and not for fewer than these.
_MIN_ENTRIES = 64


class _Kept(NamedTuple):
    reply: RememberedReply
    until_unix_s: float
    number: int


class _Entry(NamedTuple):
    until_unix_s: float
    number: int
    key: EntityKey
    command_key: str


class Replies:
    """What is remembered of all entities."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[EntityKey, dict[str, _Kept]] = {}
        self._by_age: list[_Entry] = []
        self._count = 0
        self._numbered = 0

    def __len__(self) -> int:
        return self._count

    def find(self, key: EntityKey, command_key: str, now_unix_s: float) -> RememberedReply | None:
        """Return what is remembered for a command, unless its time is over."""
        kept = self._kept.get(key, {}).get(command_key)
        return kept.reply if kept is not None and kept.until_unix_s > now_unix_s else None

    def add(self, key: EntityKey, reply: Reply, now_unix_s: float) -> None:
        """Remember a reply, and forget some that are too old or too many."""
        name, until_unix_s = reply.command_key.decode(), now_unix_s + reply.keep_s
        self._numbered += 1
        self._remove(key, name)
        of_entity = self._kept.setdefault(key, {})
        of_entity[name] = _Kept(
            RememberedReply(reply.digest, reply.reply), until_unix_s, self._numbered
        )
        self._count += 1
        heappush(self._by_age, _Entry(until_unix_s, self._numbered, key, name))
        while len(of_entity) > reply.keep_count:
            self._remove(key, next(iter(of_entity)))
        self._remove_old(now_unix_s)

    def forget(self, key: EntityKey) -> None:
        """Forget everything of an entity."""
        self._count -= len(self._kept.pop(key, ()))

    def _remove_old(self, now_unix_s: float) -> None:
        by_age = self._by_age
        for _ in range(_REMOVED_AT_ONCE):
            if not by_age or by_age[0].until_unix_s > now_unix_s:
                break
            entry = heappop(by_age)
            if self._is_kept(entry):
                self._remove(entry.key, entry.command_key)
        if len(by_age) > max(_MIN_ENTRIES, 2 * self._count):
            self._by_age = [entry for entry in by_age if self._is_kept(entry)]
            heapify(self._by_age)

    def _is_kept(self, entry: _Entry) -> bool:
        kept = self._kept.get(entry.key, {}).get(entry.command_key)
        return kept is not None and kept.number == entry.number

    def _remove(self, key: EntityKey, command_key: str) -> None:
        of_entity = self._kept.get(key, {})
        if of_entity.pop(command_key, None) is not None:
            self._count -= 1
            if not of_entity:
                del self._kept[key]
