# mypy: ignore-errors
from cloudstate import entity_key_pb2 as _entity_key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("id", "answers", "when_cancelled", "held")
    ID_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    WHEN_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    id: str
    answers: _containers.RepeatedScalarFieldContainer[bytes]
    when_cancelled: _containers.RepeatedScalarFieldContainer[bytes]
    held: bool
    def __init__(self, id: _Optional[str] = ..., answers: _Optional[_Iterable[bytes]] = ..., when_cancelled: _Optional[_Iterable[bytes]] = ..., held: _Optional[bool] = ...) -> None: ...

class Word(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...
_PUPPET: _descriptor.ServiceDescriptor
