"""How a stateless action is declared. The class is that of `cloudstate-action`."""

from __future__ import annotations

from typing import Any

from cloudstate.kind_packages import attribute_of


def __getattr__(name: str) -> Any:
    places = {"Action": "cloudstate_action.entity"}
    return attribute_of(__name__, name, places, "cloudstate-action")
