"""What is measured is what was run: the page for Prometheus, the queues, the charts, the failures."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.api.app import create_app
from pipeline.api.dialects.native.monitoring import MOST_POINTS, StatsQuery, Stretch
from pipeline.core import open_core
from pipeline.jobs import RUN_FLOW, slip
from pipeline.model import Problem, new_id
from pipeline.records.queue import Slip
from tests.records.nouns import a_run, moment
from workers.queue import Queues, Work, worker_pool

from .conftest import answering
from .house import House, Multipart, photo

Worker = subprocess.Popen[bytes]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

BROKEN = """
nodes:
  photo: {type: input}
  mark: {type: watermark, image: "asset:logo.png", opacity: 1}
  out: {type: save, path: "{params.where}/a.webp"}
params: {where: {type: string, default: "../up"}}
"""


async def scraped(house: House, at: str = "") -> Samples:
    """Every sample of the page by its name and labels, as Prometheus' own parser reads it."""
    async with house.ask("GET", f"{at}/metrics", key=None) as answer:
        assert answer.status == 200
        families = list(text_string_to_metric_families(await answer.text()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def ran(house: House, flow: str = "tiny", form: dict[str, Any] | None = None, **more: Any) -> Any:
    form = form or Multipart().field("photo", photo(), "p.jpg").end()
    return await house.json("POST", f"/v1/flows/{flow}/runs?wait=60", 200, **form, **more)


async def test_the_page_tells_exactly_what_was_run(house: House, worker: Worker) -> None:
    before = await scraped(house)  # also what earlier tests had counted, but not told yet
    await house.json("PUT", "/v1/flows/broken", 201, data=BROKEN, headers={"Content-Type": "application/yaml"})
    for _ in range(3):
        assert (await ran(house))["status"] == "completed"
    failed = await ran(house, "broken")
    assert failed["status"] == "failed"
    await house.problem("POST", "/v1/files", 415, "TYPE_NOT_ALLOWED", data=b"text", key="draft-key")

    samples = await scraped(house)
    assert value(samples, "safelight_runs_total", flow="tiny", outcome="completed") == 3
    assert value(samples, "safelight_runs_total", flow="broken", outcome="failed") == 1
    assert value(samples, "safelight_runs_ended_total", queue="default", outcome="completed") == 3
    assert value(samples, "safelight_runs_queued_total", queue="default") == 4
    assert value(samples, "safelight_run_failures_total", code=failed["error"]["code"]) == 1
    for name, count in (("queue_wait", 4), ("run", 4), ("store", 3)):
        assert value(samples, f"safelight_{name}_seconds_count", queue="default") == count
        assert value(samples, f"safelight_{name}_seconds_bucket", queue="default", le="+Inf") == count
        assert 0 < value(samples, f"safelight_{name}_seconds_sum", queue="default") < 60
    assert value(samples, "safelight_node_seconds_count", type="resize") == 3
    # The files of the forms, and what the draft project refused.
    for outcome, count in (("accepted", 4), ("TYPE_NOT_ALLOWED", 1)):
        sample = "safelight_uploads_total", frozenset({"dialect": "native", "outcome": outcome}.items())
        assert samples[sample] - before.get(sample, 0) == count
    for state in ("queued", "delayed", "running", "waiting"):
        assert value(samples, "safelight_queue_jobs", queue="default", state=state) == 0
    assert value(samples, "safelight_queue_oldest_age_seconds", queue="default") == 0
    assert value(samples, "safelight_jobs_lost_total") == value(samples, "safelight_dead_letters") == 0
    assert value(samples, "safelight_records_up") == 1


async def test_what_waits_what_was_lost_and_what_was_given_up_is_on_the_page(house: House) -> None:
    records, queue = house.core.records, "safelight:queue:bulk"
    for name in ("waits", "later", "begun"):
        run = a_run(queue="bulk", id=new_id())
        await records.runs.create(run, Slip(queue, f"run:{run.id}:1", b"{}", 60_000))
        if name == "later":
            await house.redis.zadd(f"{queue}:later", {f"run:{run.id}:1": 2**52})
        if name == "begun":
            await records.runs.start(run.id, 1, moment(1))
            await records.runs.start(run.id, 1, moment(2))  # by somebody else, as its worker was lost
    oldest, _ = (await house.redis.zrange("safelight:depth:bulk:queued", 0, 0, withscores=True))[0]
    await house.redis.zincrby("safelight:depth:bulk:queued", -90_000_000, oldest)
    await house.json("POST", "/v1/queues/bulk/pause")
    poisoned = a_run()
    await records.runs.create(poisoned)
    assert await records.letters.add(poisoned.id, 1, Problem(code="POISONED", message="Too often."))
    samples = await scraped(house)
    states = {"queued": 1, "delayed": 1, "running": 1, "waiting": 0}
    assert {state: value(samples, "safelight_queue_jobs", queue="bulk", state=state) for state in states} == states
    assert 90 <= value(samples, "safelight_queue_oldest_age_seconds", queue="bulk") < 150
    assert value(samples, "safelight_queue_paused", queue="bulk") == 1
    assert value(samples, "safelight_queue_paused", queue="default") == 0
    assert value(samples, "safelight_runs_taken_over_total", queue="bulk") == 1
    assert value(samples, "safelight_dead_letters") == 1
    assert value(samples, "safelight_run_failures_total", code="POISONED") == 1


async def begun(house: House, **more: Any) -> str:
    return str((await house.json("POST", "/v1/uploads", 201, json={"name": "a.txt", **more}))["id"])


async def test_every_end_of_an_upload_is_counted_once(house: House) -> None:
    uploads, send = house.core.uploads, {"Upload-Offset": "0"}
    kept = await begun(house, size=4)
    await house.json("PATCH", f"/v1/uploads/{kept}", data=b"ab", headers=send)
    await house.problem("POST", f"/v1/uploads/{kept}/finish", 400, "BODY_INCOMPLETE")
    await house.problem("PATCH", f"/v1/uploads/{kept}", 409, "OFFSET_MISMATCH", data=b"cd", headers=send)
    await house.json("PATCH", f"/v1/uploads/{kept}", data=b"cd", headers={"Upload-Offset": "2"})
    for _ in range(2):  # the second time as if the answer had been lost
        await house.json("POST", f"/v1/uploads/{kept}/finish", 201)
    aborted, late = await begun(house), await begun(house)
    await house.json("DELETE", f"/v1/uploads/{aborted}", 204)
    await house.problem("DELETE", f"/v1/uploads/{aborted}", 404, "UPLOAD_NOT_FOUND")
    due = datetime.now(UTC) + timedelta(days=400)
    assert sorted(await asyncio.gather(*(uploads.expire(late, due) for _ in range(3)))) == [False, False, True]
    longer = await begun(house, size=3)
    await house.problem("PATCH", f"/v1/uploads/{longer}", 400, "BODY_TOO_LONG", data=b"four", headers=send)
    await house.problem("POST", "/v1/uploads", 413, "FILE_TOO_LARGE", json={"name": "a", "size": 10**15})
    samples = await scraped(house)
    outcomes = {dict(labels)["outcome"]: number for (name, labels), number in samples.items()
                if name == "safelight_uploads_total" and dict(labels)["dialect"] == "native"}  # fmt: skip
    assert outcomes == {"accepted": 1, "aborted": 1, "expired": 1, "BODY_TOO_LONG": 1, "FILE_TOO_LARGE": 1}


async def test_jobs_of_lost_workers_are_counted(house: House, redis_url: str) -> None:
    ends = asyncio.Event()

    async def held(*_: Any) -> None:
        await ends.wait()

    queue: Any = "spare"  # which no real worker serves
    pool = worker_pool(redis_url)
    readers = [Queues(pool, "safelight:", [queue], 1, {RUN_FLOW: Work(held)}, job_timeout=60, lease=0.1) for _ in "ab"]
    await house.core.records.runs.enqueue(slip("safelight:", queue, RUN_FLOW, "run:a:1", ["a", 1], "demo"))
    lost, heir = readers
    await lost.turn()
    async with asyncio.timeout(10):
        while not heir.tasks:
            await asyncio.sleep(0.02)
            await heir.turn()
    assert value(await scraped(house), "safelight_jobs_lost_total") == 1
    ends.set()
    await asyncio.gather(*lost.tasks.values(), *heir.tasks.values())
    await pool.aclose(close_connection_pool=True)


async def test_a_stream_tells_how_far_behind_it_is(house: House) -> None:
    before = (await scraped(house)).get(("safelight_http_stream_seconds_count", frozenset()), 0)
    await house.send(b"earlier")
    async with house.ask("GET", "/v1/events?from=0") as stream:
        async for line in stream.content:
            if line.startswith(b"event: file.stored"):
                break
        await house.send(b"now")
        async for line in stream.content:
            if line.startswith(b"event: file.stored"):
                break
    samples = await scraped(house)
    # What had happened before the stream began is not late.
    assert value(samples, "safelight_http_stream_seconds_count") == before + 2
    assert 0 < value(samples, "safelight_http_stream_seconds_sum") < 5 * (before + 2)


async def test_buckets_grow_and_end_in_the_count(house: House, worker: Worker) -> None:
    await ran(house)
    async with house.ask("GET", "/metrics", key=None) as answer:
        families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    for name in ("safelight_run_seconds", "safelight_queue_wait_seconds", "safelight_node_seconds"):
        family = families[name]
        assert family.type == "histogram"
        rows = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        for labels in {tuple(sorted((n, v) for n, v in row.labels.items() if n != "le")) for row in rows}:
            mine = [row for row in rows if set(labels) <= set(row.labels.items())]
            assert [row.value for row in mine] == sorted(row.value for row in mine)
            bounds = [float(row.labels["le"]) for row in mine]
            assert bounds == sorted(bounds) and bounds[-1] == float("inf")


async def test_a_worker_that_is_alive_is_up_and_one_that_was_lost_is_down(house: House, worker: Worker) -> None:
    async with asyncio.timeout(30):
        while not (rows := (await house.json("GET", "/v1/workers"))["items"]):
            await asyncio.sleep(0.1)
    (row,) = rows
    samples = await scraped(house)
    assert value(samples, "safelight_worker_up", worker=row["id"]) == 1
    assert value(samples, "safelight_worker_slots", worker=row["id"]) == row["slots"]
    beat = (await house.core.records.workers.list())[0].model_copy(update={"id": "lost"})
    await house.core.records.workers.beat(beat, 0.05)
    await scraped(house)
    async with asyncio.timeout(10):
        while value(await scraped(house), "safelight_worker_up", worker="lost"):
            await asyncio.sleep(0.02)
    assert value(await scraped(house), "safelight_worker_up", worker=row["id"]) == 1


@pytest.fixture
async def neighbour(served: House) -> AsyncIterator[str]:
    """The address of another web process' application on the same Valkey."""
    async with open_core(served.core.settings) as core, answering(create_app(core)) as port:
        yield f"http://127.0.0.1:{port}"


async def test_any_web_process_tells_the_same(house: House, neighbour: str, worker: Worker) -> None:
    await ran(house)
    await house.send(b"here")
    await house.send(b"there")
    await house.json("POST", f"{neighbour}/v1/files?name=a.txt", 201, data=b"beside")
    wanted = ("safelight_uploads_total", frozenset({("dialect", "native"), ("outcome", "accepted")}))
    here, there = shared(await scraped(house)), Samples()
    async with asyncio.timeout(10):  # what the other process took in, or a worker tells, is told within a second
        while here.get(wanted) != 4 or here != there:
            await asyncio.sleep(0.05)
            here, there = shared(await scraped(house)), shared(await scraped(house, neighbour))


def shared(samples: Samples) -> Samples:
    """Those that are not of one web process."""
    return {key: value for key, value in samples.items() if key[0].startswith("safelight_") and "http" not in key[0]}


async def test_queues_tell_what_a_project_has_of_it(house: House) -> None:
    records = house.core.records
    mine, other = a_run(queue="bulk"), a_run(queue="bulk", project="other")
    for run in (mine, other, a_run(queue="bulk", project="other")):
        await records.runs.create(run)
    await records.runs.start(other.id, 1, moment(1))
    rows = {row["name"]: row for row in (await house.json("GET", "/v1/queues"))["items"]}
    bulk = rows["bulk"]
    # None of these has a job in the queue, so that nobody begins them.
    assert (bulk["queued"] + bulk["delayed"], bulk["running"], bulk["waiting"]) == (2, 1, 0)
    assert bulk["own"] == {"queued": 1, "running": 0, "waiting": 0}
    assert bulk["oldest_age"] >= 0 and rows["default"]["oldest_age"] == 0
    assert bulk["latency"]["wait"]["count"] == 1 and bulk["latency"]["run"]["p50_ms"] is None
    await records.runs.commit(other.id, 1, {}, [], [], moment(2), stored=0.004)
    rows = {row["name"]: row for row in (await house.json("GET", "/v1/queues?window=5"))["items"]}
    bulk = rows["bulk"]
    assert bulk["ended"] == {"completed": 1, "failed": 0, "cancelled": 0} and bulk["per_minute"] > 0
    assert bulk["latency"]["store"]["p50_ms"] == pytest.approx(4, rel=0.45)
    await house.problem("GET", "/v1/queues?window=0", 400, "REQUEST_INVALID")


async def test_stats_are_series_of_equal_length(house: House, worker: Worker) -> None:
    for _ in range(2):
        await ran(house)
    stats = await house.json("GET", "/v1/stats")
    points = len(stats["times"])
    assert stats["step"] == 60 and 60 <= points <= 62
    assert sum(stats["queues"]["default"]["completed"]) == sum(stats["queues"]["default"]["queued"]) == 2
    assert stats["flows"]["tiny"].keys() == {"completed"} and sum(stats["flows"]["tiny"]["completed"]) == 2
    assert sum(stats["uploads"]["native"]["accepted"]) == 2
    series = [*stats["queues"]["bulk"].values(), stats["flows"]["tiny"]["completed"]]
    series += [column for kind in stats["latency"]["default"].values() for column in kind.values()]
    assert {len(column) for column in series} == {points}
    assert [p for p in stats["latency"]["default"]["run"]["p99_ms"] if p is not None]
    assert all(p is None for p in stats["latency"]["bulk"]["run"]["p50_ms"])


async def test_stats_of_a_week_come_by_the_hour(house: House, worker: Worker) -> None:
    await ran(house)
    end = datetime.now(UTC)
    stats = await house.json("GET", f"/v1/stats?from={(end - timedelta(days=7)).timestamp():.0f}&step=3600")
    assert stats["step"] == 3600 and 168 <= len(stats["times"]) <= 170
    assert sum(stats["queues"]["default"]["completed"]) == 1
    daily = await house.json("GET", f"/v1/stats?from={(end - timedelta(days=30)).timestamp():.0f}&step=86400")
    assert len(daily["times"]) <= 9 and sum(daily["flows"]["tiny"]["completed"]) == 1
    await house.problem("GET", "/v1/stats?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "REQUEST_INVALID")
    await house.problem("GET", "/v1/stats?from=yesterday", 400, "REQUEST_INVALID")


@pytest.mark.parametrize("hours", [0.1, 1, 24, 25, 100, 168, 1000])
@pytest.mark.parametrize("step", [1, 60, 61, 900, 3600, 7200, 86400, 10**9])
def test_a_stretch_is_whole_and_never_too_long(hours: float, step: int) -> None:
    now = 1_790_000_123
    start = datetime.fromtimestamp(now - hours * 3600, UTC)
    stretch = Stretch.asked(StatsQuery.model_validate({"from": start, "step": step}), now)
    assert stretch.step >= step or step > 7 * 86400
    assert stretch.count * stretch.span == len(stretch.times) * stretch.step
    assert 0 < len(stretch.times) <= MOST_POINTS
    assert stretch.times[0] <= max(start, datetime.fromtimestamp(now - 7 * 86400, UTC))
    assert stretch.times[-1] + timedelta(seconds=stretch.step) > datetime.fromtimestamp(now, UTC)


async def test_failures_are_grouped_and_a_projects_own(house: House, worker: Worker) -> None:
    await house.json("PUT", "/v1/flows/broken", 201, data=BROKEN, headers={"Content-Type": "application/yaml"})
    runs = [await ran(house, "broken") for _ in range(2)]
    page = await house.json("GET", "/v1/failures")
    (row,) = page["items"]
    assert (row["count"], row["flow"], row["code"]) == (2, "broken", runs[1]["error"]["code"])
    assert row["run"] == runs[1]["id"] and row["message"] == runs[1]["error"]["message"]
    assert row["type"] == runs[1]["nodes"][runs[1]["error"]["node"]]["type"]
    assert (await house.json("GET", "/v1/failures", key="other-key"))["items"] == []
    await house.problem("GET", "/v1/failures?cursor=nonsense", 400, "CURSOR_INVALID")


async def test_a_run_continues_the_trace_of_its_request(house: House) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    file = await house.send(photo(), "p.jpg")
    ask: dict[str, Any] = {"json": {"inputs": {"photo": {"file": file["id"]}}}}
    for given, kept in ((parent, parent), ("nonsense", None), ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", None)):
        run = await house.json("POST", "/v1/flows/tiny/runs", 202, headers={"traceparent": given}, **ask)
        assert (await house.core.records.runs.get(run["id"])).trace == kept
