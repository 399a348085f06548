"""Nothing that a virus scanner has not found clean is ever seen: a real clamd where it is installed, and one away."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from structlog.testing import capture_logs

from pipeline.model import File, Webhook
from pipeline.webhooks.dialects.native import Native
from pipeline.webhooks.message import Message
from tests.nodes.clamd import EICAR, INSTALLED, STREAM_LIMIT, installed, speaking
from tests.records.test_breakers import Clock

from .conftest import serving
from .house import House, photo
from .test_entry import WAYS, accepted, refused, sent

CONFIG = """
key_prefix: "scanning:"  # the workers that other tests have here are not to take what happens
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
body_timeout: 2s
scanner: "{scanner}"
{more}
storages: {{default: "file://{data}/files", cloud: "{s3}"}}
projects:
  scanned: {{api_keys: [scanned-key], scan: true}}
  cloudy: {{api_keys: [cloudy-key], scan: true, storage: cloud, svg: sanitise}}
  trusting: {{api_keys: [trusting-key]}}
"""
CLAMD = pytest.param(
    "clamd", marks=pytest.mark.skipif(not INSTALLED, reason="clamd is not here; CI installs it (Debian: clamav-daemon)")
)


def scanning(
    redis_url: str, data: Path, scanner: str, s3_url: str, more: str = ""
) -> AbstractAsyncContextManager[House]:
    s3 = s3_url.replace("/tests?", f"/tests/{uuid4()}?")
    return serving(CONFIG, redis_url, data, "scanned-key", scanner=scanner, s3=s3, more=more)


@pytest.fixture(scope="module", params=["a server that speaks as clamd", CLAMD])
async def house(
    request: pytest.FixtureRequest, redis_url: str, s3_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    daemon = installed if request.param == "clamd" else speaking
    async with (
        daemon(tmp_path_factory.mktemp("clamd")) as listening,
        scanning(redis_url, tmp_path_factory.mktemp("scan"), f"tcp://127.0.0.1:{listening.port}", s3_url) as house,
    ):
        yield house


@pytest.fixture(autouse=True)
async def emptied(redis: Redis) -> None:
    """Nothing that an earlier test left."""


def packed(content: bytes) -> bytes:
    """A zip in which the content is not to be seen as it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/readme.txt", b" " * 4000 + content + b" " * 4000)
    assert content not in buffer.getvalue()
    return buffer.getvalue()


async def told(house: House, project: str = "scanned") -> list[tuple[str, dict[str, Any]]]:
    events = house.core.events.follow(project, None, "0", 0.01)
    found = []
    async for event in events:
        if event is None:
            break
        found.append((event.type, dict(event.facts)))
    return found


@pytest.mark.parametrize("way", WAYS)
async def test_a_clean_file_comes_in_and_one_with_a_virus_never_does(house: House, way: str) -> None:
    clean = photo()
    file = await accepted(house, way, clean, "a.jpg")
    assert file["sha256"] == hashlib.sha256(clean).hexdigest()
    status, answer = await sent(house, way, EICAR, "a.txt")
    assert (status, answer["code"]) == (422, "FILE_INFECTED")
    assert "Eicar-Test" in answer["detail"]
    listed = await house.json("GET", "/v1/files")
    assert [row["id"] for row in listed["items"]] == [file["id"]]
    left = [path for path in (house.data / "files").rglob("*") if path.is_file()]
    assert not any(EICAR in path.read_bytes() for path in left), "its bytes are gone"
    infected = [facts for type, facts in await told(house) if type == "file.infected"]
    assert len(infected) == 1, "told once"
    assert infected[0]["signature"].startswith("Eicar-Test")
    assert infected[0] | {"signature": ""} == {
        "name": "a.txt", "mime": "text/plain", "size": len(EICAR), "sha256": hashlib.sha256(EICAR).hexdigest(),
        "signature": "",
    }  # fmt: skip
    assert "file.uploaded" not in [type for type, facts in await told(house) if facts.get("name") == "a.txt"]


