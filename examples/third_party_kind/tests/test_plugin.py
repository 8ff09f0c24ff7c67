"""The kind as it is registered; needs to be installed, as every plugin does."""

from __future__ import annotations

import pytest
from acme_ratelimit import RateLimitedEntity
from acme_ratelimit.plugin import RateLimitKind
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from serving import QUOTAS, quotas

from cloudstate.entity_pb2 import Entity, EntitySpec, ProxyInfo, ServiceInfo
from cloudstate_core.errors import InvalidSpec
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import Plugins
from cloudstate_core.testing.kind_contract import EntityKindContract
from cloudstate_runtime.function.discovery import Discovery


class TestRateLimitKind(EntityKindContract):
    @pytest.fixture
    def kind(self) -> RateLimitKind:
        return RateLimitKind()

    @pytest.fixture
    def entity(self) -> RateLimitedEntity:
        return quotas()


DISCOVERY = Discovery(
    kinds={RateLimitKind.entity_type: RateLimitKind()},
    front_end_faults=lambda _: (),
    max_spec_bytes=1024 * 1024,
)


def test_a_service_that_it_can_serve_is_deployed() -> None:
    function = UserFunction([quotas()], Plugins(kinds={"ratelimit": RateLimitKind()}))

    (deployed,) = DISCOVERY.deploy("here", function.spec(ProxyInfo())).entities

    assert deployed.service_name == QUOTAS.full_name


def test_a_service_that_it_cannot_serve_is_refused_with_every_reason() -> None:
    file = FileDescriptorProto(name="feed.proto", package="feed", syntax="proto3")
    file.message_type.add(name="Item")
    file.service.add(name="Feed").method.add(
        name="Follow", input_type=".feed.Item", output_type=".feed.Item", server_streaming=True
    )
    spec = EntitySpec(
        proto=FileDescriptorSet(file=[file]).SerializeToString(),
        entities=[Entity(entity_type=RateLimitKind.entity_type, service_name="feed.Feed")],
        service_info=ServiceInfo(protocol_minor_version=2),
    )

    with pytest.raises(InvalidSpec) as caught:
        DISCOVERY.deploy("here", spec)

    streamed, keyless = caught.value.faults
    assert "cannot have streamed methods, found Follow" in streamed
    assert "(cloudstate.entity_key) = true, missing for Follow" in keyless
