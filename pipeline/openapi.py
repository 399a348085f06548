"""The HTTP operations of the house as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import openapi_pydantic as openapi
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel

from pipeline.describe import PLACE, Content, Contents, Operation, Raw
from pipeline.errors import SafelightError

KEY_SCHEME = "apiKey"
PUBLIC_KEY_SCHEME = "publicKey"


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
    return "_".join(filter(None, [operation.api, operation.method.lower(), *words]))


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
