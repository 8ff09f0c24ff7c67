# mypy: ignore-errors
from cloudstate import entity_key_pb2 as _entity_key_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Texts(_message.Message):
    __slots__ = ("id", "texts", "to", "synchronous")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONOUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    to: str
    synchronous: bool
    def __init__(self, id: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., to: _Optional[str] = ..., synchronous: _Optional[bool] = ...) -> None: ...

class Board(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Text(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Note(_message.Message):
    __slots__ = ("text", "earlier")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    text: str
    earlier: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, text: _Optional[str] = ..., earlier: _Optional[_Iterable[str]] = ...) -> None: ...
_PINBOARD: _descriptor.ServiceDescriptor
_ARCHIVE: _descriptor.ServiceDescriptor
