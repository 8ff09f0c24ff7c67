from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

import pytest
from chat_kind.entity import TALK, Chat, ChatEntity, files, room
from chat_kind.plugin import ChatKind
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cloudstate.entity_pb2 import Entity, ProxyInfo
from cloudstate_core.errors import PluginError, RegistrationError
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.links import ConversationMethod, Rpc
from cloudstate_core.plugins import PluginInfo, Plugins
from cloudstate_core.targets import Target

PROXY = ProxyInfo(
    protocol_major_version=0,
    protocol_minor_version=2,
    proxy_name="a-proxy",
    supported_entity_types=["test.chat.Chat"],
)


def test_it_tells_who_it_is_and_which_protocol_it_speaks(plugins: Plugins) -> None:
    function = UserFunction([ChatEntity()], plugins, service_name="chats", service_version="7")

    info = function.spec(PROXY).service_info

    assert (info.protocol_major_version, info.protocol_minor_version) == (0, 2)
    assert (info.service_name, info.service_version) == ("chats", "7")
    assert info.support_library_name == "cloudstate-python"
    assert info.support_library_version == version("cloudstate-core")
    assert info.service_runtime == f"CPython {platform.python_version()}"


def test_it_is_called_as_its_first_service_unless_told_otherwise(plugins: Plugins) -> None:
    function = UserFunction([ChatEntity(), ChatEntity(room("other"))], plugins)

    assert function.spec(PROXY).service_info.service_name == "example.chat.Room"


def test_it_announces_its_entities_in_the_order_of_registration(plugins: Plugins) -> None:
    entities = [
        ChatEntity(room("b"), persistence_id="second", passivation_timeout_s=1.5),
        ChatEntity(room("a")),
        ChatEntity(room("c"), passivation_timeout_s=0.0001),
    ]

    announced = list(UserFunction(entities, plugins).spec(PROXY).entities)

    expected = Entity(entity_type="test.chat.Chat", service_name="b.Room", persistence_id="second")
    expected.passivation_strategy.timeout.timeout = 1500
    assert announced[0] == expected
    assert (announced[1].service_name, announced[1].persistence_id) == ("a.Room", "a.Room")
    # Nothing set leaves the time to the proxy; a very short time does not become none.
    assert not announced[1].HasField("passivation_strategy")
    assert announced[2].passivation_strategy.timeout.timeout == 1


def test_every_service_and_extra_file_is_in_the_announced_set(plugins: Plugins) -> None:
    extra = files("extra")["extra"]
    entities = [ChatEntity(room("a")), ChatEntity(room("b"), file_descriptors=[extra])]

    spec = UserFunction(entities, plugins).spec(PROXY)

    announced = FileDescriptorSet.FromString(spec.proto)
    assert [file.name for file in announced.file] == ["a.proto", "b.proto", "extra.proto"]


def test_one_spec_does_not_change_with_another(plugins: Plugins) -> None:
    function = UserFunction([ChatEntity()], plugins)

    function.spec(PROXY).entities[0].service_name = "changed"

    assert function.spec(PROXY).entities[0].service_name == "example.chat.Room"


def test_a_proxy_that_fits_is_no_reason_to_warn(
    plugins: Plugins, logged: list[dict[str, object]]
) -> None:
    UserFunction([ChatEntity()], plugins).spec(PROXY)

    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("discovered", "info")]


def test_a_proxy_that_does_not_know_an_entity_type_is_a_reason_to_warn(
    plugins: Plugins, logged: list[dict[str, object]]
) -> None:
    proxy = ProxyInfo(protocol_minor_version=2, supported_entity_types=["other.Type"])

    spec = UserFunction([ChatEntity()], plugins).spec(proxy)

    assert len(spec.entities) == 1
    (warning,) = [entry for entry in logged if entry["log_level"] == "warning"]
    assert warning["event"] == "entity_type_unsupported_by_proxy"
    assert warning["service"] == "example.chat.Room"
    assert warning["supported"] == ["other.Type"]


def test_a_proxy_of_another_protocol_is_a_reason_to_warn(
    plugins: Plugins, logged: list[dict[str, object]]
) -> None:
    proxy = ProxyInfo(protocol_major_version=1, supported_entity_types=["test.chat.Chat"])

    UserFunction([ChatEntity()], plugins).spec(proxy)

    assert [entry["event"] for entry in logged if entry["log_level"] == "warning"] == [
        "protocol_version_differs"
    ]


def test_what_a_proxy_reports_is_logged_as_an_error(
    plugins: Plugins, logged: list[dict[str, object]]
) -> None:
    UserFunction([ChatEntity()], plugins).report_error("service is missing")

    assert logged == [
        {"event": "proxy_reports_error", "message": "service is missing", "log_level": "error"}
    ]


