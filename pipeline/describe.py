"""What the house offers, described: HTTP operations as OpenAPI 3.1 and as a page, node types as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Any, Literal

import openapi_pydantic as openapi
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel

from pipeline.errors import SafelightError
from pipeline.nodes import INDEX
from pipeline.nodes.base import Node

PLACE = re.compile(r"{(\w+)(?::[^{}]*)?}")
KEY_SCHEME = "apiKey"
PUBLIC_KEY_SCHEME = "publicKey"


@dataclass(frozen=True)
class Raw:
    """A body that is not JSON: its media type and, for forms, the schema of its fields."""

    media_type: str
    schema: Mapping[str, Any]


BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
Content = type[BaseModel] | Raw
Contents = Content | Sequence[Content] | None


ByPublicKey = Literal["no", "signed", "known"]


@dataclass(frozen=True)
class Operation:
    """One method on one path, with everything a caller must know to use it."""

    method: str
    path: str
    summary: str
    tag: str = "safelight"
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] | None = None
    body: Contents = None
    answers: Mapping[int, Contents] | None = None
    errors: tuple[type[SafelightError], ...] = ()
    public: bool = False
    by_public_key: ByPublicKey = "no"
    """Whether a page may call it with the project's public key: signed where the project asks for it, or as it is."""

    @property
    def plain_path(self) -> str:
        """The path with its places as `{name}` only."""
        return PLACE.sub(r"{\1}", self.path)


# OpenAPI


