"""Interceptors: handlers around a handler.

An interceptor stands between the front ends and the router and has the shape of both: it may refuse
a request, change it, measure it, and it passes the rest on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from cloudstate_core.clock import Clock
from cloudstate_core.frontend import Limits
from cloudstate_core.handler import CommandHandler

__all__ = ["Interceptor"]


class Interceptor(ABC):
    """Something around every request.

    Attributes:
        name: One word, unique in the process.
        order: Interceptors are nested in ascending order; the lowest sees a request first.
    """

    name: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def wrap(self, handler: CommandHandler, clock: Clock, limits: Limits) -> CommandHandler:
        """Return a handler that stands before `handler`. Called once, at start."""
