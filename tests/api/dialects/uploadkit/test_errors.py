"""Bad input, in the words of both documents: 400, 401, 403, 404, 422, 429, each with its code."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline.api.dialects.uploadkit.errors import OURS, TABLE, told_of
from pipeline.errors import every_error
from tests.api.house import photo

from .desk import LIVE, MIB, Desk, page, sdk, wish

UNAUTHORIZED = "Invalid or missing API key"


async def test_keys(uk: Desk) -> None:
    for headers in (page("uk_live_wrong"), page(""), page("two words"), {}, {"x-api-key": LIVE[:-1]}):
        answer = await uk.ask("GET", "/files", headers=headers)
        assert (answer.status, answer.json) == (401, {"error": UNAUTHORIZED, "code": "UNAUTHORIZED"}), headers
    for headers in (sdk("uk_live_wrong"), {"Authorization": LIVE}, {"Authorization": f"Basic {LIVE}"}):
        answer = await uk.ask("GET", "/files", headers=headers)
        error = answer.json["error"]
        assert answer.status == 401 and error["suggestion"]
        assert (error["type"], error["code"], error["message"]) == (
            "authentication_error", "UNAUTHORIZED", UNAUTHORIZED)  # fmt: skip
    assert (await uk.ask("GET", f"/files?x-api-key={LIVE}&apiKey={LIVE}", headers={})).status == 401
    for headers in (page() | sdk("wrong"), page("wrong") | sdk(), page(), sdk(), page(LIVE.replace("live", "test"))):
        assert (await uk.ask("GET", "/files", headers=headers)).status == 200, headers


async def test_what_a_route_refuses(uk: Desk) -> None:
    big = wish(photo(), route="imageUploader") | {"fileSize": 4 * MIB + 1}
    flat, nested = await uk.refusals("POST", "/upload/request", big)
    assert flat == (403, "FILE_TOO_LARGE", "File size exceeds the 4 MB limit for route imageUploader")
    assert nested[:2] == (403, "TIER_LIMIT_EXCEEDED")
    for wrong in ("application/pdf", "text/plain", "application/octet-stream", "imagejpeg"):
        flat, nested = await uk.refusals("POST", "/upload/request", wish(photo(), "a", wrong, "imageUploader"))
        assert (flat[:2], nested[:2]) == ((403, "INVALID_FILE_TYPE"), (400, "INVALID_FILE_TYPE"))
        assert wrong in nested[2] and "image/*" in nested[2]
    both = big | {"contentType": "application/pdf"}
    assert (await uk.refusals("POST", "/upload/request", both))[0][1] == "FILE_TOO_LARGE", "size goes before type"
    for told in await uk.refusals("POST", "/upload/request", wish(photo(), route="nowhere") | {"fileSize": 10**12}):
        assert told == (404, "NOT_FOUND", "File route 'nowhere' not found")
    largest = wish(photo(), route="anything") | {"fileSize": 60 * MIB + 1}
    assert (await uk.refusals("POST", "/upload/request", largest))[0][1] == "FILE_TOO_LARGE"
    for told in await uk.refusals(
        "POST", "/upload/request", wish(b"x" * 3000, "a.txt", "text/plain", "default"), "uk_live_full"
    ):
        assert told[:2] == (403, "TIER_LIMIT_EXCEEDED")


SOUND = {"fileName": "a.jpg", "fileSize": 3, "contentType": "image/jpeg", "routeSlug": "anything"}
UNSOUND = [
    ({"fileName": ""}, "fileName"), ({"fileName": "x" * 256}, "fileName"), ({"fileName": 1}, "fileName"),
    ({"fileSize": 0}, "fileSize"), ({"fileSize": -1}, "fileSize"), ({"fileSize": 1.5}, "fileSize"),
    ({"fileSize": "3"}, "fileSize"), ({"fileSize": True}, "fileSize"), ({"fileSize": None}, "fileSize"),
    ({"contentType": ""}, "contentType"), ({"contentType": "x" * 101}, "contentType"),
    ({"routeSlug": ""}, "routeSlug"), ({"routeSlug": "x" * 101}, "routeSlug"),
    ({"metadata": []}, "metadata"), ({"metadata": "x"}, "metadata"),
]  # fmt: skip


async def test_what_a_body_can_have_wrong(uk: Desk) -> None:
    for change, field in UNSOUND:
        answer = await uk.ask("POST", "/upload/request", SOUND | change)
        error = answer.json["error"]
        assert (answer.status, error["code"], error["message"]) == (400, "VALIDATION_ERROR", "Invalid request body")
        assert list(error["details"]) == [field] and error["details"][field][0], change
    for field in SOUND:
        flat, _ = await uk.refusals("POST", "/upload/request", {k: v for k, v in SOUND.items() if k != field})
        assert flat[:2] == (400, "VALIDATION_ERROR") and field in flat[2]
    for text in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"fileName": "\\ud800"}'):
        for path in ("/upload/request", "/upload/complete", "/upload/multipart/init", "/transforms/image"):
            assert (await uk.refusals("POST", path, text))[1][:2] == (400, "VALIDATION_ERROR"), (path, text)
    ten = await uk.ok("POST", "/upload/request", SOUND | {"fileSize": 10.0})
    assert ten["fileId"]
    for path, document in (
        ("/upload/complete", {}), ("/upload/complete", {"fileId": 1}),
        ("/upload/multipart/complete", {"fileId": "a", "uploadId": "b", "parts": []}),
        ("/upload/multipart/complete", {"fileId": "a", "uploadId": "b", "parts": [{"partNumber": 0, "etag": "x"}]}),
        ("/upload/multipart/complete",
         {"fileId": "a", "uploadId": "b", "parts": [{"partNumber": 1, "etag": "x"}] * 2}),
        ("/upload/multipart/abort", {"fileId": "a"}),
    ):  # fmt: skip
        assert (await uk.refusals("POST", path, document))[0][:2] == (400, "VALIDATION_ERROR"), (path, document)


@pytest.mark.parametrize("path", ["/files?limit=0", "/files?limit=101", "/files?limit=x", "/files?limit=1.5",
                                  "/files?cursor=x", "/files?cursor=%00", "/logs", "/logs?since=x",
                                  "/logs?since=2026-01-01&limit=0"])  # fmt: skip
async def test_what_a_query_can_have_wrong(uk: Desk, path: str) -> None:
    for told in await uk.refusals("GET", path):
        assert told[:2] == (400, "VALIDATION_ERROR")


async def test_what_is_not_there(uk: Desk) -> None:
    foreign = await uk.ok("POST", "/upload/request", wish(photo(), route="default"), sdk("uk_live_other"))
    for id in ("file_01J9KXYZ", "11111111-1111-4111-8111-111111111111", foreign["fileId"], "x" * 5000):
        for told in await uk.refusals("POST", "/upload/complete", {"fileId": id}):
            assert told[:2] == (404, "NOT_FOUND")
    for key in ("uploads%2Fabc123%2Fprofile.jpg", "x", "%2F%2F", foreign["key"], "%00", "9" * 300):
        for method, document in (("GET", None), ("DELETE", None), ("PATCH", {"metadata": {}})):
            for told in await uk.refusals(method, f"/files/{key}", document):
                assert told[:2] == (404, "NOT_FOUND"), key
    for path in ("/nothing", "/mcp", "/billing/portal", "/routers/x"):
        for told in await uk.refusals("GET" if path != "/routers/x" else "DELETE", path):
            assert told[:2] == (404, "NOT_FOUND"), path
    for told in await uk.refusals("PUT", "/files"):
        assert told[:2] == (405, "METHOD_NOT_ALLOWED")


async def test_too_many_requests(uk: Desk) -> None:
    for headers, code in ((page("uk_live_slow"), "code"), (sdk("uk_live_slow"), "error")):
        for _ in range(2):
            await uk.ask("GET", "/files", headers=headers)
        answer = await uk.ask("GET", "/files", headers=headers)
        assert answer.status == 429 and b"RATE_LIMITED" in answer.body and code in answer.json
        seconds = int(answer.headers["Retry-After"])
        assert 1 <= seconds <= 60 and f"{seconds} seconds".encode() in answer.body
        assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("2", "0")
    assert answer.json["error"]["type"] == "rate_limit_error"


ODD = ["%00", "%ff%fe", "..%2f..%2fetc", "9" * 400, "-1", "[]", "null", "🐈" * 50, "%F0%9F", "a%0d%0aX-Evil:1"]
VALUES: list[Any] = [None, "", 0, -1, 10**30, 1.5, [], {}, "x" * 3000, "\0", "🐈", {"a": {"b": [1]}}, True]


async def test_odd_requests_are_refused_and_tell_nothing_of_the_inside(uk: Desk) -> None:
    draw = random.Random(8)
    paths = ("/upload/request", "/upload/complete", "/upload/multipart/init", "/upload/multipart/complete",
             "/transforms/image", "/projects/demo/routers")  # fmt: skip
    names = ("fileName", "fileSize", "contentType", "routeSlug", "metadata", "fileId", "uploadId", "parts", "key",
             "width", "slug", "allowedTypes", "webhookUrl")  # fmt: skip
    for _ in range(60):
        document = SOUND | {name: draw.choice(VALUES) for name in draw.sample(names, 3)}
        sound(await uk.ask("POST", draw.choice(paths), document))
    for odd in ODD:
        for method, path in (("GET", "/files/{}"), ("PATCH", "/routers/{}"), ("GET", "/projects/{}/keys")):
            sound(await uk.ask(method, path.format(odd), {} if method == "PATCH" else None))
        for path in ("/uploadkit/storage/{}", "/uploadkit/parts/{}"):
            sound(await uk.send("PUT", path.format(odd), {}, b"x"))
        for path in ("/uploadkit/t/{0}/{0}/{0}/{0}", "/uploadkit/p/{0}/{0}/{0}", "/uploadkit/handler/{0}/{0}"):
            sound(await uk.send("GET", path.format(odd), {}))


def sound(answer: Any) -> None:
    assert answer.status < 500, answer.body
    assert not any(word in answer.body for word in (b"Traceback", b"pipeline", b".py", b"redis")), answer.body


def test_every_error_of_ours_has_a_code_and_a_status_a_client_knows() -> None:
    assert set(OURS.values()) <= TABLE.keys()
    for error in every_error():
        if error.__init__ is not None and error.sentence.count("{") == 0:
            for kind in ("page", "sdk", "handler"):
                told = told_of(error(), kind)  # type: ignore[arg-type]
                assert 400 <= told.status < 600 and told.code.isupper()
