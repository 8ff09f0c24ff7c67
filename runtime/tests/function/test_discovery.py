"""The protocol's checks of an announcement, and those that keep user functions apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.api import annotations_pb2
from runtime_doubles.deployed import orders_entity
from runtime_doubles.specs import (
    TOY,
    entity,
    field,
    file,
    known,
    message,
    orders_file,
    orders_files,
    orders_spec,
    service,
    service_info,
    spec,
    spec_of,
)

from cloudstate.entity_pb2 import (
    EntityPassivationStrategy,
    EntitySpec,
    ServiceInfo,
    TimeoutPassivationStrategy,
)
from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import InvalidSpec
from cloudstate_runtime.function.discovery import MAX_ENTITIES, MAX_FAULTS, Discovery


def faults_of(
    discovery: Discovery, announced: EntitySpec, *others: DeployedEntity
) -> tuple[str, ...]:
    with pytest.raises(InvalidSpec) as caught:
        discovery.deploy("here", announced, others)
    return caught.value.faults


def idle_after(timeout_ms: int) -> EntityPassivationStrategy:
    return EntityPassivationStrategy(timeout=TimeoutPassivationStrategy(timeout=timeout_ms))


def orders_with(*methods: tuple[str, str, str], **streamed: str) -> EntitySpec:
    """The orders with these methods; those named by keyword stream "in", "out" or "both"."""
    made = orders_file()
    made.message_type.append(message("Nothing", field("text", 1)))
    del made.service[:]
    made.service.append(service("Orders", {name: (i, o) for name, i, o in methods}))
    for method in made.service[0].method:
        method.client_streaming = streamed.get(method.name) in {"in", "both"}
        method.server_streaming = streamed.get(method.name) in {"out", "both"}
    return spec(made)


# --- What is accepted ----------------------------------------------------------------


def test_an_announcement_becomes_what_the_runtime_serves(discovery: Discovery) -> None:
    announced = orders_spec()
    announced.entities[0].persistence_id = "orders"
    announced.entities[0].passivation_strategy.CopyFrom(idle_after(1500))

    deployment = discovery.deploy("here", announced)

    (found,) = deployment.entities
    method = found.methods["Place"]
    assert deployment.name == "here"
    assert (found.entity_type, found.service_name) == (TOY, "shop.Orders")
    assert (found.persistence_id, found.passivation_timeout_s) == ("orders", 1.5)
    assert found.file == "shop/orders.proto"
    assert method.key_fields == ("id",)
    assert method.input_type_url == "type.googleapis.com/shop.Order"
    assert method.output_type_url == "type.googleapis.com/shop.Order"
    assert method.input_class.DESCRIPTOR is deployment.pool.FindMessageTypeByName("shop.Order")
    assert method.http is None


def test_without_a_persistence_id_the_service_is_its_own_and_idle_time_is_the_runtimes(
    discovery: Discovery,
) -> None:
    (found,) = discovery.deploy("here", orders_spec()).entities

    assert (found.persistence_id, found.passivation_timeout_s) == ("shop.Orders", None)


def test_an_http_rule_is_read_with_the_method(discovery: Discovery) -> None:
    made = orders_file()
    made.dependency.append("google/api/annotations.proto")
    rule = made.service[0].method[0].options.Extensions[annotations_pb2.http]
    rule.post, rule.body = "/orders", "*"

    (found,) = discovery.deploy("here", spec(made)).entities

    assert found.methods["Place"].http == rule


def test_streams_and_missing_keys_are_left_to_the_kind(discovery: Discovery) -> None:
    announced = orders_with(
        ("In", ".shop.Nothing", ".shop.Order"), ("Out", ".shop.Nothing", ".shop.Order"), In="in"
    )

    faults = faults_of(discovery, announced)

    assert len(faults) == 2
    assert any(fault.endswith("streamed methods, found In") for fault in faults)
    assert any(fault.endswith("missing for In, Out") for fault in faults)


def test_two_user_functions_may_mean_different_things_by_one_name(discovery: Discovery) -> None:
    first = discovery.deploy("first", orders_spec())
    other = file(
        "shop/orders.proto",
        "shop",
        message("Order", field("id", 1, key=True), field("amount", 2, "string")),
        service=[service("Other", {"Place": (".shop.Order", ".shop.Order")})],
        dependency=["cloudstate/entity_key.proto"],
    )
    second = discovery.deploy("second", spec(other, entities=(entity("shop.Other"),)))

    data = b"\x0a\x01a\x12\x01b"
    assert second.entities[0].methods["Place"].input_class.FromString(data).amount == "b"
    assert first.entities[0].methods["Place"].input_class.FromString(data).amount == 0


def test_the_files_are_complete_even_if_known_ones_were_not_announced(
    discovery: Discovery,
) -> None:
    deployment = discovery.deploy("here", spec(orders_file()))

    assert {each.name for each in deployment.files.file} == {
        "shop/orders.proto",
        "cloudstate/entity_key.proto",
        "google/protobuf/descriptor.proto",
    }


# --- Protocol version ----------------------------------------------------------------


@pytest.mark.parametrize("version", [(0, 1), (0, 3), (1, 2), (1, 0), (0, -2)])
def test_another_protocol_version_is_refused_with_both_versions(
    version: tuple[int, int], discovery: Discovery
) -> None:
    announced = orders_spec()
    announced.service_info.CopyFrom(
        ServiceInfo(
            protocol_major_version=version[0],
            protocol_minor_version=version[1],
            support_library_name="a-library",
            support_library_version="7",
        )
    )

    (fault,) = faults_of(discovery, announced)

    assert "expected protocol version 0.2" in fault
    assert f"found {version[0]}.{version[1]} from library 'a-library' '7'" in fault


def test_a_missing_version_counts_as_none(discovery: Discovery) -> None:
    (fault,) = faults_of(discovery, EntitySpec(proto=orders_spec().proto, entities=[entity()]))

    assert "found 0.0" in fault


# --- Entities ------------------------------------------------------------------------


def test_no_entity_is_a_fault(discovery: Discovery) -> None:
    announced = EntitySpec(proto=orders_spec().proto, service_info=service_info())

    assert faults_of(discovery, announced) == ("expected at least one entity, found none",)


@pytest.mark.parametrize("name", ["shop.Lost", "Orders", "shop.Order", ".shop.Orders", "", "a\0"])
def test_a_service_that_no_file_defines_is_a_fault(name: str, discovery: Discovery) -> None:
    (fault,) = faults_of(discovery, spec(*orders_files(), entities=(entity(name),)))

    assert fault == f"service {name!r} is defined in none of the announced files"


def test_a_type_that_no_plugin_supports_is_a_fault_that_lists_those_supported(
    discovery: Discovery,
) -> None:
    announced = spec(*orders_files(), entities=(entity(entity_type="lost.Kind"),))

    (fault,) = faults_of(discovery, announced)

    assert "unsupported entity type 'lost.Kind'" in fault
    assert f"this runtime supports {TOY}" in fault


def test_a_runtime_without_kinds_says_so() -> None:
    bare = Discovery({}, lambda _: (), max_spec_bytes=1 << 20)

    (fault,) = faults_of(bare, orders_spec())

    assert fault.endswith("this runtime supports none")


@pytest.mark.parametrize("timeout_ms", [0, -1, -(2**63)])
def test_an_idle_time_that_is_over_before_it_begins_is_a_fault(
    timeout_ms: int, discovery: Discovery
) -> None:
    announced = orders_spec()
    announced.entities[0].passivation_strategy.CopyFrom(idle_after(timeout_ms))

    (fault,) = faults_of(discovery, announced)

    assert fault == (
        f"service 'shop.Orders': expected a passivation timeout of more than 0 ms, found "
        f"{timeout_ms}"
    )


def test_a_service_that_is_announced_twice_is_a_fault(discovery: Discovery) -> None:
    announced = spec(*orders_files(), entities=(entity(), entity(persistence_id="other")))

    assert faults_of(discovery, announced) == (
        "service 'shop.Orders' is announced already by this user function",
    )


def test_a_service_of_another_user_function_is_a_fault(discovery: Discovery) -> None:
    other = replace(orders_entity(), persistence_id="somewhere else")

    assert faults_of(discovery, orders_spec(), other) == (
        "service 'shop.Orders' is announced already by another user function",
    )


def two_services(*persistence_ids: str) -> EntitySpec:
    made = orders_file()
    made.service.append(service("Returns", {"Place": (".shop.Order", ".shop.Order")}))
    names = ("shop.Orders", "shop.Returns")
    return spec(
        made,
        entities=tuple(
            entity(name, persistence_id=persistence_id)
            for name, persistence_id in zip(names, persistence_ids, strict=True)
        ),
    )


@pytest.mark.parametrize(
    "persistence_ids", [("same", "same"), ("shop.Returns", ""), ("", "shop.Orders")]
)
def test_two_services_must_not_share_their_state(
    persistence_ids: tuple[str, str], discovery: Discovery
) -> None:
    (fault,) = faults_of(discovery, two_services(*persistence_ids))

    assert fault.startswith("services 'shop.Orders' and 'shop.Returns' have the same persistence")


def test_services_of_two_user_functions_must_not_share_their_state(discovery: Discovery) -> None:
    other = replace(orders_entity("market"), persistence_id="shop.Orders")

    (fault,) = faults_of(discovery, orders_spec(), other)

    assert fault.startswith("services 'market.Orders' and 'shop.Orders' have the same persistence")


def test_two_services_of_different_state_are_fine(discovery: Discovery) -> None:
    deployment = discovery.deploy("here", two_services("", "returns"))

    assert [each.persistence_id for each in deployment.entities] == ["shop.Orders", "returns"]


# --- Everything at once --------------------------------------------------------------


def test_every_fault_of_an_announcement_is_named_at_once(discovery: Discovery) -> None:
    announced = orders_with(("In", ".shop.Nothing", ".shop.Order"), In="in")
    announced.entities.append(entity("shop.Lost"))
    announced.entities.append(entity("shop.Lost", persistence_id="x", entity_type="lost.Kind"))

    faults = faults_of(discovery, announced)

    assert len(faults) == 5
    for expected in (
        "'shop.Lost' is announced already",
        "unsupported entity type 'lost.Kind'",
        "'shop.Lost' is defined in none",
        "streamed methods",
        "missing for In",
    ):
        assert sum(expected in fault for fault in faults) == 1, expected


def test_faults_of_files_are_named_beside_those_of_entities(discovery: Discovery) -> None:
    announced = spec(
        *orders_files(),
        file("a.proto", "a", message("M", field("x", 0))),
        file("b.proto", "b", message("M", field("x", -1))),
        file("c.proto", "c", message("M"), dependency=["a.proto"]),
        entities=(entity(entity_type="lost.Kind"),),
    )

    faults = faults_of(discovery, announced)

    assert [fault.partition(":")[0] for fault in faults] == [
        "service 'shop.Orders'",
        "file 'a.proto' is invalid",
        "file 'b.proto' is invalid",
    ]


def test_what_the_front_ends_object_to_is_a_fault() -> None:
    from runtime_doubles.toy_kind import ToyKind

    strict = Discovery(
        {TOY: ToyKind()},
        lambda entities: [f"no path leads to {each.service_name}" for each in entities],
        max_spec_bytes=1 << 20,
    )

    assert faults_of(strict, orders_spec()) == ("no path leads to shop.Orders",)


def test_a_flood_of_faults_is_cut_and_counted(discovery: Discovery) -> None:
    lost = [entity(f"shop.Lost{i}") for i in range(MAX_FAULTS + 11)]

    faults = faults_of(discovery, spec(*orders_files(), entities=(entity(), *lost)))

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "and 11 faults more"


def test_too_many_entities_are_one_fault(discovery: Discovery) -> None:
    lost = [entity(f"shop.Lost{i}") for i in range(MAX_ENTITIES + 1)]

    (fault,) = faults_of(discovery, spec(*orders_files(), entities=tuple(lost)))

    assert fault == f"expected at most {MAX_ENTITIES} entities, found {MAX_ENTITIES + 1}"


@pytest.mark.parametrize("size", [0, 1])
def test_the_limit_of_bytes_is_a_limit(size: int, discovery: Discovery) -> None:
    data = spec_of(orders_spec().proto).proto
    limited = replace(discovery, max_spec_bytes=len(data) - size)

    if size == 0:
        assert limited.deploy("here", orders_spec()).entities
    else:
        (fault,) = faults_of(limited, orders_spec())
        assert fault == f"descriptors: expected at most {len(data) - 1} bytes, found {len(data)}"


def test_a_known_file_with_a_service_is_not_mistaken_for_one_of_the_user_functions(
    discovery: Discovery,
) -> None:
    (fault,) = faults_of(
        discovery,
        spec(
            *known("google/protobuf/any.proto", "google/protobuf/empty.proto"),
            *known("google/protobuf/descriptor.proto", "cloudstate/entity.proto"),
            entities=(entity("cloudstate.EntityDiscovery"),),
        ),
    )

    assert fault == "service 'cloudstate.EntityDiscovery' is the runtime's own; use another package"
