"""A node that is broken on purpose: it asks for nothing that is missing, and compares nothing.

It exists so that the test of three nodes can be seen to find what does not converge.
"""

from __future__ import annotations

import sys

from cloudstate_core.cli import main
from cloudstate_crdt.replication.comparison import Comparisons
from cloudstate_crdt.replication.progress import Progress


def ask_for_nothing(progress: Progress, now_s: float) -> list[tuple[int, int]]:
    return []


def compare_nothing(*unused: object) -> None:
    return None


if __name__ == "__main__":
    Progress.ask = ask_for_nothing
    Comparisons.buckets_received = compare_nothing
    sys.exit(main())
