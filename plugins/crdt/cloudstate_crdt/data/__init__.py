"""Replicated values as a handler sees them: each with what one command has changed of it."""

from __future__ import annotations

from cloudstate_crdt.data.crdt import Crdt, WrongDelta, crdt_from, fresh
from cloudstate_crdt.data.flag import Flag
from cloudstate_crdt.data.gcounter import GCounter
from cloudstate_crdt.data.gset import GSet
from cloudstate_crdt.data.lwwregister import Clock, LWWRegister
from cloudstate_crdt.data.ormap import ORMap
from cloudstate_crdt.data.orset import ORSet
from cloudstate_crdt.data.pncounter import PNCounter
from cloudstate_crdt.data.vote import Vote

__all__ = [
    "Clock",
    "Crdt",
    "Flag",
    "GCounter",
    "GSet",
    "LWWRegister",
    "ORMap",
    "ORSet",
    "PNCounter",
    "Vote",
    "WrongDelta",
    "crdt_from",
    "fresh",
]
