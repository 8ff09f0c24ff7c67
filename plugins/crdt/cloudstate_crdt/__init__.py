"""Replicated data types: values that every node may change at once, and that converge."""

from __future__ import annotations

from cloudstate_crdt.causal import CausalContext, Dot
from cloudstate_crdt.errors import (
    DotReused,
    MalformedState,
    NestedTooDeep,
    StaleReplica,
    StateRefused,
    StateTooLarge,
    TooFewReplicas,
    UnknownType,
    WrongType,
)
from cloudstate_crdt.lattice import Lattice, Types
from cloudstate_crdt.registry import Registry, standard_types
from cloudstate_crdt.replica import Replica
from cloudstate_crdt.types.flag import Flag
from cloudstate_crdt.types.gcounter import GCounter
from cloudstate_crdt.types.gset import GSet
from cloudstate_crdt.types.lwwregister import Clock, LWWRegister
from cloudstate_crdt.types.ormap import ORMap
from cloudstate_crdt.types.orset import ORSet
from cloudstate_crdt.types.pncounter import PNCounter
from cloudstate_crdt.types.vote import Vote

__all__ = [
    "CausalContext",
    "Clock",
    "Dot",
    "DotReused",
    "Flag",
    "GCounter",
    "GSet",
    "LWWRegister",
    "Lattice",
    "MalformedState",
    "NestedTooDeep",
    "ORMap",
    "ORSet",
    "PNCounter",
    "Registry",
    "Replica",
    "StaleReplica",
    "StateRefused",
    "StateTooLarge",
    "TooFewReplicas",
    "Types",
    "UnknownType",
    "Vote",
    "WrongType",
    "standard_types",
]
