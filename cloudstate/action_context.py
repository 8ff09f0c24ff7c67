"""What handlers of an action are given and answer. The classes are those of `cloudstate-action`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_action.context import ActionContext
    from cloudstate_action.envelope import MessageEnvelope
    from cloudstate_action.reply import ActionReply
else:

    def __getattr__(name: str) -> object:
        places = {
            "ActionContext": "cloudstate_action.context",
            "ActionReply": "cloudstate_action.reply",
            "MessageEnvelope": "cloudstate_action.envelope",
        }
        return attribute_of(__name__, name, places, "cloudstate-action")


__all__ = ["ActionContext", "ActionReply", "MessageEnvelope"]
