"""What the handlers of an event-sourced entity are given. From `cloudstate-eventsourced`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_eventsourced.context import (
        EventContext,
        EventSourcedCommandContext,
        SnapshotContext,
    )
else:

    def __getattr__(name: str) -> object:
        places = dict.fromkeys(__all__, "cloudstate_eventsourced.context")
        return attribute_of(__name__, name, places, "cloudstate-eventsourced")


__all__ = ["EventContext", "EventSourcedCommandContext", "SnapshotContext"]
