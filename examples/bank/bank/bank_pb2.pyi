# mypy: ignore-errors
from bank import transfers_pb2 as _transfers_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ReportRequest(_message.Message):
    __slots__ = ("account_ids",)
    ACCOUNT_IDS_FIELD_NUMBER: _ClassVar[int]
    account_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, account_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportLine(_message.Message):
    __slots__ = ("account_id", "owner", "cents", "problem")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    owner: str
    cents: int
    problem: str
    def __init__(self, account_id: _Optional[str] = ..., owner: _Optional[str] = ..., cents: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...
_BANK: _descriptor.ServiceDescriptor
