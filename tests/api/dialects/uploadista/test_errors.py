"""The table of errors: whatever goes wrong has a code and a status of the vendor's."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline.api.dialects.uploadista as dialect
from pipeline import errors as ours
from pipeline.api.dialects.uploadista.errors import OURS, TABLE, code_of, refused, told_of
from pipeline.errors import SafelightError
from tests.api.dialects.uploadista.desk import Desk

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


async def test_a_refusal_for_want_of_credentials_says_which(ud: Desk) -> None:
    told = await ud.ask("GET", "/flow/tiny", key=None)
    assert told.status == 401 and told.headers["WWW-Authenticate"].startswith("Bearer")
