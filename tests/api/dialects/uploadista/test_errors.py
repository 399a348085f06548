"""The table of errors: whatever goes wrong has a code and a status of the vendor's."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

import pipeline.api.dialects.uploadista as dialect
from pipeline import errors as ours
from pipeline.api.dialects.uploadista.errors import OURS, TABLE, code_of, refused, told_of
from pipeline.errors import SafelightError
from tests.api.dialects.uploadista.desk import Desk, photo
from tests.outside import Outside, fixed

CASES: list[tuple[SafelightError, int, str]] = [
    (ours.FileInfected(name="a", signature="Eicar"), 400, "VIRUS_DETECTED"),
    (ours.ScannerUnavailable(), 500, "VIRUS_SCAN_FAILED"),
    (ours.CircuitOpen(seconds=3), 503, "CIRCUIT_BREAKER_OPEN"),
    (ours.StorageUnavailable(), 503, "FILE_WRITE_ERROR"),
    (ours.StorageFull(), 503, "FILE_WRITE_ERROR"),
    (ours.RecordsUnavailable(), 503, "UNAVAILABLE"),
    (ours.Internal(), 500, "UNKNOWN_ERROR"),
    (ours.SourceBroken(), 500, "UNKNOWN_ERROR"),
    (ours.ImageUnreadable(reason="it is torn"), 400, "VALIDATION_ERROR"),
    (ours.FetchesTooMany(most=5), 429, "RATE_LIMITED"),
    (ours.UploadTakenOver(id="x"), 423, "UPLOAD_LOCKED"),
    (ours.RunPaused(), 400, "FLOW_JOB_ERROR"),
]


@pytest.mark.parametrize(("error", "status", "code"), CASES)
def test_what_is_told_of_an_error(error: SafelightError, status: int, code: str) -> None:
    told = told_of(error)
    assert (TABLE[told["code"]], told["code"]) == (status, code)
    assert told["error"] == told["message"] == error.message and "details" not in told


def test_every_code_is_in_the_table_and_told_somewhere() -> None:
    assert set(OURS.values()) <= set(TABLE)
    rooms = Path(dialect.__file__).parent.glob("*.py")
    source = "".join(room.read_text() for room in rooms if room.name != "errors.py")
    fallbacks = {code_of(ours.RecordsUnavailable()), code_of(ours.SourceBroken()), code_of(ours.TagsTooMany(most=1))}
    assert {code for code in TABLE if f'"{code}"' not in source} <= {*OURS.values(), *fallbacks}
    assert told_of(refused("PERMISSION_DENIED", "No.", requiredPermission="x"))["details"] == {
        "requiredPermission": "x"
    }


async def test_a_storage_that_cannot_be_written_to_refuses_the_chunk_and_takes_it_later(ud: Desk) -> None:
    folder, content = ud.house.data / "archive", bytes(range(256)) * 4000
    id = (await ud.begin(len(content), type="", storageId="archive"))["id"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("in the way")
    told = await ud.ask("PATCH", f"/upload/{id}", content[:1000])
    folder.unlink()
    assert (told.status, told.document["code"]) == (503, "FILE_WRITE_ERROR") and int(told.headers["Retry-After"]) > 0
    assert str(ud.house.data) not in told.document["message"]
    assert (await ud.ok("GET", f"/upload/{id}"))["offset"] == 0
    assert (await ud.chunk(id, content[:1000]))["offset"] == 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # to this process, the disk is full there
    try:
        assert await ud.refused("PATCH", f"/upload/{id}", content[1000:]) == (503, "FILE_WRITE_ERROR")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (await ud.ok("GET", f"/upload/{id}"))["offset"] == 1000
    assert await ud.fetched((await ud.chunk(id, content[1000:]))["url"]) == content


CALLING = """
retry: {{times: 1}}
nodes: {{photo: {{type: input}}, far: {{type: http, url: "{url}/far"}}, out: {{type: save, path: "a.png"}}}}
"""


async def test_an_open_breaker_is_why_a_job_fails(ud: Desk, busy: Any, application: Outside) -> None:
    await ud.house.core.flows.put("calling", CALLING.format(url=application.url))
    application.answers["/far"], content = fixed(503), photo()
    sent = await ud.begin(len(content), type="image/jpeg", fileName="b.jpg")
    await ud.chunk(sent["id"], content)
    ready = {"photo": {"operation": "finalize", "uploadId": sent["id"]}}
    for _ in range(5):
        job = await ud.ended((await ud.run("calling", ready))["id"])
        assert (await ud.ok("GET", f"/dlq/{job['id']}"))["error"]["code"] == "CALL_FAILED"
    job = await ud.ended((await ud.run("calling", ready))["id"])
    assert job["status"] == "failed" and "tried again in" in job["error"]
    letter = await ud.ok("GET", f"/dlq/{job['id']}")
    assert (letter["error"]["code"], letter["failedAtNodeId"]) == ("CIRCUIT_BREAKER_OPEN", "far")
    assert (await ud.ok("GET", "/uploadista/health/components"))["components"]["circuitBreaker"]["openCircuits"] == 1


async def test_a_record_that_is_damaged_is_an_unknown_error(ud: Desk) -> None:
    id, records = (await ud.begin(10))["id"], ud.house.redis
    await cast(Any, records).hset(f"{ud.house.core.settings.key_prefix}upload:{id}", "text", "{broken")
    assert await ud.refused("PATCH", f"/upload/{id}", b"01234") == (500, "UNKNOWN_ERROR")
    assert "broken" not in (await ud.ask("GET", f"/upload/{id}")).document["message"]


async def test_a_refusal_for_want_of_credentials_says_which(ud: Desk) -> None:
    told = await ud.ask("GET", "/flow/tiny", key=None)
    assert told.status == 401 and told.headers["WWW-Authenticate"].startswith("Bearer")