async def test_an_upload_with_a_virus_is_over(house: House) -> None:
    upload = await house.json("POST", "/v1/uploads", 201, json={"size": len(EICAR), "name": "a.txt"})
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
    await house.json("PATCH", path, data=EICAR, headers=octets)
    await house.problem("POST", f"{path}/finish", 422, "FILE_INFECTED")
    await house.problem("POST", f"{path}/finish", 404, "UPLOAD_NOT_FOUND")
    await house.problem("GET", path, 404, "UPLOAD_NOT_FOUND")
    await house.problem("GET", f"/v1/files/{upload['id']}", 404, "FILE_NOT_FOUND")


async def test_a_virus_in_a_zip_is_found_by_the_real_scanner(house: House, request: pytest.FixtureRequest) -> None:
    body = packed(EICAR)
    if request.node.callspec.params["house"] == "clamd":
        await refused(house, "body", body, "FILE_INFECTED", "a.zip")
    else:
        await accepted(house, "body", body, "a.zip")  # the server that speaks like it does not look into files


async def test_a_webhook_is_told_what_would_have_come_and_which_virus_it_has(house: House) -> None:
    await sent(house, "body", EICAR, "a.txt")
    waiting = [fields for _, fields in await house.redis.xrange("scanning:events::outgoing")]
    (one,) = [fields for fields in waiting if fields[b"type"] == b"file.infected"]
    file, facts = File.model_validate_json(one[b"noun"]), json.loads(one[b"facts"])
    event, subject = one[b"event"].decode(), one[b"subject"].decode()
    message = Message(event, "file.infected", "scanned", subject, file.created_at, house.base, facts, file)
    told = json.loads(Native().body(message, Webhook(project="scanned", url="https://example.com")))["data"]
    assert (told["id"], told["name"], told["url"]) == (file.id, "a.txt", None)
    assert told["signature"].startswith("Eicar-Test")


async def sliced(house: House, body: bytes, key: str = "scanned-key") -> tuple[str, int, dict[str, Any]]:
    """An upload as the clients of Uploadista make it, with status and answer of its only chunk."""
    ask = {"storageId": "default", "type": "text/plain", "size": len(body), "fileName": "a.txt"}
    upload = await house.json("POST", "/uploadista/api/upload", key=key, json=ask)
    return upload["id"], *await chunk(house, upload["id"], body, key)


async def chunk(house: House, id: str, body: bytes, key: str = "scanned-key") -> tuple[int, dict[str, Any]]:
    octets = {**house.headers(key), "Content-Type": "application/octet-stream"}
    url = f"{house.base}/uploadista/api/upload/{id}"
    async with house.session.patch(url, data=body, headers=octets) as told:
        return told.status, await told.json()


async def test_clients_of_uploadista_are_told_of_a_virus_in_their_words(house: House) -> None:
    id, status, answer = await sliced(house, EICAR)
    assert (status, answer["code"]) == (400, "VIRUS_DETECTED") and "Eicar-Test" in answer["message"]
    assert (await chunk(house, id, EICAR))[1]["code"] == "FILE_NOT_FOUND"
    _, status, answer = await sliced(house, b"clean words")
    assert status == 200 and answer["url"]


async def test_other_projects_are_not_scanned(house: House) -> None:
    await accepted(house, "body", EICAR, "a.txt", key="trusting-key")


async def test_what_is_on_s3_is_scanned_and_freed_there(house: House) -> None:
    for way in ("body", "append", "parts", "put"):
        await accepted(house, way, b"clean words", "a.txt", key="cloudy-key")
        status, answer = await sent(house, way, EICAR, "a.txt", key="cloudy-key")
        assert (status, answer["code"]) == (422, "FILE_INFECTED")
    foul = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
    svg = await accepted(house, "parts", foul, "a.svg", key="cloudy-key")
    async with house.session.get(svg["url"]) as answer:
        content = await answer.read()
    assert b"script" not in content and len(content) == svg["size"]
    kept = [entry.key async for entry in house.core.storages["cloud"].listing()]
    assert len([key for key in kept if not key.endswith(".json")]) == 5, "the clean ones and nothing else"


