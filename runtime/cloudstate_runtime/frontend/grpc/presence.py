"""Whether a client is still there. Pure: time is handed in."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Advice", "Presence"]

#: A client with calls that was silent for so long is asked for a sign of life, in seconds, and how
#: long it may take to give one. A stream has no deadline, so nothing else tells of a dead client.
_SILENCE_S = 60.0
_SIGN_OF_LIFE_S = 30.0


class Advice(Enum):
    """What to do about a client.

    Attributes:
        NOTHING: It was heard of lately, or need not be.
        ASK: It is to be asked for a sign of life.
        GIVE_UP: It was asked, and has given none.
    """

    NOTHING = auto()
    ASK = auto()
    GIVE_UP = auto()


class Presence:
    """What is known of one client.

    Attributes:
        was_heard: Set by whoever hears of the client.
    """

    def __init__(self, now_s: float) -> None:
        self.was_heard = True
        self._heard_s = now_s
        self._asked_s: float | None = None

    def look(self, now_s: float, *, has_calls: bool) -> Advice:
        """Return what to do now; to be called from time to time."""
        if self.was_heard or not has_calls:
            self.was_heard, self._heard_s, self._asked_s = False, now_s, None
        elif self._asked_s is None and now_s - self._heard_s >= _SILENCE_S:
            self._asked_s = now_s
            return Advice.ASK
        elif self._asked_s is not None and now_s - self._asked_s >= _SIGN_OF_LIFE_S:
            return Advice.GIVE_UP
        return Advice.NOTHING
