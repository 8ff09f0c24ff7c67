"""A request that a newcomer can try at once, made from a service's own descriptors. Pure."""

from __future__ import annotations

import json
import re

from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from cloudstate_core.entity import DeployedEntity, DeployedMethod

__all__ = ["example_request"]

_VARIABLE = re.compile(r"\{([^}=]+)(=[^}]*)?\}")

#: A message inside a message inside a message is example enough.
_MAX_DEPTH = 3


def example_request(entity: DeployedEntity, address: str) -> str:
    """Return a shell command that calls one of the entity's methods.

    A method that does not stream, has an HTTP path of its own and takes more than the entity's key
    is preferred, because it shows more.

    Args:
        entity: A service with at least one method.
        address: Host and port of the front door.
    """
    method = max(entity.methods.values(), key=_shows)
    verb, path, bound, body = _binding(entity, method)
    curl = "curl -N" if method.server_streaming else "curl"  # every element when it comes
    command = f"{curl} http://{address}{path}"
    if verb != "GET":
        command = f"{curl} -X {verb} http://{address}{path}"
    if body is None:
        return command
    whole = _message(method.descriptor.input_type, bound, 1)
    sample = whole if body == "*" else whole.get(body, {})
    text = json.dumps(sample).replace("'", "'\\''")
    return f"{command} -H 'content-type: application/json' -d '{text}'"


def _shows(method: DeployedMethod) -> tuple[int, bool, int]:
    """Return how good an example a method is: one that does not stream is better than any other.

    After that comes one with a path of its own: those without are often for other services only.
    """
    # A client that streams may send one message, and nothing else.
    streams = method.client_streaming + method.server_streaming
    return -streams, method.http is not None, len(method.input_class.DESCRIPTOR.fields)


def _binding(
    entity: DeployedEntity, method: DeployedMethod
) -> tuple[str, str, frozenset[str], str | None]:
    """Return verb, path, the fields in the path, and what the body is (None: there is none)."""
    rule = method.http or HttpRule(post=f"/{entity.service_name}/{method.name}", body="*")
    pattern = rule.WhichOneof("pattern") or "post"
    template = rule.custom.path if pattern == "custom" else getattr(rule, pattern)
    verb = "POST" if pattern == "custom" else pattern.upper()
    bound = frozenset(match.group(1) for match in _VARIABLE.finditer(template))
    path = _VARIABLE.sub(lambda match: match.group(1).replace(".", "-") + "-1", template)
    return verb, path, bound, rule.body or None


def _message(descriptor: Descriptor, left_out: frozenset[str], depth: int) -> dict[str, object]:
    return {
        field.json_name: _value(field, depth)
        for field in descriptor.fields
        if field.name not in left_out and field.containing_oneof is None
    }


def _value(field: FieldDescriptor, depth: int) -> object:
    if field.message_type is None:
        single = _scalar(field)
    elif field.message_type.GetOptions().map_entry:
        return {}
    else:
        single = _nested(field.message_type, depth)
    return [single] if field.is_repeated else single


def _nested(descriptor: Descriptor, depth: int) -> object:
    if depth >= _MAX_DEPTH or descriptor.file.package.startswith("google."):
        return {}
    return _message(descriptor, frozenset(), depth + 1)


def _scalar(field: FieldDescriptor) -> object:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return "" if field.type == FieldDescriptor.TYPE_BYTES else f"{field.name}-1"
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_ENUM:
            return field.enum_type.values[0].name if field.enum_type is not None else 0
        case _:
            return 1
