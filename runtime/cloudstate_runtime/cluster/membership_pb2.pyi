# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeRecord(_message.Message):
    __slots__ = ("name", "epoch", "expelled_epoch", "forgotten_epoch", "mark")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPELLED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    name: str
    epoch: int
    expelled_epoch: int
    forgotten_epoch: int
    mark: int
    def __init__(self, name: _Optional[str] = ..., epoch: _Optional[int] = ..., expelled_epoch: _Optional[int] = ..., forgotten_epoch: _Optional[int] = ..., mark: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("process", "asks", "answers", "nodes", "horizon")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    process: int
    asks: bool
    answers: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeRecord]
    horizon: int
    def __init__(self, process: _Optional[int] = ..., asks: _Optional[bool] = ..., answers: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeRecord, _Mapping]]] = ..., horizon: _Optional[int] = ...) -> None: ...

class KeptNodes(_message.Message):
    __slots__ = ("node", "nodes", "horizon", "epoch", "mark")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    node: str
    nodes: _containers.RepeatedCompositeFieldContainer[NodeRecord]
    horizon: int
    epoch: int
    mark: int
    def __init__(self, node: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[NodeRecord, _Mapping]]] = ..., horizon: _Optional[int] = ..., epoch: _Optional[int] = ..., mark: _Optional[int] = ...) -> None: ...
