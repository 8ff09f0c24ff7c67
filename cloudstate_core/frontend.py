"""Front ends: what turns a client's bytes into a `Request` and an `Outcome` into bytes.

All front ends share one port. The runtime accepts a connection, looks at its first bytes, and hands
it to the first front end that recognises them.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from cloudstate_core.clock import Clock
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.handler import CommandHandler

__all__ = ["Acceptor", "Deployment", "FrontEnd", "FrontEndHost", "Limits", "Served"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a front end refuses.

    Attributes:
        max_request_bytes: Largest request message.
        max_metadata_bytes: Largest block of headers.
        max_path_bytes: Longest path with query.
        max_query_parameters: Most query parameters.
        max_json_depth: Deepest nesting of a JSON body.
        max_json_nodes: Most values in a JSON body.
        max_commands_in_flight: Most requests that are served at a time, over all front ends.
        min_commands_in_flight: So many are served at a time in any case.
        max_loop_lag_s: By how much turns of the event loop may be late, in seconds, before fewer
            requests are served at a time.
        adaptive_admission: Whether it matters how late the loop is.
        max_connections: Most connections at a time.
        max_streams_per_connection: Most calls at a time on one HTTP/2 connection.
        handshake_timeout_s: How long a connection may take for its first bytes, in seconds.
        default_deadline_s: Time for a call whose caller sets no deadline, in seconds.
        max_deadline_s: Longest deadline a caller may set, in seconds.
    """

    max_request_bytes: int = 4 * 1024 * 1024
    max_metadata_bytes: int = 16 * 1024
    max_path_bytes: int = 8 * 1024
    max_query_parameters: int = 256
    max_json_depth: int = 64
    max_json_nodes: int = 100_000
    max_commands_in_flight: int = 10_000
    min_commands_in_flight: int = 64
    max_loop_lag_s: float = 0.0015
    adaptive_admission: bool = True
    max_connections: int = 1024
    max_streams_per_connection: int = 128
    handshake_timeout_s: float = 10.0
    default_deadline_s: float = 60.0
    max_deadline_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """What one user function serves, as discovery accepted it.

    Attributes:
        name: Where the user function is, for people.
        entities: Its services.
        files: Every file it announced.
        pool: A descriptor pool of its own, holding those files.
    """

    name: str
    entities: tuple[DeployedEntity, ...]
    files: FileDescriptorSet
    pool: DescriptorPool


class Served(Protocol):
    """What is served at the moment.

    Attributes:
        revision: Changes whenever the rest does; compare it to know whether to rebuild.
        deployments: One for each user function.
        entities: Every service by its full name.
    """

    revision: int
    deployments: Sequence[Deployment]
    entities: Mapping[str, DeployedEntity]


class FrontEndHost(Protocol):
    """What the runtime gives to a front end.

    Attributes:
        handler: Where requests go.
        served: What is served.
        limits: What to refuse.
        clock: The time; a request's deadline is on its monotonic time.
        sections: The sections of the settings, by name. One that is missing was not loaded, and
            holds its defaults.
    """

    handler: CommandHandler
    served: Served
    limits: Limits
    clock: Clock
    sections: Mapping[str, object]

    def is_ready(self) -> bool:
        """Return whether commands can be served now: discovered, store up, not draining."""
        ...


class Acceptor(Protocol):
    """A front end that is open."""

    async def accept(self, connection: socket.socket) -> None:
        """Take over an accepted connection of which nothing was read yet.

        Returns as soon as the connection is taken over.
        """
        ...

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls, tell peers to go elsewhere, and finish what runs.

        Returns when nothing runs any more, after `grace_s` seconds at the latest.
        """
        ...


class FrontEnd(ABC):
    """One way in.

    Attributes:
        name: One word, unique in the process.
        order: Front ends are asked in ascending order whether a connection is theirs.
    """

    name: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def recognises(self, first_bytes: bytes) -> bool | None:
        """Return whether a connection that starts like this is for this front end.

        Args:
            first_bytes: What has arrived, at least one byte.

        Returns:
            True or False; None if more bytes are needed to tell.
        """

    @abstractmethod
    def open(self, host: FrontEndHost) -> AbstractAsyncContextManager[Acceptor]:
        """Start, and stop in the end. Listens on nothing that other machines can reach."""

    def faults(self, entities: Sequence[DeployedEntity]) -> Iterable[str]:
        """Name what this front end could not serve, one sentence each.

        Called at discovery, for the services of one user function.
        """
        del entities
        return ()
