# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetiredWriters(_message.Message):
    __slots__ = ("steps",)
    class Step(_message.Message):
        __slots__ = ("node", "epoch", "folds")
        NODE_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        FOLDS_FIELD_NUMBER: _ClassVar[int]
        node: str
        epoch: int
        folds: bool
        def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ..., folds: _Optional[bool] = ...) -> None: ...
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[RetiredWriters.Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[RetiredWriters.Step, _Mapping]]] = ...) -> None: ...
