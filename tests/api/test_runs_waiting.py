"""Runs that wait for their files, over HTTP and executed by a real worker process."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.outside import Outside, fixed, listening

from .conftest import serving
from .house import CONFIG, PAIR, House, Multipart, photo
from .test_runs import events_of

Worker = subprocess.Popen[bytes]
LATER = {"later": True}
PICTURES = """
accept: {types: [image/*], max_size: 20KB}
nodes:
  photo: {type: input}
  extra: {type: input, many: true, required: false}
  out: {type: save, from: [photo, extra], path: "{node}/{file.name}"}
"""


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


async def waiting(house: House, flow: str = "pair", **inputs: Any) -> Any:
    """A run as it is answered that was started with these inputs."""
    return await house.json("POST", f"/v1/flows/{flow}/runs", 202, json={"inputs": inputs})


async def told(house: House, run: Any) -> list[str]:
    """The events of a run, but those of its nodes."""
    path = f"/v1/runs/{run['id']}/events"
    return [event["event"] async for event in events_of(house, path) if event["event"].startswith("run.")]


async def test_it_goes_on_when_the_last_file_has_come(house: House, worker: Worker) -> None:
    run = await waiting(house, first=LATER, second=LATER)
    assert (run["status"], run["awaits"], run["paused_at"]) == ("waiting", ["first", "second"], None)
    assert {name: state["status"] for name, state in run["nodes"].items()} == {
        "first": "waiting", "second": "waiting", "out": "queued"
    }  # fmt: skip
    first, path = await house.send(photo(), "a.jpg"), f"/v1/runs/{run['id']}"
    half = await house.json("PUT", f"{path}/inputs/first", 202, json={"file": first["id"]})
    assert (half["status"], half["awaits"], half["inputs"]) == ("waiting", ["second"], {"first": [first["id"]]})
    assert half["nodes"]["first"]["status"] == "queued"
    sent = Multipart().field("whatever", photo(), "b.jpg", "Content-Type: image/jpeg\r\n").end()
    done = await house.json("PUT", f"{path}/inputs/second?wait=60", 200, **sent)
    assert (done["status"], done["awaits"], done["attempt"]) == ("completed", [], 1)
    assert sorted(output["path"] for output in done["outputs"]) == ["first/a.jpg", "second/b.jpg"]
    (waits,) = [one async for one in events_of(house, f"{path}/events") if one["event"] == "run.waiting"]
    assert waits["data"]["facts"]["awaits"] == ["first", "second"]
    assert await told(house, run) == [
        "run.waiting", "run.fed", "run.fed", "run.queued", "run.started", "run.completed"
    ]  # fmt: skip


async def test_its_files_come_at_once_from_many_sides(house: House, worker: Worker) -> None:
    first, second, third = [await house.send(photo(), f"{name}.jpg") for name in "abc"]
    run = await waiting(house, first=LATER, second=LATER)
    path = f"/v1/runs/{run['id']}/inputs"

    async def feed(node: str, file: Any) -> int:
        async with house.ask("PUT", f"{path}/{node}", json={"file": file["id"]}) as answer:
            await answer.read()
            return answer.status

    asked = [feed("first", file) for file in (first, second)] + [feed("second", third) for _ in range(4)]
    codes = await asyncio.gather(*asked)
    assert sorted(codes[:2]) == [202, 409] and codes[2:] == [202] * 4
    done = await house.json("GET", f"/v1/runs/{run['id']}?wait=60")
    assert done["status"] == "completed" and len(done["outputs"]) == 2
    kinds = await told(house, run)
    assert [kinds.count(kind) for kind in ("run.fed", "run.queued", "run.completed")] == [2, 1, 1]


async def test_a_file_of_an_address_and_several_of_one_input(house: House, worker: Worker, server: Outside) -> None:
    key: dict[str, Any] = {"key": "inside-key"}
    await house.json("PUT", "/v1/flows/pictures", 201, data=PICTURES)
    server.answers["/red.jpg"] = fixed(200, photo())
    run = await house.json(
        "POST", "/v1/flows/pictures/runs", 202, json={"inputs": {"photo": LATER, "extra": LATER}}, **key
    )
    files = [await house.send(photo(9, 9), f"{name}.jpg", **key) for name in "ab"]
    path = f"/v1/runs/{run['id']}/inputs"
    fed = await house.json("PUT", f"{path}/photo", 202, json={"url": f"{server.url}/red.jpg"}, **key)
    assert (fed["awaits"], len(fed["fetches"])) == (["extra"], 1)
    done = await house.json("PUT", f"{path}/extra?wait=60", 200, json=[{"file": file["id"]} for file in files], **key)
    assert (done["status"], done["error"]) == ("completed", None)
    assert sorted(one["path"] for one in done["outputs"]) == ["extra/a.jpg", "extra/b.jpg", "photo/red.jpg"]
    assert done["inputs"]["extra"] == [file["id"] for file in files]
    lost = await house.json("POST", "/v1/flows/pictures/runs", 202, json={"inputs": {"photo": LATER}}, **key)
    server.answers["/none"] = fixed(404)
    path = f"/v1/runs/{lost['id']}/inputs/photo?wait=60"
    ended = await house.json("PUT", path, 200, json={"url": f"{server.url}/none"}, **key)
    assert (ended["status"], ended["error"]["code"], ended["error"]["node"]) == ("failed", "SOURCE_NOT_FOUND", "photo")


async def test_what_cannot_be_given(house: House, worker: Worker) -> None:
    await house.json("PUT", "/v1/flows/pictures", 201, data=PICTURES)
    run = await waiting(house, "pictures", photo=LATER)
    path = f"/v1/runs/{run['id']}/inputs"
    words, one, two = await house.send(b"words", "a.txt"), await house.send(photo()), await house.send(photo(50, 50))
    theirs = await house.send(photo(), key="other-key")
    for node, given, status, code in (
        ("nothing", {"file": one["id"]}, 422, "INPUT_UNKNOWN"),
        ("extra", {"file": one["id"]}, 409, "INPUT_NOT_AWAITED"),
        ("photo", {"file": words["id"]}, 415, "TYPE_NOT_ALLOWED"),
        ("photo", {"file": theirs["id"]}, 404, "FILE_NOT_FOUND"),
        ("photo", [{"file": one["id"]}, {"file": two["id"]}], 422, "INPUT_NOT_MANY"),
        ("photo", [], 422, "INPUT_MISSING"),
        ("photo", {}, 400, "REQUEST_INVALID"),
        ("photo", LATER, 400, "REQUEST_INVALID"),
        ("photo", {"file": one["id"], "url": "https://example.com/"}, 400, "REQUEST_INVALID"),
        ("photo", {"url": "http://127.0.0.1/"}, 422, "ADDRESS_REFUSED"),
    ):
        await house.problem("PUT", f"{path}/{node}", status, code, json=given)
    await house.problem("PUT", f"{path}/photo", 404, "RUN_NOT_FOUND", json={"file": theirs["id"]}, key="other-key")
    large = Multipart().field("photo", bytes(30_000), "a.jpg").end()
    await house.problem("PUT", f"{path}/photo", 413, "FILE_TOO_LARGE", **large)
    await house.problem("PUT", f"{path}/photo", 422, "INPUT_MISSING", **Multipart().end())
    field = Multipart().field("params", "{}").end()
    await house.problem("PUT", f"{path}/photo", 400, "REQUEST_INVALID", **field)
    await house.problem("PUT", f"{path}/photo", 415, "CONTENT_TYPE_UNSUPPORTED", data=photo())
    still = await house.json("GET", f"/v1/runs/{run['id']}")
    assert (still["status"], still["awaits"], still["inputs"]) == ("waiting", ["photo"], {})
    done = await house.json("PUT", f"{path}/photo?wait=60", 200, json={"file": one["id"]})
    assert done["status"] == "completed"
    # Once more, because the answer was lost, changes nothing; another file comes too late and is not kept.
    assert (await house.json("PUT", f"{path}/photo", 200, json={"file": one["id"]}))["id"] == run["id"]
    before = len((await house.json("GET", "/v1/files"))["items"])
    sent = Multipart().field("photo", photo(), "late.jpg").end()
    await house.problem("PUT", f"{path}/photo", 409, "RUN_ENDED", **sent)
    assert len((await house.json("GET", "/v1/files"))["items"]) == before


async def test_what_cannot_be_announced(house: House) -> None:
    file = await house.send(photo())
    for inputs, status, code in (
        ({"first": LATER}, 422, "INPUT_MISSING"),
        ({"first": LATER, "second": LATER, "third": LATER}, 422, "INPUT_UNKNOWN"),
        ({"first": LATER, "second": {"later": False}}, 400, "REQUEST_INVALID"),
        ({"first": LATER, "second": {"later": True, "file": file["id"]}}, 400, "REQUEST_INVALID"),
        ({"first": LATER, "second": [LATER, {"file": file["id"]}]}, 400, "REQUEST_INVALID"),
    ):
        await house.problem("POST", "/v1/flows/pair/runs", status, code, json={"inputs": inputs})
    assert (await house.json("GET", "/v1/runs"))["items"] == []


async def test_one_that_is_cancelled_takes_no_more_and_waits_anew_when_it_is_retried(
    house: House, worker: Worker
) -> None:
    one, two = await house.send(photo(), "a.jpg"), await house.send(photo(50, 50), "b.jpg")
    run = await waiting(house, first={"file": one["id"]}, second=LATER)
    path = f"/v1/runs/{run['id']}"
    ended = await house.json("POST", f"{path}/cancel")
    assert {state["status"] for state in ended["nodes"].values()} == {"cancelled"}
    await house.problem("PUT", f"{path}/inputs/second", 409, "RUN_ENDED", json={"file": two["id"]})
    again = await house.json("POST", f"{path}/retry", 202)
    assert (again["status"], again["awaits"], again["attempt"]) == ("waiting", ["second"], 2)
    done = await house.json("PUT", f"{path}/inputs/second?wait=60", 200, json={"file": two["id"]})
    assert sorted(output["path"] for output in done["outputs"]) == ["first/a.jpg", "second/b.jpg"]


async def test_one_that_nobody_feeds_ends_after_its_time(redis_url: str, tmp_path: Path) -> None:
    text = CONFIG.replace('"safelight:"', '"hungry:"') + "run_wait: 200ms\n"
    async with serving(text, redis_url, tmp_path) as house, asyncio.timeout(20):
        await house.json("PUT", "/v1/flows/pair", 201, data=PAIR, headers={"Content-Type": "application/yaml"})
        file = await house.send(photo())
        run = await waiting(house, first=LATER, second={"file": file["id"]})
        paused = await waiting(house, first=LATER, second=LATER)
        await house.json("POST", f"/v1/runs/{paused['id']}/pause")
        while (ended := await house.json("GET", f"/v1/runs/{run['id']}?wait=0.1"))["status"] == "waiting":
            await house.core.runs.recover()
        assert (ended["status"], ended["error"]["code"], ended["error"]["node"]) == ("failed", "RUN_NOT_FED", "first")
        assert "`first`" in ended["error"]["message"] and ended["finished_at"]
        # Who paused one will come back to it.
        assert (await house.json("GET", f"/v1/runs/{paused['id']}"))["status"] == "waiting"
        resumed = await house.json("POST", f"/v1/runs/{paused['id']}/resume")
        assert (resumed["status"], resumed["awaits"], resumed["paused_at"]) == ("waiting", ["first", "second"], None)
        while (await house.json("GET", f"/v1/runs/{paused['id']}?wait=0.1"))["status"] == "waiting":
            await house.core.runs.recover()
