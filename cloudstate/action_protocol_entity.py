"""How an action is declared. The class is that of `cloudstate-action`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_action.entity import Action
else:

    def __getattr__(name: str) -> object:
        places = {"Action": "cloudstate_action.entity"}
        return attribute_of(__name__, name, places, "cloudstate-action")


__all__ = ["Action"]
