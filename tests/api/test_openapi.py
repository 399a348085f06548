"""The description of the API: valid, complete, and readable as a page."""

from __future__ import annotations

import re

from openapi_spec_validator import OpenAPIV31SpecValidator

from .house import House


async def test_document_is_valid_openapi(house: House) -> None:
    document = await house.json("GET", "/openapi.json", key=None)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


async def test_every_route_is_described_and_every_description_is_routed(house: House) -> None:
    from pipeline.api.app import ENDPOINTS, create_app

    again = {path for endpoint in ENDPOINTS for path in endpoint.also}
    routed = {
        (route.method, route.resource.canonical)
        for route in create_app(house.core).router.routes()
        # `*` refuses what no other route takes; a HEAD comes with each GET.
        if route.resource is not None and route.method not in ("HEAD", "*") and route.resource.canonical not in again
    }
    document = await house.json("GET", "/openapi.json", key=None)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routed == {(method, path) for method, path in described if method != "HEAD"}
    known = {endpoint.path.rstrip("/") for endpoint in ENDPOINTS}
    assert {path.rstrip("/") for path in again} - known == {"/imagekit/v1/metadata"}


async def test_operations_say_what_they_take_and_give(house: House) -> None:
    paths = (await house.json("GET", "/openapi.json", key=None))["paths"]
    start = paths["/v1/flows/{id}/runs"]["post"]
    assert set(start["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "202", "400", "401", "404", "409", "413", "415", "422", "503"} <= set(start["responses"])
    assert {"id", "wait", "Idempotency-Key"} <= {parameter["name"] for parameter in start["parameters"]}
    assert start["security"] == [{"apiKey": []}]
    assert paths["/livez"]["get"]["security"] == [{}]
    for methods in paths.values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            assert set(operation["responses"]) - {"default"}


async def test_operation_ids_are_unique(house: House) -> None:
    paths = (await house.json("GET", "/openapi.json", key=None))["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


async def test_answers_have_the_described_shape(house: House) -> None:
    from jsonschema import Draft202012Validator

    document = await house.json("GET", "/openapi.json", key=None)
    file = await house.send(b"text")
    flow = await house.json("GET", "/v1/flows/tiny")
    for name, answer in (("FileShape", file), ("FlowDetail", flow)):
        Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]}).validate(
            answer
        )


async def test_page_shows_every_operation_and_loads_nothing(house: House) -> None:
    async with house.ask("GET", "/docs", key=None) as answer:
        assert answer.content_type == "text/html"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        page = await answer.text()
    paths = (await house.json("GET", "/openapi.json", key=None))["paths"]
    assert all(f"<code>{path}</code>" in page for path in paths)
    assert "id=FLOW_NOT_FOUND" in page
    assert not re.search(r"<script|<link|<img|src=|url\(|@import", page)
