"""Who may: API keys become tokens, tokens end, and what was begun is gone on with for a while without either."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.api.dialects.uploadista.desk import KEY, SECRET, Desk, made
from tests.outside import Outside

CREATE = {"storageId": "default", "type": "text/plain", "size": 10, "fileName": "a.txt"}


async def test_an_api_key_becomes_a_short_lived_token_and_no_log_has_the_key(ud: Desk) -> None:
    with capture_logs() as logs:
        told = await ud.ask("GET", f"/uploadista/auth/jwt?apiKey={KEY}&clientId=demo", key=None)
    assert told.status == 200 and told.document.keys() == {"token", "expiresIn"}
    assert told.headers["Cache-Control"] == "no-store"
    assert [entry["path"] for entry in logs if entry["event"] == "request"] == ["/uploadista/auth/jwt"]
    assert KEY not in repr(logs)
    claims = jwt.decode(told.document["token"], SECRET, ["HS256"], audience="uploadista")
    assert claims["sub"] == "demo" and claims["permissions"] == ["flow:*", "upload:*"]
    assert 0 < claims["exp"] - time.time() <= told.document["expiresIn"] <= 3600
    assert (await ud.ok("POST", "/upload", CREATE, key=told.document["token"]))["offset"] == 0


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("apiKey=wrong&clientId=demo", (401, "AUTHENTICATION_REQUIRED")),
        ("apiKey=ud-other-key&clientId=demo", (403, "ORGANIZATION_MISMATCH")),
        (f"apiKey={KEY}&clientId=nobody", (403, "ORGANIZATION_MISMATCH")),
        (f"apiKey={KEY}", (400, "VALIDATION_ERROR")),
        ("clientId=demo", (400, "VALIDATION_ERROR")),
    ],
)
async def test_no_token_for_the_wrong_key_or_client(ud: Desk, query: str, refusal: Any) -> None:
    assert await ud.refused("GET", f"/uploadista/auth/jwt?{query}", key=None) == refusal


async def test_the_rate_of_a_project_holds_for_tokens(ud: Desk) -> None:
    path = "/uploadista/auth/jwt?apiKey=ud-slow-key&clientId=slow"
    await ud.ok("GET", path, key=None)
    assert await ud.refused("GET", path, key=None) == (429, "RATE_LIMITED")


async def test_a_page_gets_a_token_if_the_projects_own_check_knows_it(ud: Desk, application: Outside) -> None:
    async def session(request: web.Request, body: bytes) -> web.Response:
        known = request.headers.get("Cookie") == "session=alice" and request.headers["X-Client-Id"] == "demo"
        return web.Response(status=204 if known else 302, headers={} if known else {"Location": "/login"})

    application.answers["/session"] = session
    for path in ("/api/auth/token/demo", "/uploadista/api/auth/token/demo"):
        token = (await ud.ok("GET", path, key=None, Cookie="session=alice"))["token"]
        await ud.ok("POST", "/upload", CREATE, key=token)
        assert await ud.refused("GET", path, key=None, Cookie="session=eve") == (401, "AUTHENTICATION_REQUIRED")
        assert await ud.refused("GET", path, key=None) == (401, "AUTHENTICATION_REQUIRED")

    async def broken(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=500)

    application.answers["/session"] = broken
    assert await ud.refused("GET", "/api/auth/token/demo", key=None) == (503, "UNAVAILABLE")
    assert "token" in await ud.ok("GET", "/api/auth/token/other", key=None)
    for client in ("small", "nobody"):
        assert await ud.refused("GET", f"/api/auth/token/{client}", key=None) == (403, "PERMISSION_DENIED")


async def test_cookies_are_worth_nothing_to_pages_of_other_origins(ud: Desk) -> None:
    told = await ud.ask("GET", "/api/auth/token/other", key=None, Origin="https://evil.example")
    assert "Access-Control-Allow-Credentials" not in told.headers
    assert "Access-Control-Allow-Origin" not in told.headers


async def test_an_allowed_page_may_send_its_credentials(ud: Desk) -> None:
    told = await ud.ask("POST", "/upload", CREATE, Origin="https://app.example")
    assert told.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert told.headers["Access-Control-Allow-Credentials"] == "true" and told.headers["Vary"] == "Origin"
    asked = {"Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": "authorization,content-type"}
    told = await ud.ask("OPTIONS", "/upload/x", key=None, Origin="https://app.example", **asked)
    assert told.status == 204 and "PATCH" in told.headers["Access-Control-Allow-Methods"]
    assert told.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert told.headers["Access-Control-Allow-Credentials"] == "true"
    assert told.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    refused = await ud.ask("POST", "/upload", CREATE, key="ud-other-key", Origin="https://app.example")
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_a_token_that_ends_in_the_middle_fails_the_chunk_and_not_the_upload(ud: Desk) -> None:
    token, claims = await ud.token(), {"sub": "demo", "aud": "uploadista", "permissions": ["upload:*"]}
    sent = await ud.ok("POST", "/upload", CREATE, key=token)
    await ud.chunk(sent["id"], b"hello", key=token)
    ended = made(claims | {"exp": int(time.time()) - 1})
    told = await ud.ask("PATCH", f"/upload/{sent['id']}", b"world", key=ended)
    assert told.status == 401 and "expired" in told.document["message"]
    assert (await ud.ok("GET", f"/upload/{sent['id']}"))["offset"] == 5
    assert (await ud.chunk(sent["id"], b"world", key=await ud.token()))["offset"] == 10


async def test_tokens_of_somebody_else_are_none(ud: Desk) -> None:
    sound = {"sub": "demo", "aud": "uploadista", "exp": int(time.time()) + 60}
    for claims, secret in (
        (sound, "x" * 40),
        (sound | {"aud": "imagekit"}, SECRET),
        ({"sub": "demo", "exp": sound["exp"]}, SECRET),
        (sound | {"sub": "nobody"}, SECRET),
        (sound | {"sub": "other"}, SECRET),
        ({"sub": "demo", "aud": "uploadista"}, SECRET),
    ):
        assert await ud.refused("POST", "/upload", CREATE, key=made(claims, secret)) == (401, "AUTHENTICATION_REQUIRED")
    unsigned = jwt.encode(sound, None, algorithm="none")
    for key in (unsigned, "a.b.c", "x" * 5000, None):
        assert await ud.refused("POST", "/upload", CREATE, key=key) == (401, "AUTHENTICATION_REQUIRED")


async def test_a_token_may_what_its_permissions_say(ud: Desk) -> None:
    sound = {"sub": "demo", "aud": "uploadista", "exp": int(time.time()) + 60}
    for permissions, status in (
        (["upload:create"], 200),
        (["upload:*"], 200),
        (["flow:*", "upload:read", "upload:creates"], 403),
        ([], 403),
    ):
        told = await ud.ask("POST", "/upload", CREATE, key=made(sound | {"permissions": permissions}))
        assert told.status == status, (permissions, told.document)
        if status == 403:
            assert told.document["code"] == "PERMISSION_DENIED"
            assert told.document["message"] == "Permission denied: upload:create required"
    page = await ud.token()
    for method, path in (
        ("GET", "/dlq"),
        ("GET", "/dlq/stats"),
        ("POST", "/dlq/retry-all"),
        ("GET", "/uploadista/health/components"),
    ):
        assert await ud.refused(method, path, key=page) == (403, "PERMISSION_DENIED")
    reader = made(sound | {"permissions": ["engine:dlq"]})
    assert (await ud.ok("GET", "/dlq", key=reader))["items"] == []


async def test_what_was_begun_lately_needs_no_credentials(ud: Desk) -> None:
    sent = await ud.ok("POST", "/upload", CREATE, key=await ud.token())
    path = f"/upload/{sent['id']}"
    assert (await ud.ok("PATCH", path, b"hello", key=None))["offset"] == 5
    assert (await ud.ok("GET", path, key=None))["offset"] == 5
    assert await ud.refused("DELETE", path, key=None) == (401, "AUTHENTICATION_REQUIRED")
    assert (await ud.ok("PATCH", path, b"world", key=None))["url"]
    assert (await ud.ok("PATCH", path, b"world", key=None))["offset"] == 10
    job = await ud.run("tiny", {}, key=await ud.token())
    assert (await ud.ok("GET", f"/jobs/{job['id']}/status", key=None))["status"] == "paused"
    assert await ud.refused("POST", f"/jobs/{job['id']}/cancel", key=None) == (401, "AUTHENTICATION_REQUIRED")
    unknown = "00000000-0000-4000-8000-000000000000"
    for path in (f"/upload/{unknown}", f"/jobs/{unknown}/status", "/upload/no-id"):
        assert await ud.refused("GET", path, key=None) == (401, "AUTHENTICATION_REQUIRED")
