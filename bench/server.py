"""A server that is measured, and how fast it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Rate", "Server"]


@dataclass(frozen=True)
class Server:
    """A process that serves.

    Attributes:
        address: Its host and port.
        pid: Its process id.
    """

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Return the time for which its threads have run so far."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@dataclass(frozen=True)
class Rate:
    """How fast something is done.

    Attributes:
        per_s: How often in a second.
        cpu_us: The server's processor time for each, in microseconds.
    """

    per_s: float
    cpu_us: float
