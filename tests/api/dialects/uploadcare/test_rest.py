"""The REST API over bare HTTP: whom it believes, how it refuses, and what its answers look like to a strict client."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from yarl import URL

from pipeline.api.dialects.uploadcare.errors import TABLE
from pipeline.api.dialects.uploadcare.from_url import BROKE
from pipeline.model import Fetch, Intake, Problem, now
from pipeline.records.queue import Slip
from pipeline.uploads.fetching import fetch_slip
from pipeline.vendors.uploadcare import VENDOR_TYPE

from .desk import UNKNOWN, Desk

SIMPLE = {"Authorization": "Uploadcare.Simple demopublic:demosecret", "Accept": VENDOR_TYPE}


async def ask(
    uc: Desk, method: str, path: str, body: Any = None, headers: Mapping[str, str] = SIMPLE
) -> tuple[int, Any, Mapping[str, str]]:
    data = None if body is None else json.dumps(body)
    told = {"Content-Type": "application/json", **headers}
    url = URL(uc.house.base + path, encoded=True)
    async with uc.house.session.request(method, url, data=data, headers=told) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None, answer.headers.copy()


def signed(method: str, path: str, date: str, body: bytes = b"", **more: str) -> dict[str, str]:
    digest = hashlib.md5(body).hexdigest()
    message = "\n".join((method, digest, "application/json", date, path))
    proof = hmac.new(b"demosecret", message.encode(), hashlib.sha1).hexdigest()
    return {"Authorization": f"Uploadcare demopublic:{proof}", "Accept": VENDOR_TYPE, **more}


def stamp(form: str = "%a, %d %b %Y %H:%M:%S GMT", minutes: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime(form)


async def test_types_without_a_charset(uc: Desk) -> None:
    status, project, headers = await ask(uc, "GET", "/project/")
    assert (status, headers["Content-Type"]) == (200, VENDOR_TYPE)
    assert project == {"name": "demo", "pub_key": "demopublic", "autostore_enabled": True, "collaborators": []}
    status, told, headers = await ask(uc, "GET", f"/files/{UNKNOWN}/")
    assert (status, told, headers["Content-Type"]) == (404, {"detail": "Not found."}, "application/json")


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y, %H:%M:%S GMT"])
@pytest.mark.parametrize("header", ["Date", "X-Uploadcare-Date"])
async def test_requests_signed_with_either_date(uc: Desk, form: str, header: str) -> None:
    path, date = "/files/?limit=5&from=2024-01-01T00%3A00%3A00%2B00:00", stamp(form)
    status, told, _ = await ask(uc, "GET", path, headers=signed("GET", path, date, **{header: date}))
    assert (status, told["per_page"]) == (200, 5), told


async def test_a_signature_holds_for_one_body_one_address_and_a_quarter_of_an_hour(uc: Desk) -> None:
    path, date, body = "/files/storage/", stamp(), json.dumps([UNKNOWN]).encode()
    good = signed("PUT", path, date, body, Date=date)
    assert (await ask(uc, "PUT", path, [UNKNOWN], good))[0] == 200
    assert (await ask(uc, "PUT", path, ["x"], good))[0] == 401
    assert (await ask(uc, "DELETE", path, [UNKNOWN], good))[0] == 401
    for minutes, wanted in ((14, 200), (-14, 200), (16, 401), (-16, 401)):
        late = stamp(minutes=minutes)
        status, told, _ = await ask(uc, "PUT", path, [UNKNOWN], signed("PUT", path, late, body, Date=late))
        assert status == wanted, told
    assert (await ask(uc, "PUT", path, [UNKNOWN], signed("PUT", path, "soon", body, Date="soon")))[0] == 401


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({}, 401, "Authentication credentials were not provided."),
        ({"Authorization": "Bearer uc-demo-key"}, 401, "Authentication credentials were not provided."),
        ({"Authorization": "Uploadcare.Simple nobody:x"}, 401, "Public key nobody not found."),
        ({"Authorization": "Uploadcare.Simple demopublic:x"}, 401, "Secret key not found."),
        (SIMPLE | {"Accept": "text/html"}, 406, "Could not satisfy the request Accept header."),
    ],
)
async def test_who_is_not_let_in(uc: Desk, headers: Mapping[str, str], status: int, detail: str) -> None:
    told = await ask(uc, "GET", "/project/", headers={"Accept": VENDOR_TYPE, **headers})
    assert told[:2] == (status, {"detail": detail})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/project/", {}, 405, {"detail": 'Method "POST" not allowed.'}),
        ("GET", "/files/?limit=x", None, 400, {"limit": ["A valid integer is required."]}),
        ("GET", "/files/?from=soon", None, 400, {"detail": "`from` is not a valid ISO 8601 time."}),
        ("GET", "/files/?ordering=size", None, 400, {"ordering": ['"size" is not a valid choice.']}),
        ("PUT", "/files/storage/", {}, 400, {"detail": 'Expected a list of items but got type "dict".'}),
        ("PUT", "/files/storage/", [], 400, {"detail": "Expected a list of at least one UUID."}),
        ("PUT", "/files/storage/", [UNKNOWN] * 101, 400, {"detail": "Number of uuids exceeds the limit of 100."}),
        ("POST", "/files/local_copy/", {}, 400, {"source": ["Expected a UUID or a CDN URL of a file."]}),
        ("POST", "/webhooks/", {"event": "file.uploaded"}, 400, {"target_url": ["This field is required."]}),
        ("POST", "/webhooks/", {"target_url": "x"}, 400, {"target_url": ["Enter a valid URL."]}),
        ("DELETE", "/webhooks/12345/", None, 404, {"detail": "Not found."}),
        ("POST", "/convert/document/", {"paths": []}, 400, {"paths": ["Expected a list of 1 to 100 paths."]}),
        ("POST", "/convert/picture/", {"paths": []}, 404, {"detail": "Not found."}),
        ("GET", "/convert/document/status/9/", None, 404, {"detail": "Not found."}),
        ("POST", "/addons/remove_bg/execute/", {"target": "x"}, 400, {"target": ["Must be a valid UUID."]}),
        ("GET", "/groups/x~1/", None, 404, {"detail": "Not found."}),
        ("GET", "/files/x/metadata/", None, 404, {"detail": "Not found."}),
    ],
)  # fmt: skip
async def test_refusals(uc: Desk, method: str, path: str, body: Any, status: int, told: Any) -> None:
    assert (await ask(uc, method, path, body))[:2] == (status, told)


async def test_pages_where_several_files_came_in_one_microsecond(uc: Desk) -> None:
    ids = [await uc.upload() for _ in range(7)]
    files, at = uc.house.core.records.files, now()
    for number, id in enumerate(ids):
        old = await files.delete(id)
        assert old is not None
        same = at + timedelta(microseconds=number // 5)
        await files.create(old.model_copy(update={"created_at": same}))
    for ordering in ("datetime_uploaded", "-datetime_uploaded"):
        path, found = f"/files/?limit=2&ordering={ordering}", list[str]()
        while path:
            _, page, _ = await ask(uc, "GET", path)
            found += [file["uuid"] for file in page["results"]]
            path = (page["next"] or "").removeprefix(uc.house.base)
        assert sorted(found) == sorted(ids)


@pytest.mark.parametrize("code", [*BROKE, "SOMETHING_ELSE"])
async def test_a_fetch_that_broke_is_told_by_its_row(uc: Desk, code: str) -> None:
    core = uc.house.core
    fetch = Fetch(project="demo", url="https://example.com/a", intake=Intake())
    slip: Slip = fetch_slip(core.settings.key_prefix, fetch)
    await core.records.fetches.create(fetch, slip)
    assert (await uc.ok("GET", "/from_url/status/", token=fetch.id)) == {
        "status": "waiting",
        "done": 0,
        "total": "unknown",
    }
    await core.records.fetches.fail(fetch.id, "", Problem(code=code, message="It broke."), now(), 60)
    told = await uc.ok("GET", "/from_url/status/", token=fetch.id)
    row = BROKE.get(code, "DownloadFileError")
    assert (told["status"], told["error_code"]) == ("error", row)
    assert told["error"].startswith(TABLE[row][1].partition("%s")[0])
    assert "%" not in told["error"]
