# mypy: ignore-errors
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Opened(_message.Message):
    __slots__ = ("owner",)
    OWNER_FIELD_NUMBER: _ClassVar[int]
    owner: str
    def __init__(self, owner: _Optional[str] = ...) -> None: ...

class Deposited(_message.Message):
    __slots__ = ("cents",)
    CENTS_FIELD_NUMBER: _ClassVar[int]
    cents: int
    def __init__(self, cents: _Optional[int] = ...) -> None: ...

class Withdrawn(_message.Message):
    __slots__ = ("cents",)
    CENTS_FIELD_NUMBER: _ClassVar[int]
    cents: int
    def __init__(self, cents: _Optional[int] = ...) -> None: ...

class Debited(_message.Message):
    __slots__ = ("transfer_id", "cents")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cents: int
    def __init__(self, transfer_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class Credited(_message.Message):
    __slots__ = ("transfer_id", "cents")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cents: int
    def __init__(self, transfer_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class Refunded(_message.Message):
    __slots__ = ("transfer_id", "cents")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    transfer_id: str
    cents: int
    def __init__(self, transfer_id: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("owner", "cents")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CENTS_FIELD_NUMBER: _ClassVar[int]
    owner: str
    cents: int
    def __init__(self, owner: _Optional[str] = ..., cents: _Optional[int] = ...) -> None: ...
