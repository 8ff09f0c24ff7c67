"""What the gRPC server is told about limits."""

from __future__ import annotations

from cloudstate_core.frontend import Limits

__all__ = ["server_options"]

#: Connections are replaced now and then, so that leaks on either side end and clients spread over
#: what has been started since. gRPC adds a jitter of a tenth.
_MAX_CONNECTION_AGE_S = 30 * 60.0
_MAX_CONNECTION_AGE_GRACE_S = 30.0

#: A connection without calls costs a descriptor; a client opens another without noticing.
_MAX_CONNECTION_IDLE_S = 10 * 60.0


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """Return the channel arguments of the server."""
    return [
        # Otherwise a second process could take the same address unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        ("grpc.max_send_message_length", limits.max_request_bytes),
        # The first is where gRPC begins to refuse at random. One limit for both makes it certain.
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_concurrent_streams", limits.max_streams_per_connection),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.handshake_timeout_s)),
        ("grpc.max_connection_age_ms", _milliseconds(_MAX_CONNECTION_AGE_S)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(_MAX_CONNECTION_AGE_GRACE_S)),
        ("grpc.max_connection_idle_ms", _milliseconds(_MAX_CONNECTION_IDLE_S)),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
