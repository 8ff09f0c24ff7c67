"""Which processor a process runs on."""

from __future__ import annotations

import os
import shutil

__all__ = ["pinned"]


def pinned(core: int) -> list[str]:
    """Return what to put before a command so that it runs on one core; nothing if there is one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 or shutil.which("taskset") is None:
        return []
    return ["taskset", "-c", str(usable[core])]
