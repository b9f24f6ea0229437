"""The words that a description in OpenAPI 3.1 is put together of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]
Needs = Mapping[str, Sequence[str]]
"""The security schemes that are needed together."""

JSON: Final = "application/json"
ID_FORM: Final = "^[a-z]{2,16}_[0-9a-f]{32}$"

NULL: Final[Json] = {"type": "null"}
TEXT: Final[Json] = {"type": "string"}
WHOLE: Final[Json] = {"type": "integer"}
NUMBER: Final[Json] = {"type": "number"}
YES_NO: Final[Json] = {"type": "boolean"}
MOMENT: Final[Json] = {"type": "integer", "description": "Unix seconds."}
TIME: Final[Json] = {"type": "number", "description": "Unix seconds."}

COMMON: Final = (400, 401, 403, 429, 500, 503)
"""What every operation that asks for a credential may answer with."""

_REASONS: Final = {
    400: "Something in the request is wrong; `param` says what.",
    401: "There is no good credential.",
    403: "The credential does not allow this.",
    404: "There is no such thing, or it is not yours.",
    405: "This address does not take that method.",
    409: "It is not in a state for this.",
    413: "The body is too large.",
    415: "The body is of another type, or compressed.",
    416: "The range is not within the content.",
    429: "A limit is reached: wait for `Retry-After`, or for a budget do not repeat it (`insufficient_quota`).",
    500: "A fault of this server.",
    502: "The upstream failed.",
    503: "Not available now, or for good where `x-should-retry` is false.",
    504: "The upstream did not answer in time.",
}


def ref(name: str) -> Json:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Json) -> Json:
    """The schema, or null."""
    return {"anyOf": [schema, NULL]}


def word(*known: str) -> Json:
    """One of these texts."""
    return {"type": "string", "enum": list(known)}


def exactly(text: str) -> Json:
    """This very text."""
    return {"type": "string", "const": text}


def several(schema: Json, **more: Any) -> Json:
    """A list of these."""
    return {"type": "array", "items": schema, **more}


def about(schema: Json, description: str) -> Json:
    """The schema with a sentence about it."""
    return {**schema, "description": description}


def text(least: int = 1, most: int | None = None, **more: Any) -> Json:
    """A text with so many characters."""
    return {"type": "string", "minLength": least, **({} if most is None else {"maxLength": most}), **more}


def shape(properties: Mapping[str, Json], *, optional: Sequence[str] = (), **more: Any) -> Json:
    """An object that has all of these, but perhaps not the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), **({"required": required} if required else {}), **more}


def wish(properties: Mapping[str, Json], *, required: Sequence[str] = (), closed: bool = True) -> Json:
    """What a body may say: the `required`, and the others or null; nothing else where it is `closed`."""
    fields = {name: schema if name in required else maybe(schema) for name, schema in properties.items()}
    found: Json = {"type": "object", "properties": fields}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def listed(schema: Json) -> Json:
    """A page of a list."""
    return shape(
        {
            "object": exactly("list"),
            "data": several(schema),
            "first_id": maybe(TEXT),
            "last_id": about(maybe(TEXT), "Where `after` of the next page goes on."),
            "has_more": YES_NO,
        }
    )


def query(name: str, schema: Json, description: str) -> Json:
    """A parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def header(name: str, schema: Json, description: str) -> Json:
    """A header of a request."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def path(name: str, description: str, **more: Any) -> Json:
    """A part of the address."""
    schema = {"type": "string", "minLength": 1, **more}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def limit(most: int, default: int, least: int = 1) -> Json:
    """How many a page has."""
    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return query("limit", schema, "How many a page has.")


def after(noun: str) -> Json:
    """Where a page goes on."""
    return query("after", {"type": "string", "pattern": ID_FORM}, f"Go on behind {noun} with this id.")


def answer(description: str, schema: Json | None = None, *, kind: str = JSON, headers: Json | None = None) -> Json:
    """An answer that is no error."""
    told: Json = {"description": description, "headers": {"x-request-id": _REQUEST_ID, **(headers or {})}}
    if schema is not None:
        told["content"] = {kind: {"schema": schema}}
    return told


def operation(
    name: str,
    summary: str,
    ok: Json | Mapping[str, Json],
    *,
    tag: str,
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    errors: Sequence[int] = (),
    common: Sequence[int] = COMMON,
    security: Sequence[Needs] | None = None,
    description: str = "",
) -> Json:
    """An operation; `ok` is its answer, or its answers by status."""
    answers: Json = dict(ok) if "description" not in ok else {"200": ok}
    for status in sorted({*common, *errors, *((413, 415) if body is not None else ())}):
        answers[str(status)] = {"$ref": f"#/components/responses/E{status}"}
    told: Json = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        told["description"] = description
    if parameters:
        told["parameters"] = list(parameters)
    if body is not None:
        told["requestBody"] = body
    if security is not None:
        told["security"] = [dict(one) for one in security]
    return {**told, "responses": answers}


def body(schemas: Mapping[str, Json], *, required: bool = True) -> Json:
    """A request body: media type -> schema."""
    return {"required": required, "content": {kind: {"schema": schema} for kind, schema in schemas.items()}}


def refusals() -> Json:
    """The answers that tell an error, by their names in the components."""
    retry = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds until another try is worth it."}}
    should = {
        "x-should-retry": {
            "schema": word("true", "false"),
            "description": "Whether the official SDKs send the request again.",
        }
    }
    return {
        f"E{status}": answer(reason, ref("Error"), headers={**should, **(retry if status in (429, 503) else {})})
        for status, reason in _REASONS.items()
    }


_REQUEST_ID: Final[Json] = {
    "schema": {"type": "string"},
    "required": True,
    "description": "The id of the request, for the log.",
}
