# mypy: ignore-errors
from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TypedState(_message.Message):
    __slots__ = ("type", "state")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    type: str
    state: bytes
    def __init__(self, type: _Optional[str] = ..., state: _Optional[bytes] = ...) -> None: ...

class Writer(_message.Message):
    __slots__ = ("node", "epoch", "strand")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STRAND_FIELD_NUMBER: _ClassVar[int]
    node: str
    epoch: int
    strand: int
    def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ..., strand: _Optional[int] = ...) -> None: ...

class Count(_message.Message):
    __slots__ = ("writer", "count")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    writer: Writer
    count: int
    def __init__(self, writer: _Optional[_Union[Writer, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class GCounterState(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[Count]
    def __init__(self, counts: _Optional[_Iterable[_Union[Count, _Mapping]]] = ...) -> None: ...

class PNCounterState(_message.Message):
    __slots__ = ("increments", "decrements")
    INCREMENTS_FIELD_NUMBER: _ClassVar[int]
    DECREMENTS_FIELD_NUMBER: _ClassVar[int]
    increments: GCounterState
    decrements: GCounterState
    def __init__(self, increments: _Optional[_Union[GCounterState, _Mapping]] = ..., decrements: _Optional[_Union[GCounterState, _Mapping]] = ...) -> None: ...

class GSetState(_message.Message):
    __slots__ = ("elements",)
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, elements: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class LWWRegisterState(_message.Message):
    __slots__ = ("writer", "timestamp", "sequence", "value")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    writer: Writer
    timestamp: int
    sequence: int
    value: _any_pb2.Any
    def __init__(self, writer: _Optional[_Union[Writer, _Mapping]] = ..., timestamp: _Optional[int] = ..., sequence: _Optional[int] = ..., value: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class FlagState(_message.Message):
    __slots__ = ("enabled",)
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    def __init__(self, enabled: _Optional[bool] = ...) -> None: ...

class Voice(_message.Message):
    __slots__ = ("node", "epoch", "changes")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    node: str
    epoch: int
    changes: int
    def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ..., changes: _Optional[int] = ...) -> None: ...

class VoteState(_message.Message):
    __slots__ = ("voices",)
    VOICES_FIELD_NUMBER: _ClassVar[int]
    voices: _containers.RepeatedCompositeFieldContainer[Voice]
    def __init__(self, voices: _Optional[_Iterable[_Union[Voice, _Mapping]]] = ...) -> None: ...

class DottedState(_message.Message):
    __slots__ = ("writers", "seen", "root")
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    writers: _containers.RepeatedCompositeFieldContainer[Writer]
    seen: _containers.RepeatedCompositeFieldContainer[SeenDots]
    root: Branch
    def __init__(self, writers: _Optional[_Iterable[_Union[Writer, _Mapping]]] = ..., seen: _Optional[_Iterable[_Union[SeenDots, _Mapping]]] = ..., root: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...

class SeenDots(_message.Message):
    __slots__ = ("writer", "up_to", "beyond")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    BEYOND_FIELD_NUMBER: _ClassVar[int]
    writer: int
    up_to: int
    beyond: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, writer: _Optional[int] = ..., up_to: _Optional[int] = ..., beyond: _Optional[_Iterable[int]] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("leaves", "children")
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    leaves: _containers.RepeatedCompositeFieldContainer[Leaf]
    children: _containers.RepeatedCompositeFieldContainer[Child]
    def __init__(self, leaves: _Optional[_Iterable[_Union[Leaf, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[Child, _Mapping]]] = ...) -> None: ...

class Leaf(_message.Message):
    __slots__ = ("writer", "sequence", "part", "stands_for")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    STANDS_FOR_FIELD_NUMBER: _ClassVar[int]
    writer: int
    sequence: int
    part: bytes
    stands_for: _containers.RepeatedCompositeFieldContainer[DotOfLeaf]
    def __init__(self, writer: _Optional[int] = ..., sequence: _Optional[int] = ..., part: _Optional[bytes] = ..., stands_for: _Optional[_Iterable[_Union[DotOfLeaf, _Mapping]]] = ...) -> None: ...

class DotOfLeaf(_message.Message):
    __slots__ = ("writer", "sequence")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    writer: Writer
    sequence: int
    def __init__(self, writer: _Optional[_Union[Writer, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class Child(_message.Message):
    __slots__ = ("item", "type", "branch")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    item: _any_pb2.Any
    type: str
    branch: Branch
    def __init__(self, item: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., type: _Optional[str] = ..., branch: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...
