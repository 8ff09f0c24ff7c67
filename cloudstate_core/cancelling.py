"""Telling a task that was cancelled from one that let pass what became of something else."""

from __future__ import annotations

import asyncio

__all__ = ["was_cancelled"]


def was_cancelled() -> bool:
    """Return whether this task was cancelled, and not only something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
