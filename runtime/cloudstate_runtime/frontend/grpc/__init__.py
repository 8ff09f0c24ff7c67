"""The front end for gRPC."""

from __future__ import annotations

from cloudstate_runtime.frontend.grpc.front import GrpcFrontEnd

__all__ = ["GrpcFrontEnd"]
