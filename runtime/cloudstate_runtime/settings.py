"""Settings of the runtime, section `[runtime]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cloudstate_core.settings import Between, Env
from cloudstate_core.store import KEEP_REPLIES, KEEP_REPLIES_S
from cloudstate_core.transport import check_node_name

__all__ = ["ALL_SERVICES", "DEFAULT_NODE", "RuntimeSettings"]

#: In a list of services: all of them.
ALL_SERVICES = "*"

#: What a node is called that is the only one.
DEFAULT_NODE = "local"

_SERVICE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How the runtime serves.

    Attributes:
        host: Interface of the front door. Anything but a loopback address opens it to others.
        port: Port of the front door; 0 lets the system choose.
        user_function_host: Where the user function is, if it is another process.
        user_function_port: On which port.
        store: Name of the store backend. Empty for the one that is installed and durable.
        data_dir: Where a store that writes files keeps them.
        node: Name of this node, unique among those that serve together: letters, digits and
            ". _ -". The name stays with the data directory.
        transport: How nodes are connected, as SCHEME://ADDRESS; empty if this is the only one.
        heartbeat_interval_s: How often a node tells the others that it is there, in seconds.
        unreachable_after_s: Who was not heard of for so long, in seconds, counts as unreachable.
            It stays a member until it is expelled.
        join_timeout_s: How long a node that starts waits for the others' answers, in seconds.
        passivation_timeout_s: Idle time after which an entity leaves memory, in seconds, unless
            the entity says otherwise.
        relay_timeout_s: How long a user function may take for one reply, in seconds.
        default_deadline_s: Time for a request whose client sets no deadline, in seconds.
        max_deadline_s: Longest deadline a client may set, in seconds.
        max_waiting_commands: How many commands may wait at one entity.
        max_active_entities: How many entities of one service may be in memory. Above that the
            least recently used idle one leaves; while all are busy, newcomers are refused.
        max_commands_in_flight: How many requests are served at once; more are refused.
        min_commands_in_flight: How many are served at once even if the event loop is late.
        max_loop_lag_s: By how much turns of the event loop may be late, in seconds, before fewer
            requests are let in.
        adaptive_admission: Whether it matters how late the event loop is; if not, only
            `max_commands_in_flight` bounds what is served at once.
        max_connections: How many connections the front door keeps open.
        drain_grace_s: How long requests may take to finish at shutdown, in seconds.
        max_hops: How often a request may be passed on by forwards and side effects.
        max_pending_effects: How many asynchronous side effects may run at once; beyond that the
            command that asks for one waits for it.
        max_message_hops: Through how many messages, one causing the next, a command may come.
        max_delivery_attempts: After so many attempts that failed a message is parked.
        delivery_backoff_min_s: First wait after a failed attempt to deliver, in seconds.
        delivery_backoff_max_s: Longest wait after a failed attempt to deliver, in seconds.
        delivery_timeout_s: How long one attempt to deliver may take, in seconds.
        max_deliveries_at_once: How many messages may be on their way at once.
        max_messages_in_memory: How many messages wait in memory, about; more wait in the store.
        discovery_backoff_min_s: First wait between attempts to discover, in seconds.
        discovery_backoff_max_s: Longest wait between attempts to discover, in seconds.
        max_spec_bytes: Largest set of descriptors that a user function may announce.
        max_function_message_bytes: Largest message accepted from a user function.
        stream_close_timeout_s: How long a user function may take to end a stream, in seconds.
        max_request_bytes: Largest request message of a client.
        command_metadata_services: Full names of the services whose entities get the headers of
            their clients; "*" stands for all. The others get none, as the protocol has it.
        keep_replies_s: For how long the answer to a command with an idempotency key is kept, in
            seconds. A command that is sent again after that is carried out again.
        max_kept_replies: How many such answers are kept of one entity: the newest.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Between(0, 65535), Env("HTTP_PORT")] = 9000
    user_function_host: Annotated[str, Env("USER_FUNCTION_HOST")] = "127.0.0.1"
    user_function_port: Annotated[int, Between(1, 65535), Env("USER_FUNCTION_PORT")] = 8080
    store: str = ""
    data_dir: Path = Path("cloudstate-data")
    node: str = DEFAULT_NODE
    transport: str = ""
    heartbeat_interval_s: Annotated[float, Between(0.01, 3600)] = 1.0
    unreachable_after_s: Annotated[float, Between(0.01, 86_400)] = 5.0
    join_timeout_s: Annotated[float, Between(0, 3600)] = 2.0
    passivation_timeout_s: Annotated[float, Between(0.01, 86_400)] = 30.0
    relay_timeout_s: Annotated[float, Between(0.01, 86_400)] = 60.0
    default_deadline_s: Annotated[float, Between(0.01, 86_400)] = 60.0
    max_deadline_s: Annotated[float, Between(0.01, 86_400)] = 300.0
    max_waiting_commands: Annotated[int, Between(1, 1_000_000)] = 100
    max_active_entities: Annotated[int, Between(1, 10_000_000)] = 10_000
    max_commands_in_flight: Annotated[int, Between(1, 1_000_000)] = 10_000
    min_commands_in_flight: Annotated[int, Between(1, 1_000_000)] = 64
    max_loop_lag_s: Annotated[float, Between(0.0001, 60)] = 0.0015
    adaptive_admission: bool = True
    max_connections: Annotated[int, Between(1, 1_000_000)] = 1_024
    drain_grace_s: Annotated[float, Between(0, 3600)] = 10.0
    max_hops: Annotated[int, Between(1, 1_000)] = 16
    max_pending_effects: Annotated[int, Between(1, 1_000_000)] = 1_000
    max_message_hops: Annotated[int, Between(1, 1_000_000)] = 1_000
    max_delivery_attempts: Annotated[int, Between(1, 1_000_000)] = 20
    delivery_backoff_min_s: Annotated[float, Between(0.001, 3600)] = 0.1
    delivery_backoff_max_s: Annotated[float, Between(0.001, 86_400)] = 60.0
    delivery_timeout_s: Annotated[float, Between(0.01, 86_400)] = 60.0
    max_deliveries_at_once: Annotated[int, Between(1, 100_000)] = 256
    max_messages_in_memory: Annotated[int, Between(1, 10_000_000)] = 10_000
    discovery_backoff_min_s: Annotated[float, Between(0.01, 3600)] = 1.0
    discovery_backoff_max_s: Annotated[float, Between(0.01, 3600)] = 10.0
    max_spec_bytes: Annotated[int, Between(1024, 1024 * _MIB)] = 4 * _MIB
    max_function_message_bytes: Annotated[int, Between(1024, 1024 * _MIB)] = 12 * _MIB
    stream_close_timeout_s: Annotated[float, Between(0.01, 3600)] = 2.0
    max_request_bytes: Annotated[int, Between(1024, 1024 * _MIB)] = 4 * _MIB
    command_metadata_services: tuple[str, ...] = ()
    keep_replies_s: Annotated[float, Between(0.01, 366 * 86_400)] = KEEP_REPLIES_S
    max_kept_replies: Annotated[int, Between(1, 10_000_000)] = KEEP_REPLIES

    def __post_init__(self) -> None:
        """Refuse what cannot be the name of a node or of a service.

        Raises:
            ValueError: Naming the key and the first such name.
        """
        try:
            check_node_name(self.node)
        except ValueError as error:
            raise ValueError(f"key 'node': {error}") from error
        for name in self.command_metadata_services:
            if name != ALL_SERVICES and not _SERVICE_NAME.fullmatch(name):
                raise ValueError(
                    f"key 'command_metadata_services': expected the full name of a service, such "
                    f"as 'shop.Orders', or '{ALL_SERVICES}', found {name!r}"
                )

    def passes_command_metadata(self, service_name: str) -> bool:
        """Return whether the entities of a service get the headers of their clients."""
        names = self.command_metadata_services
        return service_name in names or ALL_SERVICES in names
