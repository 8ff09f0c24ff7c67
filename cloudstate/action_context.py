"""What the handlers of an action are given. The class is that of `cloudstate-action`."""

from __future__ import annotations

from typing import Any

from cloudstate.kind_packages import attribute_of


def __getattr__(name: str) -> Any:
    places = {"ActionContext": "cloudstate_action.context"}
    return attribute_of(__name__, name, places, "cloudstate-action")
