# mypy: ignore-errors
from cloudstate import entity_key_pb2 as _entity_key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Article(_message.Message):
    __slots__ = ("article",)
    ARTICLE_FIELD_NUMBER: _ClassVar[int]
    article: str
    def __init__(self, article: _Optional[str] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("article", "reader")
    ARTICLE_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    article: str
    reader: str
    def __init__(self, article: _Optional[str] = ..., reader: _Optional[str] = ...) -> None: ...

class Total(_message.Message):
    __slots__ = ("likes",)
    LIKES_FIELD_NUMBER: _ClassVar[int]
    likes: int
    def __init__(self, likes: _Optional[int] = ...) -> None: ...
_LIKES: _descriptor.ServiceDescriptor
