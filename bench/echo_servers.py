"""Bare servers that only echo: what the transport costs without anything behind it.

python -m bench.echo_servers grpc|http       prints `127.0.0.1:PORT` and serves until killed
"""

from __future__ import annotations

import socket
import sys

import grpc.aio
import uvloop

__all__ = ["main"]


class _Echo(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(_answer)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        del details
        return self._handler


async def _answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    del context
    return request


async def _serve_grpc() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def _application(scope, receive, send) -> None:  # as ASGI says
    del scope
    body = (await receive())["body"]
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _serve_http() -> None:
    import uvicorn  # only this server needs it

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        _application, log_level="error", access_log=False, lifespan="off", http="httptools"
    )
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve one of the two."""
    uvloop.run({"grpc": _serve_grpc, "http": _serve_http}[sys.argv[1]]())


if __name__ == "__main__":
    main()
