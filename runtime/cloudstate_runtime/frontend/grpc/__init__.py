"""The front end for gRPC."""

from __future__ import annotations

from cloudstate_runtime.frontend.grpc.front import GrpcFrontEnd
from cloudstate_runtime.frontend.grpc.settings import GrpcSettings

__all__ = ["GrpcFrontEnd", "GrpcSettings"]
