"""HTTP rules: what they bind, and what makes them unfit to be served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_runtime.frontend.http.front import HttpFrontEnd
from cloudstate_runtime.frontend.http.rules import Binding, bindings_of


@pytest.fixture
def entity_with(model: SimpleNamespace) -> Any:
    def entity_with(rule: dict[str, Any] | None, reply: str = "Thing") -> DeployedEntity:
        file = model.things_file({"Do": ("Thing", reply, rule)})
        (entity,) = model.deployment_of(file).entities
        return entity

    return entity_with


def bindings(entity: DeployedEntity) -> tuple[Binding, ...]:
    method: DeployedMethod = entity.methods["Do"]
    return bindings_of(entity, method)


def test_a_method_without_a_rule_is_posted_to_its_own_name(entity_with: Any) -> None:
    (binding,) = bindings(entity_with(None))

    assert binding.http_method == "POST"
    assert binding.template.text == "/test.things.Things/Do"
    assert binding.body == "*"


@pytest.mark.parametrize("verb", ["get", "put", "post", "delete", "patch"])
def test_each_verb_binds_its_http_method(entity_with: Any, verb: str) -> None:
    (binding,) = bindings(entity_with({verb: "/a/{id}"}))

    assert binding.http_method == verb.upper()
    assert [field.name for (field,) in binding.variables] == ["id"]


def test_a_custom_rule_binds_any_http_method(entity_with: Any) -> None:
    (binding,) = bindings(entity_with({"custom": {"kind": "*", "path": "/a"}}))

    assert binding.http_method is None


def test_additional_bindings_follow_the_rule_itself(entity_with: Any) -> None:
    rule = {
        "get": "/a/{id}",
        "additional_bindings": [
            {"post": "/b", "body": "inner"},
            {"get": "/c/{inner.text}", "response_body": "texts"},
        ],
    }

    first, second, third = bindings(entity_with(rule))

    assert (first.http_method, second.http_method, third.http_method) == ("GET", "POST", "GET")
    assert second.body_field is not None
    assert second.body_field.name == "inner"
    assert third.response_field is not None
    assert third.response_field.name == "texts"
    assert [[field.name for field in path] for path in third.variables] == [["inner", "text"]]


def test_a_selector_may_repeat_the_name_of_the_method(entity_with: Any) -> None:
    rule = {"get": "/a", "selector": "test.things.Things.Do"}

    assert not list(HttpFrontEnd().faults([entity_with(rule)]))


UNFIT = [
    ({"selector": "x.Y.Do", "get": "/a"}, "http rule: expected selector 'test.things.Things.Do'"),
    ({}, "http rule: expected one of get, put, post, delete, patch and custom, found none"),
    ({"custom": {"kind": "HEAD", "path": "/a"}}, "custom kind: expected '*' for any method"),
    ({"get": ""}, "path '': column 1: expected '/' at the start"),
    ({"get": "/a/{"}, "path '/a/{': column 5: expected the name of a field, found the end"),
    ({"post": "/a", "body": "nope"}, "body: no field 'nope' in test.things.Thing"),
    ({"post": "/a", "body": "inners"}, "body: expected field 'inners' to be a singular message"),
    ({"post": "/a", "body": "text"}, "body: expected field 'text' to be a singular message"),
    ({"get": "/a", "response_body": "no"}, "response_body: no field 'no' in test.things.Thing"),
    ({"get": "/{nope}"}, "path '/{nope}': column 2: no field 'nope' in test.things.Thing"),
    ({"get": "/{inner.nope}"}, "column 2: no field 'nope' in test.things.Inner"),
    ({"get": "/{text.a}"}, "column 2: field test.things.Thing.text is not a singular message"),
    ({"get": "/{inners.text}"}, "field test.things.Thing.inners is not a singular message"),
    ({"get": "/a/{texts}"}, "column 4: field 'texts' is repeated, which a path cannot hold"),
    ({"get": "/a/{inner}"}, "column 4: field 'inner' is a message, which a path cannot hold"),
    ({"get": "/a/{color}"}, "column 4: field 'color' is an enum, which a path cannot hold"),
    ({"get": "/{id}/{id}"}, "column 7: field 'id' is bound twice"),
    (
        {"get": "/a", "additional_bindings": [{"get": "/b"}, {"get": "b"}]},
        "additional binding 2 of the http rule: path 'b': column 1: expected '/' at the start",
    ),
    (
        {"get": "/a", "additional_bindings": [{"get": "/b", "additional_bindings": [{}]}]},
        "additional binding 1 has additional bindings of its own; only one level is allowed",
    ),
]


@pytest.mark.parametrize(("rule", "reason"), UNFIT)
def test_a_rule_that_cannot_be_served_is_a_fault(
    entity_with: Any, rule: dict[str, Any], reason: str
) -> None:
    (fault,) = HttpFrontEnd().faults([entity_with(rule)])

    assert fault.startswith("test.things.Things.Do: ")
    assert reason in fault


def test_a_map_cannot_be_in_a_path(model: SimpleNamespace) -> None:
    file = model.things_file({"Do": ("Labelled", "Thing", {"get": "/{labels}"})})

    (fault,) = HttpFrontEnd().faults(model.deployment_of(file).entities)

    assert "field 'labels' is a map, which a path cannot hold" in fault


def test_every_fault_is_named(model: SimpleNamespace) -> None:
    rule = {"get": "a", "additional_bindings": [{"get": "b"}]}
    file = model.things_file(dict.fromkeys(("One", "Two"), ("Thing", "Thing", rule)))

    faults = list(HttpFrontEnd().faults(model.deployment_of(file).entities))

    assert [fault.split(":")[0] for fault in faults] == [
        "test.things.Things.One",
        "test.things.Things.One",
        "test.things.Things.Two",
        "test.things.Things.Two",
    ]