@pytest.mark.parametrize("way", ["body", "append", "parts"])
async def test_what_is_too_large_for_the_scanner_is_told_so_and_not_let_in(house: House, way: str) -> None:
    await accepted(house, way, bytes(STREAM_LIMIT))
    await refused(house, way, bytes(STREAM_LIMIT + 1), "SCAN_TOO_LARGE")


async def test_many_at_once_get_their_own_verdicts(house: House) -> None:
    bodies = [EICAR if number % 3 == 0 else b"clean %d" % number for number in range(40)]
    answers = await asyncio.gather(*(sent(house, "body", body, "a.txt") for body in bodies))
    assert [status for status, _ in answers] == [422 if body is EICAR else 201 for body in bodies]


# Away


@pytest.fixture(scope="module")
async def alone(redis_url: str, s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A server whose scanner is away, and comes in the folder `socket`."""
    data = tmp_path_factory.mktemp("alone")
    (data / "socket").mkdir()
    scanner = f"unix://{data}/socket/spoken.sock"
    # A traceback of every refusal takes a console seconds to paint.
    with capture_logs():
        async with scanning(redis_url, data, scanner, s3_url, "scanner_limit: 2MB") as house:
            yield house


@pytest.mark.parametrize("key", ["scanned-key", "cloudy-key"])
@pytest.mark.parametrize("way", ["append", "parts", "put"])
async def test_an_upload_survives_the_scanner_and_is_finished_when_it_is_back(alone: House, way: str, key: str) -> None:
    body = photo(300, 200)
    asked = {"size": len(body), "name": "a.jpg", "type": "image/jpeg", "way": way}
    upload = await alone.json("POST", "/v1/uploads", 201, key=key, json=asked)
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
    if way == "append":
        await alone.json("PATCH", path, key=key, data=body, headers=octets)
    else:
        target = upload["put"] if way == "put" else {"url": upload["parts"][0]["url"], "headers": {}}
        async with alone.session.put(target["url"], data=body, headers=target["headers"]) as answer:
            assert answer.status == 200, await answer.text()
    for _ in range(2):
        away = await alone.problem("POST", f"{path}/finish", 503, "SCANNER_UNAVAILABLE", key=key)
        assert "scanner" in away["detail"]
        assert (await alone.json("GET", path, key=key))["offset"] == len(body)
        assert (await alone.json("GET", "/v1/files", key=key))["items"] == []
        await alone.problem("GET", f"/v1/files/{upload['id']}/content", 404, "FILE_NOT_FOUND", key=key)
    async with speaking(alone.data / "socket"):
        file = await alone.json("POST", f"{path}/finish", 201, key=key)
    assert (file["id"], file["sha256"]) == (upload["id"], hashlib.sha256(body).hexdigest())
    async with alone.session.get(file["url"]) as answer:
        assert await answer.read() == body


async def test_what_survives_is_scanned_when_it_is_back(alone: House) -> None:
    upload = await alone.json("POST", "/v1/uploads", 201, json={"size": len(EICAR), "name": "a.txt"})
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
    await alone.json("PATCH", path, data=EICAR, headers=octets)
    await alone.problem("POST", f"{path}/finish", 503, "SCANNER_UNAVAILABLE")
    async with speaking(alone.data / "socket"):
        await alone.problem("POST", f"{path}/finish", 422, "FILE_INFECTED")
    assert not any(EICAR in path.read_bytes() for path in alone.data.rglob("*") if path.is_file())


async def test_an_upload_of_uploadista_survives_the_scanner(alone: House) -> None:
    id, status, answer = await sliced(alone, b"clean words")
    assert (status, answer["code"]) == (500, "VIRUS_SCAN_FAILED")
    async with speaking(alone.data / "socket"):
        status, answer = await chunk(alone, id, b"clean words")
    assert (status, answer["offset"]) == (200, 11) and answer["url"]


async def test_a_tus_upload_survives_the_scanner(alone: House) -> None:
    body, tus = photo(200, 100), {"Tus-Resumable": "1.0.0"}
    async with alone.ask("POST", "/tus", headers=tus | {"Upload-Length": str(len(body))}) as answer:
        assert answer.status == 201, await answer.text()
        url = answer.headers["Location"]
    sending = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with alone.ask("PATCH", url, headers=sending, data=body) as answer:
        assert answer.status == 503
    async with alone.ask("HEAD", url, headers=tus) as answer:
        assert answer.status == 503, "nothing says that it is there"
    async with speaking(alone.data / "socket"), alone.ask("HEAD", url, headers=tus) as answer:
        assert (answer.status, answer.headers["Upload-Offset"]) == (200, str(len(body)))
    (file,) = (await alone.json("GET", "/v1/files"))["items"]
    assert file["sha256"] == hashlib.sha256(body).hexdigest()


async def test_a_file_in_one_go_is_asked_for_again(alone: House) -> None:
    before = await alone.leftovers()
    for way in ("body", "form"):
        status, answer = await sent(alone, way, b"words", "a.txt")
        assert (status, answer["code"]) == (503, "SCANNER_UNAVAILABLE")
    assert await alone.leftovers() == before
    async with speaking(alone.data / "socket"):
        await accepted(alone, "body", b"words", "a.txt")


async def test_what_the_scanner_would_not_take_is_refused_before_it_is_sent(alone: House) -> None:
    for way in ("append", "parts", "put"):
        await alone.problem("POST", "/v1/uploads", 413, "SCAN_TOO_LARGE", json={"way": way, "size": 2_000_001})
        await alone.json("POST", "/v1/uploads", 201, json={"way": way, "size": 2_000_000})
        await alone.json("POST", "/v1/uploads", 201, key="trusting-key", json={"way": way, "size": 2_000_001})

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    await alone.problem("POST", "/v1/files", 413, "SCAN_TOO_LARGE", data=endless())


async def test_a_scanner_that_stays_away_is_left_alone_for_a_while(alone: House, redis: Redis) -> None:
    upload = await alone.json("POST", "/v1/uploads", 201, json={"size": 5, "name": "a.txt"})
    path, octets = f"/v1/uploads/{upload['id']}", {"Content-Type": "application/octet-stream", "Upload-Offset": "0"}
    await alone.json("PATCH", path, data=b"words", headers=octets)
    for _ in range(5):
        await alone.problem("POST", f"{path}/finish", 503, "SCANNER_UNAVAILABLE")
    async with speaking(alone.data / "socket"):
        async with alone.ask("POST", f"{path}/finish") as refused:
            assert refused.status == 503 and 25 < int(refused.headers["Retry-After"]) <= 30
            assert (await refused.json(content_type=None))["code"] == "SCANNER_UNAVAILABLE"
        (breaker,) = (await alone.json("GET", "/v1/breakers"))["items"]
        known = {"type": "scan", "place": f"unix://{alone.data}/socket/spoken.sock", "state": "open", "failures": 5}
        assert known.items() <= breaker.items() and breaker["opened_at"] < breaker["retry_at"]
        assert (await alone.json("GET", "/v1/breakers", key="trusting-key"))["items"] == []
        await alone.problem("GET", "/v1/breakers", 401, "KEY_REQUIRED", key=None)
        assert await measured(alone) == {("scan", "open"): 1.0} and "breaker.opened" in dict(await told(alone))
        await Clock(redis, "scanning:").on(30)
        file = await alone.json("POST", f"{path}/finish", 201)
        assert file["size"] == 5 and await measured(alone) == {("scan", "half_open"): 1.0}
        for _ in range(2):
            await accepted(alone, "body", b"words", "a.txt")
    assert await measured(alone) == {("scan", "closed"): 1.0} and "breaker.closed" in dict(await told(alone))


async def measured(house: House) -> dict[tuple[str, str], float]:
    """The gauge of breakers, but for the zeros; that one has opened is counted beside it."""
    async with house.ask("GET", "/metrics", key=None) as answer:
        families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    (opened,) = [sample for sample in families["safelight_breaker_openings"].samples if sample.labels]
    assert (opened.labels, opened.value) == ({"type": "scan"}, 1)
    gauge = families["safelight_breakers"].samples
    assert len(gauge) == 12
    return {(sample.labels["type"], sample.labels["state"]): sample.value for sample in gauge if sample.value}