def test_a_kind_is_asked_once_for_the_methods_of_all_its_entities(plugins: Plugins) -> None:
    kind = plugins.kinds["chat"]
    entities = [ChatEntity(room("a")), ChatEntity(room("b"))]

    function = UserFunction(entities, plugins)

    assert isinstance(kind, ChatKind)
    assert kind.asked == [tuple(entities)]
    assert list(function.methods) == ["/test.chat.Chat/talk"]


class IdleKind(ChatKind):
    name = "idle"
    entity_type = "test.idle.Idle"


def test_a_kind_without_an_entity_is_not_asked() -> None:
    idle = IdleKind()

    UserFunction([ChatEntity()], Plugins(kinds={"chat": ChatKind(), "idle": idle}))

    assert idle.asked == []


class IdleEntity(ChatEntity):
    entity_type = IdleKind.entity_type


def test_two_kinds_that_serve_one_method_are_an_error() -> None:
    kinds = Plugins(kinds={"chat": ChatKind(), "idle": IdleKind()})

    with pytest.raises(PluginError, match=r"kind 'idle' serves '/test.chat.Chat/talk', which is"):
        UserFunction([ChatEntity(), IdleEntity(room("b"))], kinds)


class DiscoveringKind(ChatKind):
    def protocol_methods(self, entities: object, caller: object) -> list[ConversationMethod]:
        path = "/cloudstate.EntityDiscovery/discover"
        rpc = Rpc(path, TALK.request_class, TALK.response_class)
        return [ConversationMethod(rpc, Chat)]  # type: ignore[arg-type]


def test_no_kind_may_serve_discovery() -> None:
    with pytest.raises(PluginError, match="EntityDiscovery/discover', which is served already"):
        UserFunction([ChatEntity()], Plugins(kinds={"chat": DiscoveringKind()}))


@pytest.mark.parametrize(
    ("entities", "expected"),
    [
        ([], "expected at least one entity, found none"),
        ([ChatEntity(), ChatEntity()], "service 'example.chat.Room' is registered twice"),
        (
            [ChatEntity(room("a")), ChatEntity(room("b"), persistence_id="a.Room")],
            "services 'a.Room' and 'b.Room' have the same persistence_id 'a.Room'",
        ),
        ([ChatEntity(mistake="in file x: two handlers")], "in file x: two handlers"),
        ([lambda: None], "expected an entity, found function"),
        ([ChatEntity(passivation_timeout_s=0)], "expected a passivation_timeout_s above 0"),
        ([ChatEntity(passivation_timeout_s=-1)], "expected a passivation_timeout_s above 0"),
        ([ChatEntity(passivation_timeout_s=float("inf"))], "above 0, found inf"),
        ([ChatEntity(passivation_timeout_s=float("nan"))], "above 0, found nan"),
    ],
)
def test_a_mistake_in_the_entities_is_an_error_before_anything_is_served(
    plugins: Plugins, entities: list[ChatEntity], expected: str
) -> None:
    with pytest.raises(RegistrationError) as caught:
        UserFunction(entities, plugins)

    assert expected in str(caught.value)


def test_without_its_kind_an_entity_is_an_error_that_says_what_to_install() -> None:
    with pytest.raises(PluginError) as caught:
        UserFunction([ChatEntity()], Plugins())

    assert str(caught.value) == (
        "service 'example.chat.Room' needs entity type 'test.chat.Chat', which no plugin serves: "
        "install the distribution of package 'chat_kind' as a plugin"
    )


def test_a_disabled_kind_is_named(plugins: Plugins) -> None:
    disabled = PluginInfo("chat", "chat-kind", "1.0", (), enabled=False)

    with pytest.raises(PluginError, match=r"plugin 'chat' is disabled by the setting `disabled`"):
        UserFunction([ChatEntity()], replace(plugins, kinds={}, installed=(disabled,)))


def test_a_kind_whose_distribution_is_there_without_its_plugin_is_to_be_installed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "cloudstate_core.host.user_function.packages_distributions",
        lambda: {"chat_kind": ["chats-of-a-stranger"]},
    )

    with pytest.raises(PluginError, match="pip install --force-reinstall chats-of-a-stranger"):
        UserFunction([ChatEntity()], Plugins())


class _CallingEntity(ChatEntity):
    """An entity with a handler that says what it calls."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target

    def declared_calls(self) -> list[tuple[str, Target]]:
        return [("say (chat.py:1)", self._target)]


def test_one_of_several_entities_may_call_those_that_are_not_here(plugins: Plugins) -> None:
    entity = _CallingEntity(Target("elsewhere.Archive", "Keep"))

    UserFunction([entity], plugins, is_complete=False)

    with pytest.raises(RegistrationError, match=r"'elsewhere.Archive' is not registered"):
        UserFunction([entity], plugins)


def test_a_command_that_a_service_here_lacks_is_an_error_beside_absent_ones(
    plugins: Plugins,
) -> None:
    entity = _CallingEntity(Target("example.chat.Room", "Tlak"))

    with pytest.raises(RegistrationError, match="has no such command"):
        UserFunction([entity], plugins, is_complete=False)
