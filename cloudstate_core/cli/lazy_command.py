"""A sub-command whose code is imported when somebody uses it.

Every process that the command `cloudstate` starts asks all plugins for their commands. One that
needs much code would be paid for by those who only serve, in memory and in the time to start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["LazyCommand"]


class LazyCommand(click.Command):
    """Stands for a command until it is called, or asked what it is good for.

    Args:
        name: What it is called.
        short_help: What the list of commands says of it.
        load: Imports the command and returns it.
    """

    def __init__(self, name: str, short_help: str, load: Callable[[], click.Command]) -> None:
        super().__init__(name, short_help=short_help)
        self._load = load

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # The context names the command that it was made by, and that is whose turn it is then.
        return self._load().make_context(info_name, args, parent, **extra)
