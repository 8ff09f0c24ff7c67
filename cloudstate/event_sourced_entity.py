"""How an event-sourced entity is declared. The class is that of `cloudstate-eventsourced`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudstate.kind_packages import attribute_of

if TYPE_CHECKING:
    from cloudstate_eventsourced.entity import EventSourcedEntity
else:

    def __getattr__(name: str) -> object:
        places = {"EventSourcedEntity": "cloudstate_eventsourced.entity"}
        return attribute_of(__name__, name, places, "cloudstate-eventsourced")


__all__ = ["EventSourcedEntity"]
