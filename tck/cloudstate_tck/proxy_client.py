"""A client of the services that a proxy serves, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
import httpx
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from cloudstate_core.errors import ConfigurationError
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.function_client import CHANNEL_OPTIONS, ProtocolStream

__all__ = ["REFLECTION", "Failed", "ProxyClient"]

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"

RETRY_EVERY_S = 0.1


class Failed(Exception):
    """A call was answered with a failure.

    Attributes:
        code: The gRPC status.
        description: Its text.
    """

    def __init__(self, code: grpc.StatusCode, description: str) -> None:
        self.code, self.description = code, description
        super().__init__(f"{code.name}: {description}")


class ProxyClient:
    """A client of one proxy."""

    def __init__(self, address: str, http_address: str = "", *, patience_s: float) -> None:
        """Aim at a proxy; connects when it is first used.

        Args:
            address: `HOST:PORT` for gRPC.
            http_address: `HOST:PORT` for HTTP; that for gRPC by default.
            patience_s: How long a call may take, in seconds.
        """
        self.address = address
        self._http_address = http_address or address
        self._patience_s = patience_s

    async def __aenter__(self) -> Self:
        self.channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._http = httpx.AsyncClient(
            base_url=f"http://{self._http_address}", timeout=self._patience_s, trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()
        await self.channel.close()

    async def wait_until_it_answers(self, *, within_s: float) -> None:
        """Ask over HTTP until there is any response at all.

        Raises:
            ConfigurationError: If there is none in time.
        """
        reason = "no answer"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    try:
                        await self._http.get("/")
                    except httpx.HTTPError as error:
                        reason = str(error) or type(error).__name__
                    else:
                        return
                    await asyncio.sleep(RETRY_EVERY_S)
        except TimeoutError:
            raise ConfigurationError(
                f"the proxy at {self._http_address} did not answer HTTP within {within_s:g} s "
                f"({reason}): start it, or name another address"
            ) from None

    async def wait_until_it_serves(self, services: Collection[str]) -> None:
        """Ask over reflection until all the services are listed; give up if there is none."""
        while True:
            try:
                listed = await self._listed_services()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return
            else:
                if listed.issuperset(services):
                    return
            await asyncio.sleep(RETRY_EVERY_S)

    async def _listed_services(self) -> set[str]:
        call = self.reflect()
        try:
            await call.write(ServerReflectionRequest(list_services=""))
            answer = await call.read()
        finally:
            call.cancel()
        if answer is grpc.aio.EOF:
            return set()
        return {service.name for service in answer.list_services_response.service}

    def reflect(self) -> Any:
        """Open a stream of reflection questions and answers."""
        ask: Callable[..., Any] = self.channel.stream_stream(
            f"/{REFLECTION}/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        return ask()

    async def call(
        self, service: str, method: str, request: Message, response_class: type[Out]
    ) -> Out:
        """Make a unary call.

        Raises:
            Failed: If it is answered with a failure.
            Mismatch: If it is not answered in time, or with bytes that are no response.
        """
        data = await self.call_for_bytes(service, method, request, patience_s=self._patience_s)
        try:
            return response_class.FromString(data)
        except DecodeError:
            raise Mismatch(
                f"the response of {service}/{method}",
                expected=f"a {response_class.DESCRIPTOR.full_name}",
                found=f"{len(data)} bytes that are none",
            ) from None

    async def call_for_bytes(
        self, service: str, method: str, request: Message, *, patience_s: float
    ) -> bytes:
        """Make a unary call and return the response as it came.

        No deadline is sent along, so that it is the proxy who decides how long a call may take.

        Raises:
            Failed: If it is answered with a failure.
            Mismatch: If it is not answered in time.
        """
        invoke: Callable[..., Any] = self.channel.unary_unary(
            f"/{service}/{method}", request_serializer=type(request).SerializeToString
        )
        try:
            async with asyncio.timeout(patience_s):
                data: bytes = await invoke(request)
        except grpc.aio.AioRpcError as error:
            raise Failed(error.code(), error.details() or "") from None
        except TimeoutError:
            found = f"nothing within {patience_s:g} s"
            what = f"the response of {service}/{method}"
            raise Mismatch(what, expected="an answer", found=found) from None
        return data

    async def expect(self, service: str, method: str, request: Message, expected: Out) -> None:
        """Make a unary call and compare the response.

        Raises:
            Mismatch: If it is another one, or a failure.
        """
        what = f"the response of {service}/{method}"
        try:
            found = await self.call(service, method, request, type(expected))
        except Failed as failed:
            raise Mismatch(what, expected=expected, found=f"the failure {failed}") from None
        expect_equal(what, expected, found)

    async def expect_failure(
        self, service: str, method: str, request: Message, response_class: type[Out], text: str
    ) -> None:
        """Make a unary call that must fail with a description.

        Raises:
            Mismatch: If it succeeds, or says something else.
        """
        what = f"the failure of {service}/{method}"
        try:
            found = await self.call(service, method, request, response_class)
        except Failed as failed:
            expect_equal(what, text, failed.description)
        else:
            raise Mismatch(what, expected=repr(text), found=found)

    @asynccontextmanager
    async def stream(
        self, service: str, method: str, request_class: type[In], response_class: type[Out]
    ) -> AsyncIterator[ProtocolStream[In, Out]]:
        """Call a method that streams in either direction; it is cut at the end if it goes on.

        No deadline is sent along.
        """
        invoke: Callable[..., Any] = self.channel.stream_stream(
            f"/{service}/{method}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        call = invoke()
        try:
            yield ProtocolStream(call, self._patience_s)
        finally:
            call.cancel()

    async def expect_json(self, path: str, body: object, expected: object) -> None:
        """POST JSON and compare the JSON that comes back with status 200.

        Raises:
            Mismatch: If status, content type or body differ.
        """
        response = await self._post(path, body)
        what = f"POST {path}"
        expect_equal(f"the status of {what}", 200, response.status_code)
        content_type = response.headers.get("content-type", "").partition(";")[0].strip()
        expect_equal(f"the content type of {what}", "application/json", content_type)
        try:
            found = response.json()
        except ValueError:
            raise Mismatch(
                f"the body of {what}", expected="JSON", found=repr(response.text)
            ) from None
        expect_equal(f"the body of {what}", expected, found)

    async def expect_http_failure(self, path: str, body: object, text: str) -> None:
        """POST JSON and expect status 500 with a text as the body.

        Raises:
            Mismatch: If status or body differ.
        """
        response = await self._post(path, body)
        expect_equal(f"the status of POST {path}", 500, response.status_code)
        expect_equal(f"the body of POST {path}", text, response.text)

    async def _post(self, path: str, body: object) -> httpx.Response:
        try:
            return await self._http.post(
                f"/{path}",
                content=json.dumps(body),
                headers={"content-type": "application/json"},
            )
        except httpx.HTTPError as error:
            found = f"{type(error).__name__} {error}".strip()
            raise Mismatch(f"POST {path}", expected="a response", found=found) from None
