"""`google.api.http` rules: from a method's options to bindings to serve, with no I/O.

A method without a rule is bound to `POST /<service>/<method>` with the whole message as body. A
method with a rule has only the bindings of its rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from cloudstate_core.entity import DeployedEntity, DeployedMethod
from cloudstate_runtime.frontend.http.fields import FieldPathError, field_named, find_path
from cloudstate_runtime.frontend.http.template import (
    Template,
    TemplateError,
    Variable,
    parse_template,
)

__all__ = ["WHOLE_BODY", "Binding", "RuleError", "bindings_of", "rule_faults"]

#: The `body` of a rule that takes the whole message from the body.
WHOLE_BODY = "*"

FieldPath = tuple[FieldDescriptor, ...]


class RuleError(ValueError):
    """A rule cannot be served. The text is a sentence for the author of the proto file."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a method over HTTP.

    Attributes:
        http_method: Such as "GET"; None for any.
        template: Which paths.
        variables: Where in the request each variable of the template goes, in its order.
        body: "" for none, `WHOLE_BODY`, or the name of `body_field`.
        body_field: The field that the body goes into.
        response_field: The field that is answered instead of the whole reply.
    """

    http_method: str | None
    template: Template
    variables: tuple[FieldPath, ...]
    body: str
    body_field: FieldDescriptor | None
    response_field: FieldDescriptor | None


def bindings_of(entity: DeployedEntity, method: DeployedMethod) -> tuple[Binding, ...]:
    """Return the bindings of one method, the rule's own first.

    Raises:
        RuleError: With the first thing that is wrong with its rule.
    """
    return tuple(_bind(method, rule) for rule, _ in _rules(entity, method))


def rule_faults(entities: Sequence[DeployedEntity]) -> Iterator[str]:
    """Yield one sentence for each rule that cannot be served."""
    for entity in entities:
        for method in entity.methods.values():
            try:
                rules = tuple(_rules(entity, method))
            except RuleError as error:
                yield f"{entity.service_name}.{method.name}: {error}"
                continue
            for rule, place in rules:
                try:
                    _bind(method, rule)
                except RuleError as error:
                    yield f"{entity.service_name}.{method.name}: {place}: {error}"


def _rules(entity: DeployedEntity, method: DeployedMethod) -> Iterable[tuple[HttpRule, str]]:
    """Return every rule of a method, and the name of its place."""
    full_name = f"{entity.service_name}.{method.name}"
    if method.http is None:
        path = f"/{entity.service_name}/{method.name}"
        return [(HttpRule(post=path, body=WHOLE_BODY), "generated http rule")]
    if method.http.selector not in ("", full_name):
        raise RuleError(
            f"http rule: expected selector {full_name!r} or none, found {method.http.selector!r}"
        )
    rules = [(method.http, "http rule")]
    for number, rule in enumerate(method.http.additional_bindings, start=1):
        if rule.additional_bindings:
            raise RuleError(
                f"http rule: additional binding {number} has additional bindings of its own; "
                "only one level is allowed"
            )
        rules.append((rule, f"additional binding {number} of the http rule"))
    return rules


def _bind(method: DeployedMethod, rule: HttpRule) -> Binding:
    http_method, path = _pattern(rule)
    try:
        template = parse_template(path)
    except TemplateError as error:
        raise RuleError(f"path {path!r}: {error}") from error
    request, reply = method.descriptor.input_type, method.descriptor.output_type
    return Binding(
        http_method=http_method,
        template=template,
        variables=tuple(_variables(template, request)),
        body=rule.body,
        body_field=_body_field(rule.body, request),
        response_field=_response_field(rule.response_body, reply),
    )


def _pattern(rule: HttpRule) -> tuple[str | None, str]:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise RuleError("expected one of get, put, post, delete, patch and custom, found none")
    if kind != "custom":
        return kind.upper(), getattr(rule, kind)
    if rule.custom.kind != "*":
        raise RuleError(f"custom kind: expected '*' for any method, found {rule.custom.kind!r}")
    return None, rule.custom.path


def _variables(template: Template, request: Descriptor) -> Iterator[FieldPath]:
    seen: set[FieldPath] = set()
    for variable in template.variables():
        place = f"path {template.text!r}: column {variable.column}"
        fields = _variable_field(variable, request, place)
        if fields in seen:
            raise RuleError(f"{place}: field {'.'.join(variable.path)!r} is bound twice")
        seen.add(fields)
        yield fields


def _variable_field(variable: Variable, request: Descriptor, place: str) -> FieldPath:
    try:
        fields = find_path(request, variable.path)
    except FieldPathError as error:
        raise RuleError(f"{place}: {error}") from error
    kind = _unfit_for_a_path(fields[-1])
    if kind:
        raise RuleError(
            f"{place}: field {'.'.join(variable.path)!r} is {kind}, which a path cannot hold"
        )
    return fields


def _unfit_for_a_path(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "a map"
    if field.is_repeated:
        return "repeated"
    if field.message_type is not None:
        return "a message"
    return "an enum" if field.enum_type is not None else ""


def _body_field(name: str, request: Descriptor) -> FieldDescriptor | None:
    if name in ("", WHOLE_BODY):
        return None
    field = field_named(request, name)
    if field is None:
        raise RuleError(f"body: no field {name!r} in {request.full_name}")
    if field.is_repeated or field.message_type is None:
        raise RuleError(f"body: expected field {name!r} to be a singular message")
    return field


def _response_field(name: str, reply: Descriptor) -> FieldDescriptor | None:
    if not name:
        return None
    field = field_named(reply, name)
    if field is None:
        raise RuleError(f"response_body: no field {name!r} in {reply.full_name}")
    return field
