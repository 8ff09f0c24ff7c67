from __future__ import annotations

import pytest
from google.protobuf.empty_pb2 import Empty

from cloudstate.entity_pb2 import DESCRIPTOR, ProxyInfo, UserFunctionError
from cloudstate.entity_pb2_grpc import EntityDiscoveryStub
from cloudstate_core.anys import AnyError, pack_message
from cloudstate_core.targets import commands_of, target_of, target_with_message

DISCOVERY = DESCRIPTOR.services_by_name["EntityDiscovery"]
NAME = "cloudstate.EntityDiscovery"


@pytest.mark.parametrize(
    "named",
    [
        commands_of(EntityDiscoveryStub).discover,
        DISCOVERY.methods_by_name["discover"],
        f"{NAME}/discover",
        f"/{NAME}/discover",
    ],
    ids=["stub", "method", "path", "path as on the wire"],
)
def test_a_command_is_named_in_many_ways(named: object) -> None:
    target = target_of(named)

    assert (target.service, target.command, str(target)) == (NAME, "discover", f"{NAME}.discover")
    assert target.method is not None
    assert target.method.output_type.full_name == "cloudstate.EntitySpec"


@pytest.mark.parametrize("service", [DISCOVERY, NAME], ids=["descriptor", "name"])
def test_a_service_may_be_followed_by_the_name_of_its_method(service: object) -> None:
    target, message = target_with_message(service, "discover", ProxyInfo())

    assert (target.name, message) == (f"{NAME}.discover", ProxyInfo())


def test_of_a_service_that_no_module_here_declares_only_the_name_is_known() -> None:
    target, message = target_with_message("far.Away", "Do", Empty())

    assert (target.service, target.command, target.method) == ("far.Away", "Do", None)
    assert message == Empty()


@pytest.mark.parametrize("named", ["", "shop.Cart", None, 7, Empty()], ids=repr)
def test_what_names_no_command_is_refused(named: object) -> None:
    with pytest.raises(AnyError, match="expected a method of commands_of"):
        target_of(named)


def test_a_method_that_the_descriptor_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(AnyError, match="no command 'Discover'; it has discover, reportError"):
        target_of(DISCOVERY, "Discover")


def test_a_message_in_the_place_of_the_name_is_refused() -> None:
    with pytest.raises(AnyError, match="expected the name of a method after the service"):
        target_with_message(NAME, ProxyInfo(), None)


def test_a_message_of_another_type_is_refused() -> None:
    discover = commands_of(EntityDiscoveryStub).discover

    with pytest.raises(AnyError, match=r"expected .* cloudstate\.ProxyInfo, found .*UserFunction"):
        target_with_message(discover, UserFunctionError(), None)


def test_a_packed_message_passes_whatever_is_in_it() -> None:
    packed = pack_message(UserFunctionError())

    assert target_with_message(DISCOVERY, "discover", packed)[1] is packed


def test_a_stubs_method_is_not_for_calling() -> None:
    with pytest.raises(TypeError, match="give it to ask, effect or forward"):
        commands_of(EntityDiscoveryStub).discover(ProxyInfo())
