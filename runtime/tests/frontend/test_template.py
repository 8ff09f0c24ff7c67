"""Path templates: what they mean, and where they are wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstate_runtime.frontend.http.template import TemplateError, Variable, parse_template


@pytest.mark.parametrize(
    ("text", "path", "groups"),
    [
        ("/", "/", ()),
        ("/a", "/a", ()),
        ("/a/b", "/a/b", ()),
        ("/a//b", "/a//b", ()),
        ("/a/", "/a/", ()),
        ("/a.b-c_d~$", "/a.b-c_d~$", ()),
        ("/*", "/anything", ()),
        ("/*", "/", ()),
        ("/a/*/c", "/a/x:y/c", ()),
        ("/**", "/a/b/c", ()),
        ("/**", "/", ()),
        ("/a/**", "/a/b:c/d", ()),
        ("/{id}", "/7", ("7",)),
        ("/{id}", "/", ("",)),
        ("/{id}", "/a%2Fb", ("a%2Fb",)),
        ("/{id}", "/7:archive", ("7:archive",)),
        ("/{id=*}", "/7", ("7",)),
        ("/{id=a/*}", "/a/7", ("a/7",)),
        ("/{id=a/*/b}/c", "/a/7/b/c", ("a/7/b",)),
        ("/{id=**}", "/a/7", ("a/7",)),
        ("/x/{id=a/**}:go", "/x/a/b/c:go", ("a/b/c",)),
        ("/{a}/{b}", "/1/2", ("1", "2")),
        ("/{a.b.c1_d}", "/1", ("1",)),
        ("/{id}:go", "/7:go", ("7",)),
        ("/{id}:go", "/7:x:go", ("7:x",)),
        ("/a:go", "/a:go", ()),
    ],
)
def test_a_template_matches_a_path(text: str, path: str, groups: tuple[str, ...]) -> None:
    found = re.fullmatch(parse_template(text).regex(), path)

    assert found is not None
    assert found.groups() == groups


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/a", "/b"),
        ("/a", "/a/"),
        ("/a", "/A"),
        ("/a.b", "/axb"),
        ("/*", "/a/b"),
        ("/{id}", "/a/b"),
        ("/{id=a/*}", "/b/7"),
        ("/{id}:go", "/7"),
        ("/{id}:go", "/7:gone"),
        ("/a/**", "/b"),
    ],
)
def test_a_template_does_not_match_another_path(text: str, path: str) -> None:
    assert re.fullmatch(parse_template(text).regex(), path) is None


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("", 1, "expected '/' at the start"),
        ("a", 1, "expected '/' at the start"),
        ("/a*", 3, "expected '/', ':' or the end, found '*'"),
        ("/*a", 3, "expected '/', ':' or the end, found 'a'"),
        ("/***", 4, "expected '/', ':' or the end, found '*'"),
        ("/a{b}", 3, "expected '/', ':' or the end, found '{'"),
        ("/{b}a", 5, "expected '/', ':' or the end, found 'a'"),
        ("/a}", 3, "expected '/', ':' or the end, found '}'"),
        ("/a\nb", 3, "expected '/', ':' or the end, found '\\n'"),
        ("/{", 3, "expected the name of a field, found the end"),
        ("/{}", 3, "expected the name of a field, found '}'"),
        ("/{_a}", 3, "expected the name of a field, found '_'"),
        ("/{1}", 3, "expected the name of a field, found '1'"),
        ("/{é}", 3, "expected the name of a field, found 'é'"),
        ("/{a.}", 5, "expected the name of a field, found '}'"),
        ("/{a", 4, "expected '}' to end the variable, found the end"),
        ("/{a-b}", 4, "expected '}' to end the variable, found '-'"),
        ("/{a=x:y}", 6, "expected '}' to end the variable, found ':'"),
        ("/{a={b}}", 5, "a variable inside a variable is not allowed"),
        ("/{a=x/{b}}", 7, "a variable inside a variable is not allowed"),
        ("/**/a", 2, "'**' stands for the rest of the path"),
        ("/**/{a}", 2, "'**' stands for the rest of the path"),
        ("/{a=**/b}", 5, "'**' stands for the rest of the path"),
        ("/{a=**}/b", 5, "'**' stands for the rest of the path"),
        ("/a:", 4, "expected a verb after ':'"),
        ("/a:b/c", 5, "expected '/', ':' or the end, found '/'"),
        ("/a:b:c", 5, "expected '/', ':' or the end, found ':'"),
        ("/a:{b}", 4, "expected '/', ':' or the end, found '{'"),
    ],
)
def test_a_mistake_is_named_with_its_column(text: str, column: int, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text)

    assert caught.value.column == column
    assert str(caught.value).startswith(f"column {column}: {reason}")


def column_of_the_mistake(text: str) -> int | None:
    try:
        parse_template(text)
    except TemplateError as error:
        return error.column
    return None


@given(st.text(alphabet="/{}*:=.ab_1%é\n", max_size=30))
def test_any_text_is_a_template_or_has_a_mistake_at_a_column(text: str) -> None:
    column = column_of_the_mistake(text)

    if column is None:
        template = parse_template(text)
        assert re.compile(template.regex()).groups == len(template.variables())
    else:
        assert 1 <= column <= len(text) + 1


@given(st.text(min_size=1, max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    column_of_the_mistake("/" + text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("/a/b", "a"),
        ("/{x}/b", None),
        ("/{x=a/*}/b", "a"),
        ("/*", None),
        ("/a:go", "a:go"),
        ("/{x=a}:go", "a:go"),
        ("/{x=a/b}:go", "a"),
        ("/", ""),
    ],
)
def test_the_first_segment_is_known_if_it_is_fixed(text: str, first: str | None) -> None:
    assert parse_template(text).first_literal() == first


def test_a_variable_knows_whether_it_spans_segments() -> None:
    spans = {
        text: variable.spans_segments()
        for text in ("{a}", "{a=*}", "{a=x}", "{a=x/*}", "{a=**}")
        for variable in parse_template("/" + text).variables()
        if isinstance(variable, Variable)
    }

    assert spans == {
        "{a}": False,
        "{a=*}": False,
        "{a=x}": False,
        "{a=x/*}": True,
        "{a=**}": True,
    }
