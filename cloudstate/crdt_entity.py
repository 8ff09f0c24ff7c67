"""How a CRDT entity is declared, and what its handlers are given. From `cloudstate-crdt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_crdt.context import CrdtCancelContext, CrdtChangeContext, CrdtCommandContext
    from cloudstate_crdt.data import (
        Clock,
        Crdt,
        Flag,
        GCounter,
        GSet,
        LWWRegister,
        ORMap,
        ORSet,
        PNCounter,
        Vote,
    )
    from cloudstate_crdt.entity import CrdtEntity
    from cloudstate_crdt.write_consistency import WriteConsistency
else:

    def __getattr__(name: str) -> object:
        places = {
            "CrdtCancelContext": "cloudstate_crdt.context",
            "CrdtChangeContext": "cloudstate_crdt.context",
            "CrdtCommandContext": "cloudstate_crdt.context",
            "CrdtEntity": "cloudstate_crdt.entity",
            "WriteConsistency": "cloudstate_crdt.write_consistency",
        }
        if name in __all__:
            places.setdefault(name, "cloudstate_crdt.data")
        return attribute_of(__name__, name, places, "cloudstate-crdt")


__all__ = [
    "Clock",
    "Crdt",
    "CrdtCancelContext",
    "CrdtChangeContext",
    "CrdtCommandContext",
    "CrdtEntity",
    "Flag",
    "GCounter",
    "GSet",
    "LWWRegister",
    "ORMap",
    "ORSet",
    "PNCounter",
    "Vote",
    "WriteConsistency",
]
