"""gRPC reflection, from what the user functions announced.

Both versions of the protocol have the same messages under different names, so one implementation
answers both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import (
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

from cloudstate_core.frontend import Served
from cloudstate_core.status import Status
from cloudstate_runtime.frontend.calls import Refusal
from cloudstate_runtime.frontend.grpc.call import Call, Conversation, Method
from cloudstate_runtime.frontend.grpc.descriptors import DescriptorIndex
from cloudstate_runtime.frontend.grpc.status import Aborted

__all__ = ["REFLECTION_SERVICES", "Reflection", "ReflectionAnswers"]

#: The version that tools ask for first, and the one that older tools know.
REFLECTION_SERVICES = (
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)


class ReflectionAnswers:
    """Answers questions about what is served at the moment.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._revision: int | None = None
        self._index = DescriptorIndex(())

    def answer(self, service: str, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """Answer one question.

        An unknown file, symbol or extension is answered with no files, not with an error
        (Cloudstate protocol, reflection).

        Args:
            service: The reflection service that was asked; it lists itself first.
            request: The question.
        """
        response = ServerReflectionResponse(valid_host=request.host, original_request=request)
        index = self._current_index()
        match request.WhichOneof("message_request"):
            case "list_services":
                names = (service, *sorted(self._served.entities))
                response.list_services_response.CopyFrom(
                    ListServiceResponse(service=[ServiceResponse(name=name) for name in names])
                )
            case "file_by_filename":
                _add_files(response, index.file_by_name(request.file_by_filename))
            case "file_containing_symbol":
                _add_files(response, index.file_with_symbol(request.file_containing_symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                _add_files(
                    response,
                    index.file_with_extension(wanted.containing_type, wanted.extension_number),
                )
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                response.all_extension_numbers_response.CopyFrom(
                    ExtensionNumberResponse(
                        base_type_name=name, extension_number=index.extension_numbers(name)
                    )
                )
            case _:
                response.error_response.CopyFrom(
                    ErrorResponse(
                        error_code=Status.INVALID_ARGUMENT, error_message="the request is empty"
                    )
                )
        return response

    def _current_index(self) -> DescriptorIndex:
        if self._served.revision != self._revision:
            self._revision = self._served.revision
            self._index = DescriptorIndex(self._files())
        return self._index

    def _files(self) -> Iterator[FileDescriptorProto]:
        for deployment in self._served.deployments:
            yield from deployment.files.file
        own = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(own)
        yield own


def _add_files(response: ServerReflectionResponse, files: Any) -> None:
    # Also if there are none: the presence of the field is the answer.
    response.file_descriptor_response.CopyFrom(FileDescriptorResponse(file_descriptor_proto=files))


class Reflection:
    """The reflection services.

    Args:
        answers: Answers the questions.
    """

    def __init__(self, answers: ReflectionAnswers) -> None:
        self._answers = answers

    def methods(self) -> dict[str, Method]:
        """Return the methods by path."""
        return {
            f"/{service}/ServerReflectionInfo": self._method(service)
            for service in REFLECTION_SERVICES
        }

    def _method(self, service: str) -> Method:
        async def converse(call: Call) -> None:
            while (payload := await call.read()) is not None:
                try:
                    request = ServerReflectionRequest.FromString(payload)
                except DecodeError as error:
                    reason = f"not a request: {error}"
                    raise Aborted(Refusal(Status.INVALID_ARGUMENT, reason)) from error
                await call.write(self._answers.answer(service, request).SerializeToString())

        return Conversation(converse)
