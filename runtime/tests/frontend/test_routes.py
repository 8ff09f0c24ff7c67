"""Which binding a request is for."""

from __future__ import annotations

import pytest

from cloudstate_core.errors import MalformedRequest
from cloudstate_runtime.frontend.http.routes import RouteTable, decode_text, decode_variable
from cloudstate_runtime.frontend.http.rules import Binding
from cloudstate_runtime.frontend.http.template import parse_template


def table(*rules: str) -> RouteTable[str]:
    """Routes from texts such as "GET /a"; each is its own target."""
    bindings = []
    for rule in rules:
        method, path = rule.split(" ")
        template = parse_template(path)
        binding = Binding(None if method == "*" else method, template, (), "", None, None)
        bindings.append((binding, rule))
    return RouteTable(bindings)


@pytest.mark.parametrize(
    ("rules", "request_", "target"),
    [
        (["GET /a"], "GET /a", "GET /a"),
        (["GET /a"], "POST /a", None),
        (["GET /a"], "GET /b", None),
        (["GET /a"], "GET ", None),
        (["* /a"], "BREW /a", "* /a"),
        (["GET /{x}", "GET /{y}"], "GET /1", "GET /{y}"),
        (["GET /a", "GET /{x}"], "GET /a", "GET /{x}"),
        (["GET /{x}", "GET /a"], "GET /a", "GET /a"),
        (["GET /{x}", "GET /a"], "GET /b", "GET /{x}"),
        (["* /a", "GET /a"], "GET /a", "GET /a"),
        (["GET /a", "* /a"], "GET /a", "* /a"),
        (["GET /a", "* /a"], "PUT /a", "* /a"),
        (["GET /**", "GET /a/{x}"], "GET /a/1", "GET /a/{x}"),
        (["GET /a/{x}", "GET /**"], "GET /a/1", "GET /**"),
        (["POST /{x}:go", "POST /{x}"], "POST /1:go", "POST /{x}:go"),
        (["POST /{x}:go", "POST /{x}"], "POST /1:stop", "POST /{x}"),
        (["POST /a:go", "POST /a"], "POST /a:go", "POST /a:go"),
        (["GET /carts/{u}", "GET /carts/{u}/items"], "GET /carts/1/items", "GET /carts/{u}/items"),
        (["GET /carts/{u}", "GET /carts/{u}/items"], "GET /carts/", "GET /carts/{u}"),
    ],
)
def test_a_request_finds_its_route(rules: list[str], request_: str, target: str | None) -> None:
    method, path = request_.split(" ")

    found = table(*rules).find(method, path)

    assert (found[0] if found else None) == target


def test_variables_come_in_the_order_of_the_template() -> None:
    found = table("GET /{a}/{b}").find("GET", "/1/2")

    assert found == ("GET /{a}/{b}", ("1", "2"))


def test_a_path_knows_the_methods_it_can_be_called_with() -> None:
    routes = table("GET /a", "PUT /a", "DELETE /{x}", "POST /b")

    assert routes.methods("/a") == {"GET", "PUT", "DELETE"}
    assert routes.methods("/b") == {"POST", "DELETE"}
    assert routes.methods("/a/b") == frozenset()


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("%C3%A9", "é"),
        ("a%2Fb", "a/b"),
        ("%2525", "%25"),
        ("%00", "\x00"),
        ("", ""),
    ],
)
def test_the_text_of_a_variable_is_decoded_once(text: str, decoded: str) -> None:
    assert decode_variable(text, spans_segments=False) == decoded


@pytest.mark.parametrize(
    ("text", "decoded"),
    [("a/b%2Fc", "a/b%2Fc"), ("a%2fb", "a%2fb"), ("%20/%2F+", " /%2F "), ("x", "x")],
)
def test_an_encoded_slash_stays_encoded_among_real_ones(text: str, decoded: str) -> None:
    assert decode_variable(text, spans_segments=True) == decoded


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "a%", "%C3", "%FF", "%ED%A0%80", "%C0%AF"])
@pytest.mark.parametrize("spans", [True, False])
def test_broken_escapes_and_broken_utf_8_are_refused(text: str, spans: bool) -> None:
    with pytest.raises(MalformedRequest, match="escape"):
        decode_variable(text, spans_segments=spans)


def test_a_broken_escape_is_shown() -> None:
    with pytest.raises(MalformedRequest, match="broken escape '%zz'"):
        decode_text("abc%zz")
