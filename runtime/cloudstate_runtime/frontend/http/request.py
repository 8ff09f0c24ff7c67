"""From the parts of an HTTP request to the bytes of a request message, with no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import EncodeError, Message

from cloudstate_core.entity import DeployedMethod
from cloudstate_core.errors import LimitExceeded, MalformedRequest
from cloudstate_core.frontend import Limits
from cloudstate_runtime.frontend.http.codec import MessageCodec
from cloudstate_runtime.frontend.http.fields import FieldPathError, find_path, set_field
from cloudstate_runtime.frontend.http.json_shape import check_shape
from cloudstate_runtime.frontend.http.routes import decode_text, decode_variable
from cloudstate_runtime.frontend.http.rules import WHOLE_BODY, Binding, FieldPath

__all__ = ["RequestReader", "check_json_type"]


class RequestReader:
    """Makes the request messages of one binding.

    Where fields come from (Cloudstate protocol, HTTP front end): without a body from the query,
    then the path; with the whole message as body from the body, then the path; with a field as body
    from the body, the query, then the path. What comes later overrides.

    Args:
        binding: The binding.
        method: The method it is a binding of.
        codec: For the message that the body holds; None if the binding has no body.
        limits: What to refuse.
    """

    def __init__(
        self,
        binding: Binding,
        method: DeployedMethod,
        codec: MessageCodec | None,
        limits: Limits,
    ) -> None:
        self.takes_body = codec is not None
        self._request_class = method.input_class
        self._descriptor = method.descriptor.input_type
        self._codec = codec
        self._limits = limits
        self._body_field = binding.body_field
        self._takes_query = binding.body != WHOLE_BODY
        self._variables = tuple(
            (fields, variable.spans_segments())
            for fields, variable in zip(
                binding.variables, binding.template.variables(), strict=True
            )
        )

    def read(self, variables: Sequence[str], query: bytes, body: bytes) -> bytes:
        """Return the request message, serialized.

        Args:
            variables: The text of each of the path's variables, as sent.
            query: What follows the question mark, as sent.
            body: The body; not looked at unless `takes_body`.

        Raises:
            MalformedRequest: If any part cannot be read, with the reason.
            LimitExceeded: If the JSON is too deep or too large, or the query has too many parts.
        """
        message = self._request_class()
        if self._codec is not None:
            self._read_body(self._codec, message, body)
        if query and self._takes_query:
            self._read_query(message, query)
        for (fields, spans_segments), text in zip(self._variables, variables, strict=True):
            set_field(message, fields, (decode_variable(text, spans_segments=spans_segments),))
        try:
            # Maps in the order of their keys: a request that is sent again has the same bytes.
            return message.SerializeToString(deterministic=True)
        except EncodeError as error:
            raise MalformedRequest(str(error)) from error

    def _read_body(self, codec: MessageCodec, message: Message, body: bytes) -> None:
        limits = self._limits
        check_shape(body, max_depth=limits.max_json_depth, max_nodes=limits.max_json_nodes)
        if self._body_field is not None:
            message = getattr(message, self._body_field.name)
            message.SetInParent()
        codec.parse(body, message)

    def _read_query(self, message: Message, query: bytes) -> None:
        values: dict[FieldPath, list[str]] = {}
        for name, value in self._parameters(query):
            values.setdefault(self._field(name), []).append(value)
        for fields, texts in values.items():
            set_field(message, fields, texts)

    def _parameters(self, query: bytes) -> list[tuple[str, str]]:
        parts = [part for part in query.split(b"&") if part]
        if len(parts) > self._limits.max_query_parameters:
            raise LimitExceeded(
                f"expected at most {self._limits.max_query_parameters} query parameters, "
                f"found {len(parts)}"
            )
        pairs = (part.decode("latin-1").partition("=") for part in parts)
        return [(decode_text(name), decode_text(value)) for name, _, value in pairs]

    def _field(self, name: str) -> FieldPath:
        path = name.split(".", self._limits.max_json_depth)
        if len(path) > self._limits.max_json_depth:
            raise LimitExceeded(
                f"a query parameter is nested more than {self._limits.max_json_depth} levels deep"
            )
        try:
            return find_path(self._descriptor, path)
        except FieldPathError as error:
            raise MalformedRequest(f"unknown query parameter {name[:80]!r}: {error}") from error


def check_json_type(content_type: str | None) -> None:
    """Refuse a body that says it is something else than JSON; a body that says nothing is JSON.

    Raises:
        MalformedRequest: If the type is not `application/json` or a type that ends in `+json`, or
            if it names a character set other than UTF-8.
    """
    if content_type is None or content_type == "application/json":
        return
    kind, _, parameters = content_type.lower().partition(";")
    kind = kind.strip()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json:
        raise MalformedRequest(
            f"expected content-type 'application/json', found {content_type[:80]!r}"
        )
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise MalformedRequest(f"expected charset 'utf-8', found {value[:80]!r}")
