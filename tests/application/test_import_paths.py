from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

CASES = [
    ("event_sourced_entity", "EventSourcedEntity", "cloudstate_eventsourced"),
    ("event_sourced_context", "EventSourcedCommandContext", "cloudstate_eventsourced"),
    ("event_sourced_context", "EventContext", "cloudstate_eventsourced"),
    ("event_sourced_context", "SnapshotContext", "cloudstate_eventsourced"),
    ("value_entity", "ValueEntity", "cloudstate_kv"),
    ("value_entity", "ValueEntityCommandContext", "cloudstate_kv"),
    ("action_protocol_entity", "Action", "cloudstate_action"),
    ("action_context", "ActionContext", "cloudstate_action"),
    ("action_context", "ActionReply", "cloudstate_action"),
    ("action_context", "MessageEnvelope", "cloudstate_action"),
]


@pytest.mark.parametrize(("module", "name", "package"), CASES)
def test_without_its_kind_a_class_says_what_to_install(
    module: str, name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = importlib.import_module(f"cloudstate.{module}")
    for loaded in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed

    with pytest.raises(ImportError) as caught:
        getattr(asked, name)

    distribution = package.replace("_", "-")
    assert str(caught.value) == (
        f"cloudstate.{module}.{name} needs the distribution {distribution!r}: "
        f"pip install {distribution}"
    )


def test_the_imports_of_the_original_library_give_the_classes_of_the_kind() -> None:
    from cloudstate.cloudstate import CloudState
    from cloudstate.event_sourced_context import EventSourcedCommandContext
    from cloudstate.event_sourced_entity import EventSourcedEntity
    from cloudstate_eventsourced.context import EventSourcedCommandContext as OfKind
    from cloudstate_eventsourced.entity import EventSourcedEntity as EntityOfKind

    assert EventSourcedCommandContext is OfKind
    assert EventSourcedEntity is EntityOfKind
    assert CloudState.__name__ == "CloudState"


@pytest.mark.parametrize("module", sorted({module for module, _, _ in CASES}))
def test_a_name_that_does_not_exist_is_the_usual_error(module: str) -> None:
    asked = importlib.import_module(f"cloudstate.{module}")

    with pytest.raises(AttributeError, match=f"module 'cloudstate.{module}' has no attribute 'x'"):
        asked.x  # noqa: B018
    assert not hasattr(asked, "__path__")


def test_a_kind_that_is_broken_is_not_taken_for_one_that_is_missing(tmp_path, monkeypatch) -> None:
    package = tmp_path / "cloudstate_action"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "entity.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    for loaded in [each for each in sys.modules if each.partition(".")[0] == package.name]:
        monkeypatch.delitem(sys.modules, loaded)
    asked = importlib.import_module("cloudstate.action_protocol_entity")

    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        asked.Action  # noqa: B018


def test_importing_costs_neither_grpc_nor_a_kind() -> None:
    code = """
import sys
import cloudstate.cloudstate, cloudstate.event_sourced_entity, cloudstate.event_sourced_context
import cloudstate.action_protocol_entity, cloudstate.action_context, cloudstate.value_entity
heavy = {"grpc", "structlog", "rich", "cloudstate_runtime"}
heavy |= {"cloudstate_action", "cloudstate_eventsourced", "cloudstate_kv"}
sys.exit(", ".join(heavy & sys.modules.keys()) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )

    assert (done.returncode, done.stderr) == (0, "")
