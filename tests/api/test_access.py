"""Keys, origins, request ids, and addresses that are not served."""

from __future__ import annotations

import re

import pytest

from .house import House


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "KEY_REQUIRED"),
        ("", "KEY_REQUIRED"),
        ("Basic ZGVtby1rZXk6", "KEY_REQUIRED"),
        ("Bearer", "KEY_REQUIRED"),
        ("Bearer wrong", "KEY_INVALID"),
        ("Bearer demo-key-and-more", "KEY_INVALID"),
        ("Bearer demo-ke", "KEY_INVALID"),
    ],
)
async def test_without_a_known_key(house: House, authorization: str | None, code: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    await house.problem("GET", "/v1/files", 401, code, key=None, headers=headers)
    async with house.ask("GET", "/v1/files", key=None, headers=headers) as answer:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("authorization", ["Bearer demo-key", "bearer demo-key", "Bearer demo-second-key"])
async def test_with_a_known_key(house: House, authorization: str) -> None:
    await house.json("GET", "/v1/files", key=None, headers={"Authorization": authorization})


async def test_key_is_looked_at_before_the_body(house: House) -> None:
    await house.problem("POST", "/v1/files", 401, "KEY_INVALID", key="wrong", data=b"x" * 2_000_000)


async def test_every_endpoint_but_the_public_ones_asks_for_a_key(house: House) -> None:
    from pipeline.api.app import ENDPOINTS

    guarded = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
    assert len(guarded) > 20
    for endpoint in guarded:
        path = endpoint.plain_path.replace("{id}", "3f0c8a51-0000-4000-8000-000000000000")
        path = re.sub(r"\{\w+\}", "1", path)
        if endpoint.method == "HEAD":
            async with house.ask("HEAD", path, key=None) as answer:
                assert answer.status == 401
        else:
            await house.problem(endpoint.method, path, 401, "KEY_REQUIRED", key=None)


async def test_unknown_address_and_method(house: House) -> None:
    await house.problem("GET", "/v1/nothing", 404, "NOT_FOUND")
    await house.problem("GET", "/v1/files/a/b/c", 404, "NOT_FOUND")
    document = await house.problem("PUT", "/v1/files", 405, "METHOD_NOT_ALLOWED")
    assert "GET" in document["detail"]
    async with house.ask("PUT", "/v1/files") as answer:
        assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_request_id_is_kept_or_made(house: House) -> None:
    async with house.ask("GET", "/livez", headers={"X-Request-Id": "abc-1"}) as answer:
        assert answer.headers["X-Request-Id"] == "abc-1"
    async with house.ask("GET", "/livez", headers={"X-Request-Id": "<script>"}) as answer:
        assert len(answer.headers["X-Request-Id"]) == 36


async def test_query_that_is_not_understood(house: House) -> None:
    for query in ("limit=0", "limit=5000", "limit=x", "lmit=5"):
        await house.problem("GET", f"/v1/files?{query}", 400, "REQUEST_INVALID")
    await house.problem("GET", "/v1/files?cursor=zzz", 400, "CURSOR_INVALID")


# Origins


async def test_preflight_is_answered_for_every_path(house: House) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, upload-offset",
    }
    for path in ("/v1/files", "/v1/uploads/x", "/nowhere"):
        async with house.ask("OPTIONS", path, key=None, headers=asked) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization, upload-offset"
            assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_answers_may_be_read_by_the_projects_origins_only(house: House) -> None:
    for key, origin, allowed in (
        ("demo-key", "https://shop.example", "*"),
        ("other-key", "https://other.example", "https://other.example"),
        ("other-key", "https://shop.example", None),
    ):
        async with house.ask("GET", "/v1/files", key=key, headers={"Origin": origin}) as answer:
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            if allowed:
                exposed = answer.headers["Access-Control-Expose-Headers"]
                for name in ("Location", "Retry-After", "ETag", "Content-Range", "Upload-Offset", "X-Request-Id"):
                    assert name in exposed
            assert (answer.headers.get("Vary") == "Origin") == (allowed != "*")


async def test_public_bytes_may_be_read_by_the_origins_of_their_project(house: House) -> None:
    file = await house.send(b"text", key="other-key")
    for origin, allowed in (("https://other.example", "https://other.example"), ("https://shop.example", None)):
        async with house.ask("GET", file["url"], key=None, headers={"Origin": origin}) as answer:
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            assert answer.headers["Vary"] == "Origin"


async def test_refusals_can_be_read_too(house: House) -> None:
    async with house.ask("GET", "/v1/files", key="wrong", headers={"Origin": "https://shop.example"}) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")


async def test_without_an_origin_nothing_is_said_of_origins(house: House) -> None:
    async with house.ask("GET", "/v1/files") as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
