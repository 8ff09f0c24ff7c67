"""Reading ahead: whoever asks for a snapshot asks for the events after it next.

Both are read at once, since handing a question to another thread and getting the answer back takes
longer than reading does. The events wait here to be asked for.

What waits must not be handed out when it is out of date. So there is a page from the moment when
the snapshot is asked for, and the writer takes it away after each commit to the entity, before that
commit is answered. A reader that fills a page which was taken away fills it in vain.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cloudstate_core.store import EntityKey, StoredEvent

__all__ = ["MAX_PAGE_BYTES", "MAX_PAGE_EVENTS", "Ahead", "Page"]

#: A longer or larger page is not read ahead.
MAX_PAGE_EVENTS = 100
MAX_PAGE_BYTES = 64 * 1024

# Pages that nobody asks for are dropped when there are so many.
_MAX_PAGES = 256


@dataclass(slots=True)
class Page:
    """The first events after a snapshot; `events` is None as long as they are not known."""

    after: int = 0
    events: list[StoredEvent] | None = None


class Ahead:
    """The pages that wait. Used by the event loop and by the writer's thread."""

    def __init__(self) -> None:
        self._pages: OrderedDict[EntityKey, Page] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._pages)

    def begin(self, key: EntityKey) -> Page:
        """Return a page to be filled."""
        page = self._pages[key] = Page()
        if len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        return page

    def take(self, key: EntityKey, *, after: int, limit: int) -> list[StoredEvent] | None:
        """Return the events that were read ahead, once, if they are what is asked for."""
        page = self._pages.pop(key, None)
        if page is None or page.events is None or page.after != after:
            return None
        if len(page.events) == MAX_PAGE_EVENTS and limit > MAX_PAGE_EVENTS:
            # There may be more.
            return None
        return page.events[:limit]

    def forget(self, key: EntityKey) -> None:
        """Take away the page of an entity: it is out of date, or will be."""
        self._pages.pop(key, None)

    def clear(self) -> None:
        """Take away all pages."""
        self._pages.clear()
