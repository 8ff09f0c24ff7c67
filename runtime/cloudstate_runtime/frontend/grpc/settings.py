"""Settings of the gRPC front end, section `[grpc]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cloudstate_core.settings import Between

__all__ = ["GrpcSettings"]

#: What leaves with the first window of a TCP connection (RFC 6928: ten segments) arrives no sooner
#: for being smaller, and packing costs processor time on both sides.
DEFAULT_GZIP_ABOVE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """How gRPC is served.

    Attributes:
        reflection: Whether to answer reflection, which tells anybody what is served.
        gzip_above_bytes: Messages above this size are sent packed with gzip to clients that accept
            it. A size above every message sends none packed.
    """

    reflection: bool = True
    gzip_above_bytes: Annotated[int, Between(0, 1024**3)] = DEFAULT_GZIP_ABOVE_BYTES
