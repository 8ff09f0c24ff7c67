"""Bare servers that only echo: what the transport costs without anything behind it.

python -m bench.echo_servers grpc|stream|elements|http
    prints `127.0.0.1:PORT` and serves until killed
"""

from __future__ import annotations

import socket
import sys

import grpc.aio
import uvloop

__all__ = ["ELEMENTS", "main"]

#: How often one request is answered by the server of elements.
ELEMENTS = 1_000

_INIT = b"\x0a"  # field 1 of EventSourcedStreamIn


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, handler: grpc.RpcMethodHandler) -> None:
        self._handler = handler

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        del details
        return self._handler


async def _answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    del context
    return request


async def _answer_each(requests, context):  # as grpc.aio says
    del context
    async for request in requests:
        # As on an entity's stream, the first message is not answered.
        if request[:1] != _INIT:
            yield request


async def _answer_often(request, context):  # as grpc.aio says
    del context
    for _ in range(ELEMENTS):
        yield request


async def _serve_grpc() -> None:
    await _serve(grpc.unary_unary_rpc_method_handler(_answer))


async def _serve_stream() -> None:
    await _serve(grpc.stream_stream_rpc_method_handler(_answer_each))


async def _serve_elements() -> None:
    await _serve(grpc.unary_stream_rpc_method_handler(_answer_often))


async def _serve(handler: grpc.RpcMethodHandler) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(handler),))
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
    """Serve one of them."""
    servers = {
        "grpc": _serve_grpc,
        "stream": _serve_stream,
        "elements": _serve_elements,
        "http": _serve_http,
    }
    uvloop.run(servers[sys.argv[1]]())


if __name__ == "__main__":
    main()
