"""The way in for the operator of a node, and for nobody else: a Unix socket beside the data.

Only the user that the node runs as can open it, and no other machine. One line of JSON asks, one
line answers::

    {"ask": "parked.retry", "ids": ["6f1c..."]}
    {"result": ["6f1c..."]}
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from cloudstate_core.clock import Clock
from cloudstate_core.errors import CloudstateError
from cloudstate_runtime.durable.parking import Parking

__all__ = ["SOCKET_NAME", "NoNode", "ask_node", "open_admin"]

log = structlog.get_logger()

#: Name of the socket in the data directory.
SOCKET_NAME = "admin.sock"

#: Longest line. Lists of names fit in; a reply with very many parked messages may be longer.
_MAX_QUESTION_BYTES = 4 * 1024 * 1024
_MAX_ANSWER_BYTES = 256 * 1024 * 1024

#: How long a question may take to come, in seconds.
_QUESTION_TIMEOUT_S = 10.0

#: What the system allows for the name of a socket, with the byte that ends it.
_MAX_PATH_BYTES = 104

_PRIVATE_DIRECTORY, _NOT_FOR_OTHERS = 0o700, 0o177

Command = Callable[[Mapping[str, object]], Awaitable[object]]


class NoNode(Exception):
    """No node runs on a data directory, or none that can be asked."""


@asynccontextmanager
async def open_admin(
    data_dir: Path, parking: Parking, clock: Clock, *, more: Mapping[str, Command] | None = None
) -> AsyncIterator[None]:
    """Answer the operator. Whoever calls this owns the data directory.

    Args:
        data_dir: Where the socket is.
        parking: What can be done with parked messages.
        clock: The time.
        more: What else can be asked, by its name.
    """
    path = data_dir / SOCKET_NAME
    if len(os.fsencode(path)) >= _MAX_PATH_BYTES:
        log.warning("no_admin_socket", path=str(path), reason="the path is too long for a socket")
        yield
        return
    desk = _Desk({**_commands(parking), **(more or {})}, clock)
    server = await asyncio.start_unix_server(
        desk.serve, sock=_bound(path), limit=_MAX_QUESTION_BYTES
    )
    try:
        yield
    finally:
        server.close()
        await desk.aclose()
        path.unlink(missing_ok=True)


async def ask_node(data_dir: Path, question: Mapping[str, object]) -> object:
    """Ask the node that runs on a data directory.

    Raises:
        NoNode: There is none.
        CloudstateError: It could not do what was asked.
    """
    path = data_dir / SOCKET_NAME
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_ANSWER_BYTES)
    except OSError as error:
        raise NoNode(str(error)) from error
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        line = await reader.readline()
    except OSError as error:
        raise CloudstateError("the node went away; whether it did what was asked is unknown") from (
            error
        )
    finally:
        writer.close()
    if not line.endswith(b"\n"):
        raise CloudstateError("the node went away; whether it did what was asked is unknown")
    answer = json.loads(line)
    if "error" in answer:
        raise CloudstateError(str(answer["error"]))
    return answer["result"]


class _Desk:
    """Answers questions, one on each connection."""

    def __init__(self, commands: Mapping[str, Command], clock: Clock) -> None:
        self._commands = commands
        self._clock = clock
        self._running: set[asyncio.Task[object]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        try:
            async with self._clock.timeout(_QUESTION_TIMEOUT_S):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, OSError) as error:
            log.info("operator_not_served", reason=type(error).__name__)
        finally:
            writer.close()
            if task is not None:
                self._running.discard(task)

    async def aclose(self) -> None:
        """Give up what runs."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            question = json.loads(line)
            command = self._commands[question["ask"]]
        except (ValueError, TypeError, KeyError):
            return {"error": f"expected one of {sorted(self._commands)} to be asked"}
        try:
            return {"result": await command(question)}
        except CloudstateError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("operator_not_served", ask=question["ask"])
            return {"error": "the node failed to do it; see its log"}


def _commands(parking: Parking) -> Mapping[str, Command]:
    async def entries(_: Mapping[str, object]) -> object:
        return await parking.entries()

    async def retry(question: Mapping[str, object]) -> object:
        return await parking.retry(_names_in(question))

    async def drop(question: Mapping[str, object]) -> object:
        return await parking.drop(_names_in(question))

    return {"parked.list": entries, "parked.retry": retry, "parked.drop": drop}


def _names_in(question: Mapping[str, object]) -> list[str] | None:
    """Return the ids of a question; None if it means all.

    Raises:
        CloudstateError: They cannot be ids.
    """
    names = question.get("ids")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CloudstateError(f"expected ids to be a list of texts, found {type(names).__name__}")
    return names


def _bound(path: Path) -> socket.socket:
    path.parent.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    # One that was left behind: nobody else runs on this directory.
    with suppress(FileNotFoundError):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_NOT_FOR_OTHERS)
    try:
        bound.bind(os.fspath(path))
    finally:
        os.umask(before)
    return bound
