"""The proxy's gRPC reflection."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from grpc_reflection.v1alpha.reflection_pb2 import (
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.proxy_client import REFLECTION

__all__ = ["CASES"]


async def reflection(examination: Examination) -> None:
    """Ask three questions on one stream, then end it."""
    host = examination.the_proxy().address.rpartition(":")[0]
    services = ListServiceResponse(
        service=[ServiceResponse(name=name) for name in (REFLECTION, *sorted(examination.services))]
    )
    listing = ServerReflectionRequest(host=host, list_services="")
    listing_nonsense = ServerReflectionRequest(host=host, list_services="nonsense.blabla.")
    unknown = ServerReflectionRequest(host=host, file_containing_symbol="nonsense.blabla.Void")
    no_files = ServerReflectionResponse(valid_host=host, original_request=unknown)
    no_files.file_descriptor_response.SetInParent()

    call = examination.the_proxy().reflect()
    try:
        async with asyncio.timeout(examination.conditions.patience_s):
            for question in (listing, listing_nonsense):
                expected = ServerReflectionResponse(
                    valid_host=host, original_request=question, list_services_response=services
                )
                await _expect_answer(call, question, expected)
            await _expect_answer(call, unknown, no_files)
            await call.done_writing()
            found = await call.read()
    except TimeoutError:
        found = f"nothing within {examination.conditions.patience_s:g} s"
        raise Mismatch("reflection", expected="an answer", found=found) from None
    except grpc.aio.AioRpcError as error:
        found = f"{error.code().name}: {error.details()}"
        raise Mismatch("reflection", expected="an answer", found=found) from None
    finally:
        call.cancel()
    if found is not grpc.aio.EOF:
        raise Mismatch("reflection after the half-close", expected="its end", found=found)


async def _expect_answer(
    call: Any, question: ServerReflectionRequest, expected: ServerReflectionResponse
) -> None:
    await call.write(question)
    asked = question.WhichOneof("message_request")
    found = await call.read()
    if found is grpc.aio.EOF:
        raise Mismatch(f"the answer to {asked}", expected=expected, found="the end of the stream")
    expect_equal(f"the answer to {asked}", expected, found)


CASES = (
    Case(
        id="R1",
        title="server reflection lists the services and answers what it does not know",
        kind="reflection",
        phase=Phase.REFLECTION,
        needs=frozenset(),
        run=reflection,
    ),
)
