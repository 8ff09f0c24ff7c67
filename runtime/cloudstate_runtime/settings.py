"""Settings of the runtime, section `[runtime]`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RuntimeSettings"]


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How the runtime serves.

    Attributes:
        host: Interface of the front door. Anything but a loopback address opens it to others.
        port: Port of the front door; 0 lets the system choose.
        store: Name of the store backend.
        data_dir: Where a store that writes files keeps them.
        passivation_timeout_s: Idle time after which an entity leaves memory, in seconds, unless
            the entity says otherwise.
        relay_timeout_s: How long a user function may take for one reply, in seconds.
        max_waiting_commands: How many commands may wait at one entity.
        max_active_entities: How many entities of one service may be in memory; above that the
            least recently used idle ones leave.
        max_commands_in_flight: How many requests are served at once; more are refused.
        drain_grace_s: How long requests may take to finish at shutdown, in seconds.
        max_hops: How often a request may be passed on by forwards and side effects.
        max_pending_effects: How many asynchronous side effects may run at once; beyond that the
            command that asks for one waits for it.
        discovery_backoff_min_s: First wait between attempts to discover, in seconds.
        discovery_backoff_max_s: Longest wait between attempts to discover, in seconds.
        max_spec_bytes: Largest set of descriptors that a user function may announce.
        max_function_message_bytes: Largest message accepted from a user function.
        stream_close_timeout_s: How long a user function may take to end a stream, in seconds.
        max_request_bytes: Largest request message of a client.
        reflection: Whether the front door answers gRPC reflection.
    """

    host: str = "127.0.0.1"
    port: int = 9000
    store: str = ""
    data_dir: str = "cloudstate-data"
    passivation_timeout_s: float = 30.0
    relay_timeout_s: float = 60.0
    max_waiting_commands: int = 100
    max_active_entities: int = 10_000
    max_commands_in_flight: int = 10_000
    drain_grace_s: float = 10.0
    max_hops: int = 16
    max_pending_effects: int = 1_000
    discovery_backoff_min_s: float = 1.0
    discovery_backoff_max_s: float = 10.0
    max_spec_bytes: int = 4 * 1024 * 1024
    max_function_message_bytes: int = 12 * 1024 * 1024
    stream_close_timeout_s: float = 2.0
    max_request_bytes: int = 4 * 1024 * 1024
    reflection: bool = True
