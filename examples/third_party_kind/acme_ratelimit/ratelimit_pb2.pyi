# mypy: ignore-errors
from cloudstate import entity_pb2 as _entity_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ToFunction(_message.Message):
    __slots__ = ("init", "command")
    INIT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    init: Init
    command: Spending
    def __init__(self, init: _Optional[_Union[Init, _Mapping]] = ..., command: _Optional[_Union[Spending, _Mapping]] = ...) -> None: ...

class Init(_message.Message):
    __slots__ = ("service_name", "entity_id")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    entity_id: str
    def __init__(self, service_name: _Optional[str] = ..., entity_id: _Optional[str] = ...) -> None: ...

class Spending(_message.Message):
    __slots__ = ("command", "available")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    command: _entity_pb2.Command
    available: int
    def __init__(self, command: _Optional[_Union[_entity_pb2.Command, _Mapping]] = ..., available: _Optional[int] = ...) -> None: ...

class FromFunction(_message.Message):
    __slots__ = ("terms", "reply", "failure")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    terms: Terms
    reply: Reply
    failure: _entity_pb2.Failure
    def __init__(self, terms: _Optional[_Union[Terms, _Mapping]] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., failure: _Optional[_Union[_entity_pb2.Failure, _Mapping]] = ...) -> None: ...

class Terms(_message.Message):
    __slots__ = ("capacity", "refill_per_s")
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    REFILL_PER_S_FIELD_NUMBER: _ClassVar[int]
    capacity: int
    refill_per_s: float
    def __init__(self, capacity: _Optional[int] = ..., refill_per_s: _Optional[float] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("command_id", "client_action", "side_effects", "taken")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ACTION_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECTS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    command_id: int
    client_action: _entity_pb2.ClientAction
    side_effects: _containers.RepeatedCompositeFieldContainer[_entity_pb2.SideEffect]
    taken: int
    def __init__(self, command_id: _Optional[int] = ..., client_action: _Optional[_Union[_entity_pb2.ClientAction, _Mapping]] = ..., side_effects: _Optional[_Iterable[_Union[_entity_pb2.SideEffect, _Mapping]]] = ..., taken: _Optional[int] = ...) -> None: ...

class Bucket(_message.Message):
    __slots__ = ("level", "unix_time_s")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    UNIX_TIME_S_FIELD_NUMBER: _ClassVar[int]
    level: float
    unix_time_s: float
    def __init__(self, level: _Optional[float] = ..., unix_time_s: _Optional[float] = ...) -> None: ...
_RATELIMITER: _descriptor.ServiceDescriptor