def openapi_document(operations: Iterable[Operation], *, version: str, problem: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations; `problem` is the shape of every error."""
    paths: dict[str, openapi.PathItem] = {}
    for operation in operations:
        described = {operation.method.lower(): _operation(operation, problem)}
        known = paths.setdefault(operation.plain_path, openapi.PathItem())
        paths[operation.plain_path] = known.model_copy(update=described)
    public_key = openapi.SecurityScheme(
        type="apiKey",
        name="X-Public-Key",
        security_scheme_in="header",
        description="The public key of a project, for pages; with X-Signature, X-Expires and X-Token where it asks for "
        "signed uploads.",
    )
    bearer = openapi.SecurityScheme(type="http", scheme="bearer", description="An API key of a project.")
    document = openapi.OpenAPI(
        info=openapi.Info(
            title="Safelight", version=version, summary="Upload files, run flows on them, watch every step."
        ),
        paths=paths,
        components=openapi.Components(securitySchemes={KEY_SCHEME: bearer, PUBLIC_KEY_SCHEME: public_key}),
    )
    whole = construct_open_api_with_schema_class(document)
    # Defaults left out: some are not allowed beside a header or path parameter.
    described = whole.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return {"openapi": whole.openapi, **described}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.public:
        return [{}]
    page: list[dict[str, list[str]]] = [] if operation.by_public_key == "no" else [{PUBLIC_KEY_SCHEME: []}]
    return [{KEY_SCHEME: []}, *page]


def _operation(operation: Operation, problem: type[BaseModel]) -> openapi.Operation:
    return openapi.Operation(
        operationId=_operation_id(operation),
        summary=operation.summary,
        tags=[operation.tag],
        parameters=[*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)]
        or None,
        requestBody=_body(operation.body),
        responses={**_answers(operation), **_errors(operation.errors, problem)},
        security=_security(operation),
    )


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.plain_path.replace("/v1", "", 1))
    return "_".join([operation.method.lower(), *words])


def _path_parameters(operation: Operation) -> list[openapi.Parameter]:
    return [
        _parameter(name, openapi.ParameterLocation.PATH, {"type": "string"}, required=True)
        for name in PLACE.findall(operation.path)
    ]


def _query_parameters(operation: Operation) -> list[openapi.Parameter]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema()
    required = schema.get("required", [])
    return [
        _parameter(name, openapi.ParameterLocation.QUERY, field, required=name in required)
        for name, field in schema["properties"].items()
    ]


def _header_parameters(operation: Operation) -> list[openapi.Parameter]:
    return [
        openapi.Parameter.model_validate(
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        )
        for name, text in (operation.headers or {}).items()
    ]


def _parameter(
    name: str, where: openapi.ParameterLocation, schema: Mapping[str, Any], *, required: bool
) -> openapi.Parameter:
    return openapi.Parameter.model_validate(
        {
            "name": name,
            "in": where.value,
            "required": required,
            "description": schema.get("description"),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
    )


def _body(contents: Contents) -> openapi.RequestBody | None:
    if not contents:
        return None
    return openapi.RequestBody(required=True, content=_contents(contents))


def _contents(contents: Contents) -> dict[str, openapi.MediaType]:
    several = contents if isinstance(contents, Sequence) else [contents]
    return dict(_typed(content) for content in several if content is not None)


def _typed(content: Content) -> tuple[str, openapi.MediaType]:
    if isinstance(content, Raw):
        return content.media_type, openapi.MediaType.model_validate({"schema": content.schema})
    return "application/json", openapi.MediaType(schema=PydanticSchema(schema_class=content))


def _answers(operation: Operation) -> dict[str, openapi.Response]:
    return {
        str(status): openapi.Response(description=HTTPStatus(status).phrase, content=_contents(contents) or None)
        for status, contents in (operation.answers or {200: None}).items()
    }


def _errors(errors: Iterable[type[SafelightError]], problem: type[BaseModel]) -> dict[str, openapi.Response]:
    by_status: dict[int, list[str]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(f"`{error.code}`")
    content = {"application/problem+json": openapi.MediaType(schema=PydanticSchema(schema_class=problem))}
    return {
        str(status): openapi.Response(description=", ".join(sorted(set(codes))), content=content)
        for status, codes in sorted(by_status.items())
    }


# Node types


def node_types() -> Sequence[dict[str, Any]]:
    """Every node type: what it does, its ports, and the JSON Schema of its parameters."""
    return [_node_type(name, node) for name, node in INDEX.items()]


def _node_type(name: str, node: type[Node]) -> dict[str, Any]:
    return {
        "type": name,
        "summary": (node.__doc__ or "").strip().partition("\n")[0],
        "inputs": node.inputs,
        "optional_inputs": node.optional_inputs,
        "gathers": node.gathers,
        "outputs": node.outputs,
        "takes": node.takes,
        "gives": node.gives,
        "parameters": node.model_json_schema(by_alias=True),
    }


# The page

STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-bottom:1px solid #8886}
details{border:1px solid #8884;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}
code,b.method{font-family:ui-monospace,monospace;font-size:.92em}
b.method{display:inline-block;min-width:4.5em}
table{border-collapse:collapse;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
"""


def page(document: Mapping[str, Any], errors: Iterable[type[SafelightError]]) -> str:
    """The OpenAPI document and the table of error codes as one HTML page that loads nothing."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_entry(method, path, operation))
    described = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in sections.items())
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title} API</title>"
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
        f"<h1>{title} API</h1><p>{escape(document['info']['summary'])} "
        f"The machine-readable form is <a href=/openapi.json>/openapi.json</a>.</p>"
        f"{described}<h2>Errors</h2>{_error_table(errors)}</html>\n"
    )


def _entry(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = [(p["name"], p["in"], p.get("description", "")) for p in operation.get("parameters", [])]
    body = operation.get("requestBody", {}).get("content", {})
    answers = [
        (status, answer["description"], ", ".join(_shapes(answer))) for status, answer in operation["responses"].items()
    ]
    key = "" if {} in operation["security"] else "<p>Needs an API key.</p>"
    return (
        f"<details><summary><b class=method>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>{key}{_table(('parameter', 'in', ''), parameters)}"
        f"{_table(('body',), [(media_type,) for media_type in body])}{_table(('answer', '', ''), answers)}</details>"
    )


def _shapes(answer: Mapping[str, Any]) -> list[str]:
    return [
        str(media.get("schema", {}).get("$ref", media_type)).rpartition("/schemas/")[2]
        for media_type, media in answer.get("content", {}).items()
    ]


def _error_table(errors: Iterable[type[SafelightError]]) -> str:
    rows = sorted({(error.code, str(error.status), error.sentence) for error in errors})
    cells = "".join(
        f"<tr id={code}><td><code>{code}</code><td>{status}<td>{escape(sentence)}" for code, status, sentence in rows
    )
    return f"<table><tr><th>code<th>status<th>sentence{cells}</table>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(text)}" for text in heads)
    lines = "".join("<tr>" + "".join(f"<td>{escape(text)}" for text in row) for row in rows)
    return f"<table><tr>{head}{lines}</table>"


def every_error(base: type[SafelightError] = SafelightError) -> list[type[SafelightError]]:
    """Every class of error there is, the base itself included."""
    return [base, *(error for child in base.__subclasses__() for error in every_error(child))]
