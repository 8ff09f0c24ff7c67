# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Message(_message.Message):
    __slots__ = ("epoch", "process", "changes", "stored", "missing", "status", "buckets", "entities", "states", "part", "departures", "generation")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    DEPARTURES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    process: int
    changes: Changes
    stored: Stored
    missing: Missing
    status: Status
    buckets: Buckets
    entities: Entities
    states: States
    part: Part
    departures: Departures
    generation: int
    def __init__(self, epoch: _Optional[int] = ..., process: _Optional[int] = ..., changes: _Optional[_Union[Changes, _Mapping]] = ..., stored: _Optional[_Union[Stored, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., buckets: _Optional[_Union[Buckets, _Mapping]] = ..., entities: _Optional[_Union[Entities, _Mapping]] = ..., states: _Optional[_Union[States, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., departures: _Optional[_Union[Departures, _Mapping]] = ..., generation: _Optional[int] = ...) -> None: ...

class Deletion(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EntityChange(_message.Message):
    __slots__ = ("entity_id", "state", "deletion", "sequences", "answer")
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DELETION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    entity_id: str
    state: bytes
    deletion: Deletion
    sequences: _containers.RepeatedScalarFieldContainer[int]
    answer: bool
    def __init__(self, entity_id: _Optional[str] = ..., state: _Optional[bytes] = ..., deletion: _Optional[_Union[Deletion, _Mapping]] = ..., sequences: _Optional[_Iterable[int]] = ..., answer: _Optional[bool] = ...) -> None: ...

class Changes(_message.Message):
    __slots__ = ("changes", "forgotten")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[EntityChange]
    forgotten: int
    def __init__(self, changes: _Optional[_Iterable[_Union[EntityChange, _Mapping]]] = ..., forgotten: _Optional[int] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("process", "sequences")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    process: int
    sequences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, process: _Optional[int] = ..., sequences: _Optional[_Iterable[int]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("process", "ranges")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    process: int
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    def __init__(self, process: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("last", "digest", "compare")
    LAST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    COMPARE_FIELD_NUMBER: _ClassVar[int]
    last: int
    digest: bytes
    compare: bool
    def __init__(self, last: _Optional[int] = ..., digest: _Optional[bytes] = ..., compare: _Optional[bool] = ...) -> None: ...

class Buckets(_message.Message):
    __slots__ = ("round", "digests")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    digests: bytes
    def __init__(self, round: _Optional[int] = ..., digests: _Optional[bytes] = ...) -> None: ...

class EntityDigest(_message.Message):
    __slots__ = ("entity_id", "digest")
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    entity_id: str
    digest: bytes
    def __init__(self, entity_id: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Bucket(_message.Message):
    __slots__ = ("number", "entities")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    number: int
    entities: _containers.RepeatedCompositeFieldContainer[EntityDigest]
    def __init__(self, number: _Optional[int] = ..., entities: _Optional[_Iterable[_Union[EntityDigest, _Mapping]]] = ...) -> None: ...

class Entities(_message.Message):
    __slots__ = ("round", "buckets", "more")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    round: int
    buckets: _containers.RepeatedCompositeFieldContainer[Bucket]
    more: bool
    def __init__(self, round: _Optional[int] = ..., buckets: _Optional[_Iterable[_Union[Bucket, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class States(_message.Message):
    __slots__ = ("round", "states", "wanted", "were_wanted", "is_last")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    WERE_WANTED_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    round: int
    states: _containers.RepeatedCompositeFieldContainer[EntityChange]
    wanted: _containers.RepeatedScalarFieldContainer[str]
    were_wanted: bool
    is_last: bool
    def __init__(self, round: _Optional[int] = ..., states: _Optional[_Iterable[_Union[EntityChange, _Mapping]]] = ..., wanted: _Optional[_Iterable[str]] = ..., were_wanted: _Optional[bool] = ..., is_last: _Optional[bool] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("number", "index", "count", "data")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    number: int
    index: int
    count: int
    data: bytes
    def __init__(self, number: _Optional[int] = ..., index: _Optional[int] = ..., count: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Life(_message.Message):
    __slots__ = ("node", "epoch")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    node: str
    epoch: int
    def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class Retirement(_message.Message):
    __slots__ = ("node", "epoch", "participants")
    NODE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    node: str
    epoch: int
    participants: _containers.RepeatedCompositeFieldContainer[Life]
    def __init__(self, node: _Optional[str] = ..., epoch: _Optional[int] = ..., participants: _Optional[_Iterable[_Union[Life, _Mapping]]] = ...) -> None: ...

class Departures(_message.Message):
    __slots__ = ("view", "digest", "to_adopt", "retirements")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TO_ADOPT_FIELD_NUMBER: _ClassVar[int]
    RETIREMENTS_FIELD_NUMBER: _ClassVar[int]
    view: bytes
    digest: bytes
    to_adopt: int
    retirements: _containers.RepeatedCompositeFieldContainer[Retirement]
    def __init__(self, view: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., to_adopt: _Optional[int] = ..., retirements: _Optional[_Iterable[_Union[Retirement, _Mapping]]] = ...) -> None: ...
