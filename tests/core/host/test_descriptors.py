from __future__ import annotations

import pytest
from chat_kind.entity import files, room
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from cloudstate.event_sourced_pb2 import DESCRIPTOR as EVENT_SOURCED
from cloudstate_core.errors import RegistrationError
from cloudstate_core.host.descriptors import file_descriptor_set


def names(announced: FileDescriptorSet) -> list[str]:
    return [file.name for file in announced.file]


def test_every_import_is_there_once_and_before_the_file_that_needs_it() -> None:
    service = EVENT_SOURCED.services_by_name["EventSourced"]

    announced = file_descriptor_set([service, service], [EVENT_SOURCED])

    assert len(set(names(announced))) == len(names(announced))
    assert {
        "cloudstate/event_sourced.proto",
        "cloudstate/entity.proto",
        "google/protobuf/any.proto",
        "google/protobuf/empty.proto",
    } <= set(names(announced))
    for file in announced.file:
        before = names(announced)[: names(announced).index(file.name)]
        assert set(file.dependency) <= set(before)


def test_a_pool_can_be_made_of_what_is_announced() -> None:
    service = EVENT_SOURCED.services_by_name["EventSourced"]
    received = FileDescriptorSet.FromString(file_descriptor_set([service]).SerializeToString())
    pool = DescriptorPool()

    for file in received.file:
        pool.Add(file)

    assert pool.FindServiceByName(service.full_name).methods_by_name["handle"]


def test_the_order_follows_the_arguments() -> None:
    chain = files("a", "b", "c")
    service = chain["b"].services_by_name["Room"]

    assert names(file_descriptor_set([service])) == ["a.proto", "b.proto"]
    assert names(file_descriptor_set([service], [chain["c"]])) == ["a.proto", "b.proto", "c.proto"]
    assert names(file_descriptor_set([room("x"), service])) == ["x.proto", "a.proto", "b.proto"]
    assert file_descriptor_set([service]) == file_descriptor_set([service])


def test_a_chain_of_imports_may_be_longer_than_the_stack() -> None:
    packages = [f"p{number}" for number in range(3000)]
    last = files(*packages)[packages[-1]]

    assert names(file_descriptor_set([], [last])) == [f"{package}.proto" for package in packages]


def test_equal_files_of_two_pools_are_one() -> None:
    assert names(file_descriptor_set([room("x"), room("x")])) == ["x.proto"]


def test_two_files_of_one_name_are_an_error() -> None:
    pool = DescriptorPool()
    pool.Add(FileDescriptorProto(name="x.proto", package="other"))

    with pytest.raises(RegistrationError, match=r"two different files are named 'x\.proto'"):
        file_descriptor_set([room("x")], [pool.FindFileByName("x.proto")])
