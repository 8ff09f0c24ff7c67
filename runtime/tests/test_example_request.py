"""The request that a newcomer is shown."""

from __future__ import annotations

import pytest
from google.api.http_pb2 import HttpRule
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_runtime.example_request import example_request


def method(name: str, **shape: object) -> DeployedMethod:
    descriptor = _Descriptor()
    return DeployedMethod(name, descriptor, Duration, Empty, "", "", **shape)  # type: ignore[arg-type]


class _Descriptor:
    input_type = Duration.DESCRIPTOR


def entity(*methods: DeployedMethod) -> DeployedEntity:
    return DeployedEntity("k", "s.S", "p", None, {m.name: m for m in methods}, "s.proto")


PLAIN = method("Plain")
DOWN = method("Down", server_streaming=True)
UP = method("Up", client_streaming=True)
BOTH = method("Both", client_streaming=True, server_streaming=True)
JSON = "-H 'content-type: application/json' -d '{\"seconds\": 1, \"nanos\": 1}'"


@pytest.mark.parametrize(
    ("methods", "command"),
    [
        ((BOTH, DOWN, PLAIN), f"curl -X POST http://h:1/s.S/Plain {JSON}"),
        ((BOTH, DOWN), f"curl -N -X POST http://h:1/s.S/Down {JSON}"),
        ((UP,), f"curl -X POST http://h:1/s.S/Up {JSON}"),
        ((BOTH,), f"curl -N -X POST http://h:1/s.S/Both {JSON}"),
        (
            (method("Get", server_streaming=True, http=HttpRule(get="/d/{seconds}")),),
            "curl -N http://h:1/d/seconds-1",
        ),
    ],
)
def test_a_method_of_any_shape_can_be_shown(
    methods: tuple[DeployedMethod, ...], command: str
) -> None:
    assert example_request(entity(*methods), "h:1") == command
