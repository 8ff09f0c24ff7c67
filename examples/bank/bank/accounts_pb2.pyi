# mypy: ignore-errors
from cloudstate import entity_key_pb2 as _entity_key_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class OpenAccount(_message.Message):
    __slots__ = ("account_id", "owner")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    owner: str
    def __init__(self, account_id: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class DepositMoney(_message.Message):
    __slots__ = ("account_id", "cents")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    cents: int
    def __init__(self, account_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class WithdrawMoney(_message.Message):
    __slots__ = ("account_id", "cents")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    cents: int
    def __init__(self, account_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class GetAccountBalance(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class AccountBalance(_message.Message):
    __slots__ = ("account_id", "owner", "cents")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    owner: str
    cents: int
    def __init__(self, account_id: _Optional[str] = ..., owner: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class TransferStep(_message.Message):
    __slots__ = ("account_id", "transfer_id", "cents")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    transfer_id: str
    cents: int
    def __init__(self, account_id: _Optional[str] = ..., transfer_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...
_ACCOUNT: _descriptor.ServiceDescriptor
