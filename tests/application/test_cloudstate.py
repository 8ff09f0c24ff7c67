from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from cloudstate.cloudstate import CloudState
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import ConfigurationError, PluginError, RegistrationError
from cloudstate_eventsourced.entity import EventSourcedEntity


class StrangeEntity(EntityDefinition):
    entity_type = "strange.Kind"

    def validate(self) -> None:
        pass


def service():
    pool = DescriptorPool()
    file = FileDescriptorProto(name="s.proto", package="s", syntax="proto3")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="Do", input_type=".s.M", output_type=".s.M")
    pool.Add(file)
    return pool.FindServiceByName("s.S")


@pytest.fixture
def strange() -> StrangeEntity:
    return StrangeEntity(service())


def test_every_step_can_be_chained(strange: StrangeEntity) -> None:
    application = CloudState()
    entity = EventSourcedEntity(service(), init_state=list)

    chained = (
        application.host("127.0.0.1")
        .port(0)
        .max_workers(2)
        .register_event_sourced_entity(entity)
        .register_entity(strange)
    )

    assert chained is application
    assert application._entities == [entity, strange]


@pytest.mark.parametrize("wrong", [None, object(), "entity", EventSourcedEntity])
def test_what_is_no_entity_is_refused_at_once(wrong: object) -> None:
    with pytest.raises(RegistrationError, match="expected an entity, found"):
        CloudState().register_entity(wrong)  # type: ignore[arg-type]


def test_an_entity_of_another_kind_is_refused_at_once(strange: StrangeEntity) -> None:
    with pytest.raises(
        RegistrationError, match="expected an EventSourcedEntity, found StrangeEntity"
    ):
        CloudState().register_event_sourced_entity(strange)


def test_without_the_action_kind_an_action_says_what_to_install(
    strange: StrangeEntity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", {}.get)

    with pytest.raises(PluginError, match="pip install cloudstate-action"):
        CloudState().register_action_entity(strange)


def test_with_the_action_kind_an_action_is_checked(
    strange: StrangeEntity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", str)

    with pytest.raises(RegistrationError, match="expected an Action, found StrangeEntity"):
        CloudState().register_action_entity(strange)
    strange.entity_type = "cloudstate.action.ActionProtocol"  # type: ignore[misc]
    assert CloudState().register_action_entity(strange)._entities == [strange]


def test_the_abandoned_library_beside_ours_is_found_at_once(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "cloudstate-0.1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cloudstate\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigurationError, match=r"'cloudstate' 0\.1\.2.*pip uninstall cloudstate"):
        CloudState()
