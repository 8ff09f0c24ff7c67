# mypy: ignore-errors
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
LEGACY_ENTITY_KEY_FIELD_NUMBER: _ClassVar[int]
legacy_entity_key: _descriptor.FieldDescriptor
