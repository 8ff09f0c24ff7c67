"""How a value entity is declared, and what its handlers are given. From `cloudstate-kv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_kv.context import ValueEntityCommandContext
    from cloudstate_kv.entity import ValueEntity
else:

    def __getattr__(name: str) -> object:
        places = {
            "ValueEntity": "cloudstate_kv.entity",
            "ValueEntityCommandContext": "cloudstate_kv.context",
        }
        return attribute_of(__name__, name, places, "cloudstate-kv")


__all__ = ["ValueEntity", "ValueEntityCommandContext"]
