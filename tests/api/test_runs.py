"""Runs over HTTP, executed by a real worker process."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import aiohttp
from PIL import Image

from pipeline.model import Event, now
from tests.records.nouns import a_run

from .house import TINY, House, Multipart, photo

RUNS = "/v1/flows/tiny/runs"
BEYOND = """
nodes:
  photo: {type: input}
  cut: {type: crop, region: {left: 500, top: 0, width: 100, height: 100}}
  out: {type: save, path: a.webp, format: webp}
"""
Worker = subprocess.Popen[bytes]


def form(**fields: str) -> dict[str, Any]:
    made = Multipart()
    for name, value in fields.items():
        made.field(name, value)
    return made.field("whatever", photo(), "red.jpg", "Content-Type: image/jpeg\r\n").end()


async def events_of(house: House, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[dict[str, Any]]:
    """Every event of a stream, as its fields."""
    async with house.ask("GET", path, headers=headers) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        event: dict[str, Any] = {}
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name in ("id", "event", "data"):
                event[name] = json.loads(value) if name == "data" else value
            elif not name and event:
                yield event
                event = {}


async def test_run_of_a_sent_photo_ends_with_fetchable_outputs(house: House, worker: Worker) -> None:
    run = await house.json("POST", RUNS + "?wait=60", 200, **form(params='{"quality": 55}', metadata='{"k": "v"}'))
    assert set(run) == {
        "id", "flow", "version", "status", "created_at", "started_at", "finished_at", "attempt", "inputs",
        "fetches", "awaits", "paused_at", "params", "nodes", "outputs", "facts", "error", "tries",
    }  # fmt: skip
    assert (run["status"], run["flow"], run["attempt"], run["error"]) == ("completed", "tiny", 1, None)
    assert run["params"] == {"quality": 55}
    assert list(run["inputs"]) == ["photo"]
    assert {name: state["status"] for name, state in run["nodes"].items()} == dict.fromkeys(
        ("photo", "small", "out"), "completed"
    )
    assert set(run["nodes"]["small"]) == {"type", "status", "ms", "error", "reused"}
    (output,) = run["outputs"]
    assert set(output) == {
        "node", "source", "id", "url", "path", "mime", "size", "width", "height", "sha256"
    }  # fmt: skip
    assert (output["node"], output["source"], output["path"]) == ("out", "small", "tiny/red.webp")
    assert output["url"] == f"{house.base}/v1/files/{output['id']}/content"
    async with house.ask("GET", output["url"], key=None) as answer:
        picture = Image.open(io.BytesIO(await answer.read()))
    assert (picture.format, picture.size) == ("WEBP", (40, 27)) == ("WEBP", (output["width"], output["height"]))


async def test_run_is_answered_at_once_without_waiting(house: House, worker: Worker) -> None:
    async with house.ask("POST", RUNS, **form()) as answer:
        run = await answer.json()
        assert answer.status == 202
        assert answer.headers["Location"] == f"{house.base}/v1/runs/{run['id']}"
    ended = await house.json("GET", f"/v1/runs/{run['id']}?wait=60")
    assert ended["status"] == "completed"


async def test_run_of_a_file_sent_before(house: House, worker: Worker) -> None:
    file = await house.send(photo(), "earlier.jpg")
    run = await house.json("POST", RUNS + "?wait=60", 200, json={"inputs": {"photo": {"file": file["id"]}}})
    assert run["outputs"][0]["path"] == "tiny/earlier.webp"
    assert run["inputs"] == {"photo": [file["id"]]}


async def test_run_of_a_private_file_has_private_outputs(house: House, worker: Worker) -> None:
    file = await house.json("POST", "/v1/files?private=true&name=p.jpg", 201, data=photo())
    run = await house.json("POST", RUNS + "?wait=60", 200, json={"inputs": {"photo": {"file": file["id"]}}})
    (output,) = run["outputs"]
    assert "signature=" in output["url"]
    async with house.ask("GET", output["url"], key=None) as answer:
        assert answer.status == 200
    await house.problem("GET", output["url"].partition("?")[0], 403, "SIGNATURE_INVALID", key=None)


async def test_two_inputs_by_the_names_of_their_fields(house: House, worker: Worker) -> None:
    both = Multipart().field("second", photo(), "b.jpg").field("first", photo(50, 50), "a.jpg").end()
    run = await house.json("POST", "/v1/flows/pair/runs?wait=60", 200, **both)
    assert run["status"] == "completed", run
    assert sorted(output["path"] for output in run["outputs"]) == ["first/a.jpg", "second/b.jpg"]


async def test_events_are_replayed_and_resumed(house: House, worker: Worker) -> None:
    run = await house.json("POST", RUNS, 202, **form())
    path = f"/v1/runs/{run['id']}/events"
    live = [event async for event in events_of(house, path)]
    kinds = [event["event"] for event in live]
    assert kinds[0] == "run.queued" and kinds[-1] == "run.completed"
    assert {"run.started", "node.completed"} <= set(kinds)
    assert all(event["data"]["id"] == event["id"] and event["data"]["subject"] == run["id"] for event in live)
    assert [event async for event in events_of(house, path)] == live
    assert [event async for event in events_of(house, path, {"Last-Event-ID": live[1]["id"]})] == live[2:]
    assert [event async for event in events_of(house, f"{path}?from={live[2]['id']}")] == live[3:]
    async with house.ask("GET", path, headers={"Last-Event-ID": live[-1]["id"]}) as answer:
        assert answer.status == 204
    await house.problem("GET", f"{path}?from=yesterday", 400, "CURSOR_INVALID")
    await house.problem("GET", path, 404, "RUN_NOT_FOUND", key="other-key")


async def test_project_events_tell_of_everything(house: House) -> None:
    async with asyncio.timeout(20):
        events = events_of(house, "/v1/events?from=0")
        file = await house.send(b"text")
        await house.send(b"theirs", key="other-key")
        await house.json("DELETE", f"/v1/files/{file['id']}", 204)
        seen = [await anext(events) for _ in range(3)]
        await events.aclose()
    assert [event["event"] for event in seen] == ["file.uploaded", "file.stored", "file.deleted"]
    assert {event["data"]["subject"] for event in seen} == {file["id"]}


async def test_a_stream_ends_behind_what_comes_after_the_end_of_its_run(house: House, worker: Worker) -> None:
    run = await house.json("POST", f"{RUNS}?wait=20", 200, **form())
    await house.core.events.append(Event(type="letter.made", project="demo", subject=run["id"]))
    async with asyncio.timeout(10):
        kinds = [event["event"] async for event in events_of(house, f"/v1/runs/{run['id']}/events?from=0")]
    assert kinds[-2:] == ["run.completed", "letter.made"]


async def test_head_of_a_stream_ends(house: House) -> None:
    async with house.ask("HEAD", "/v1/events") as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_many_readers_share_few_connections_and_see_everything_once_and_in_order(house: House) -> None:
    records, log = house.core.records, house.core.events
    runs = [a_run() for _ in range(4)]
    for run in runs:
        await records.runs.create(run)
    seen = (await log.recent("demo", limit=1))[0].id
    before = len(await house.redis.client_list())
    async with asyncio.timeout(60), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        crowd = replace(house, session=session)
        on_project = [asyncio.create_task(ids_until(crowd, "/v1/events", seen, runs[-1].id)) for _ in range(100)]
        on_runs = [asyncio.create_task(ids_until(crowd, f"/v1/runs/{run.id}/events", "0", run.id)) for run in runs * 25]
        while not all([await readers(house, name) for name in (":demo", *(run.id for run in runs))]):
            await asyncio.sleep(0.005)
        for number in range(40):
            await log.append(Event(type="node.completed", project="demo", subject=runs[number % 4].id))
        held = len(await house.redis.client_list()) - before
        for run in runs:
            await records.runs.cancel(run.id, now())
        told = await asyncio.gather(*on_project, *on_runs)
    assert held <= 4, "of Redis, by two hundred readers"
    whole = [event.id for event in await log.read("demo", None, seen, 1000)]
    wanted = [[event.id for event in await log.read("demo", run.id, "0", 1000)] for run in runs]
    assert [len(one) for one in (whole, *wanted)] == [44, 12, 12, 12, 12]
    assert told == [whole] * 100 + wanted * 25


async def ids_until(house: House, path: str, last: str, subject: str) -> list[str]:
    """The ids of all events until this run was cancelled, read by one who leaves now and then and returns."""
    ids = [last]
    while True:
        async with aclosing(events_of(house, path, {"Last-Event-ID": ids[-1]})) as events:
            async for event in events:
                ids.append(event["id"])
                if (event["event"], event["data"]["subject"]) == ("run.cancelled", subject):
                    return ids[1:]
                if len(ids) % 15 == 0:
                    break


async def readers(house: House, name: str) -> int:
    """How many web processes listen for this."""
    ((_, count),) = await house.redis.pubsub_numsub(f"{house.core.settings.key_prefix}news:{name}")
    return int(count)


async def test_readers_that_leave_are_not_listened_for(house: House) -> None:
    async with house.ask("GET", "/v1/events") as one, house.ask("GET", "/v1/events") as two:
        assert await one.content.readline() == await two.content.readline() == b"retry: 2000\n"
        async with asyncio.timeout(10):
            while not await readers(house, ":demo"):
                await asyncio.sleep(0.005)
        one.close()
        two.close()
    async with asyncio.timeout(10):
        while await readers(house, ":demo"):
            await asyncio.sleep(0.005)


async def test_input_sent_without_a_file_name(house: House, worker: Worker) -> None:
    named = Multipart().field("photo", photo()).end()
    run = await house.json("POST", RUNS + "?wait=60", 200, **named)
    assert run["status"] == "completed"


async def test_run_on_another_version_and_queue(house: House, worker: Worker) -> None:
    draft = await house.json("PUT", "/v1/flows/tiny?activate=false", 201, data=TINY.replace("width: 40", "width: 20"))
    file = await house.send(photo(), "p.jpg")
    ask = {"inputs": {"photo": [{"file": file["id"]}]}, "version": draft["version"], "queue": "interactive"}
    run = await house.json("POST", RUNS + "?wait=60", 200, json=ask)
    assert (run["version"], run["outputs"][0]["width"]) == (draft["version"], 20)


async def test_run_that_fails_says_where_and_why(house: House, worker: Worker) -> None:
    await house.json("PUT", "/v1/flows/toobig", 201, data=BEYOND)
    run = await house.json("POST", "/v1/flows/toobig/runs?wait=60", 200, **form())
    assert (run["status"], run["outputs"]) == ("failed", [])
    assert run["error"]["code"] and run["error"]["message"]
    assert run["error"]["node"] == "cut"
    again = await house.json("POST", f"/v1/runs/{run['id']}/retry", 202)
    assert (again["attempt"], again["error"]) == (2, None)
    kinds = [event["event"] async for event in events_of(house, f"/v1/runs/{run['id']}/events")]
    assert kinds.count("run.failed") == 2 and kinds[-1] == "run.failed"


async def test_runs_are_listed_by_status_and_flow(house: House, worker: Worker) -> None:
    runs = [await house.json("POST", RUNS + "?wait=60", 200, **form()) for _ in range(2)]
    ids = [run["id"] for run in reversed(runs)]
    assert [run["id"] for run in (await house.json("GET", "/v1/runs?status=completed&flow=tiny"))["items"]] == ids
    assert (await house.json("GET", "/v1/runs?status=failed"))["items"] == []
    assert (await house.json("GET", "/v1/runs?flow=pair"))["items"] == []
    assert (await house.json("GET", "/v1/runs", key="other-key"))["items"] == []
    page = await house.json("GET", "/v1/runs?limit=1")
    assert [run["id"] for run in page["items"]] == ids[:1]
    assert [run["id"] for run in (await house.json("GET", f"/v1/runs?cursor={page['next']}"))["items"]] == ids[1:]
    await house.problem("GET", "/v1/runs?status=lost", 400, "REQUEST_INVALID")
    await house.problem("GET", "/v1/runs?cursor=nonsense", 400, "CURSOR_INVALID")


async def test_ended_run_cannot_be_cancelled(house: House, worker: Worker) -> None:
    run = await house.json("POST", RUNS + "?wait=60", 200, **form())
    await house.problem("POST", f"/v1/runs/{run['id']}/cancel", 409, "RUN_ENDED")


async def test_run_of_another_project_is_not_there(house: House, worker: Worker) -> None:
    run = await house.json("POST", RUNS + "?wait=60", 200, **form())
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
        await house.problem(method, f"/v1/runs/{run['id']}{path}", 404, "RUN_NOT_FOUND", key="other-key")
    await house.problem("GET", "/v1/runs/not-an-id", 404, "RUN_NOT_FOUND")


async def test_same_key_starts_one_run(house: House, worker: Worker) -> None:
    headers = {"Idempotency-Key": "once"}
    ask = form()
    ask["headers"] |= headers
    first = await house.json("POST", RUNS, 202, **ask)
    async with house.ask("POST", RUNS, **ask) as answer:
        assert answer.headers["Idempotency-Replayed"] == "true"
        assert (await answer.json())["id"] == first["id"]
    assert len((await house.json("GET", "/v1/runs"))["items"]) == 1
    await house.problem("POST", RUNS + "?wait=9", 422, "IDEMPOTENCY_MISMATCH", **ask)


async def test_worker_is_listed(house: House, worker: Worker) -> None:
    async with asyncio.timeout(30):
        while not (rows := (await house.json("GET", "/v1/workers"))["items"]):
            await asyncio.sleep(0.1)
    (row,) = rows
    assert set(row) == {
        "id", "host", "pid", "version", "queues", "slots", "running", "load", "memory", "draining",
        "started_at", "beat_at",
    }  # fmt: skip
    assert row["pid"] == worker.pid
