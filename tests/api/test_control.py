"""Queues and workers are told to stop and to go on, over HTTP and on the command line."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from pipeline.api.access import Access
from pipeline.errors import KeyNotAdmin
from pipeline.model import WorkerBeat, new_id, now
from tests.outside import fixed, listening

from .house import House, photo
from .test_letters import typed

Worker = subprocess.Popen[bytes]


async def started(house: House, **more: Any) -> str:
    sent = await house.send(photo(), "red.jpg")
    document = {"inputs": {"photo": {"file": sent["id"]}}, **more}
    return str((await house.json("POST", "/v1/flows/tiny/runs", 202, json=document))["id"])


async def status(house: House, id: str, wait: int = 0) -> str:
    return str((await house.json("GET", f"/v1/runs/{id}?wait={wait}"))["status"])


async def paused(house: House) -> set[str]:
    return {queue["name"] for queue in (await house.json("GET", "/v1/queues"))["items"] if queue["paused"]}


async def jobs(house: House, queue: str) -> int:
    """Jobs of a queue as arq's own tools count them."""
    return int(await house.redis.zcard(f"safelight:queue:{queue}"))


async def test_nobody_takes_from_a_paused_queue_until_it_goes_on(house: House, worker: Worker) -> None:
    told = await house.json("POST", "/v1/queues/bulk/pause")
    assert told == {"name": "bulk", "paused": True, "running": 0, "cancelled": 0}
    assert await paused(house) == {"bulk"}
    waiting = await started(house, queue="bulk")
    # The worker looks at every queue in turn: it has passed this one over by the time it has done the other's run.
    assert await status(house, await started(house, queue="default"), 60) == "completed"
    assert await status(house, waiting) == "queued"
    assert (await house.json("POST", "/v1/queues/bulk/resume"))["paused"] is False
    assert await status(house, waiting, 60) == "completed" and await paused(house) == set()


async def test_errands_are_seen_and_paused_like_any_queue(house: House, worker: Worker) -> None:
    async def errands() -> Any:
        return next(row for row in (await house.json("GET", "/v1/queues"))["items"] if row["name"] == "errands")

    await house.json("POST", "/v1/queues/errands/pause")
    inside = {"key": "inside-key"}
    async with listening() as server:
        server.answers["/a.txt"] = fixed(200, b"a file")
        fetch = await house.json("POST", "/v1/fetches", 202, json={"url": f"{server.url}/a.txt"}, **inside)
        row = await errands()
        assert (row["paused"], row["queued"], row["running"], row["own"]["queued"]) == (True, 1, 0, 0)
        assert await status(house, await started(house), 60) == "completed", "runs go on meanwhile"
        assert (await house.json("GET", f"/v1/fetches/{fetch['id']}", **inside))["status"] == "waiting"
        told = await house.json("POST", "/v1/queues/errands/resume")
        assert (told["name"], told["paused"]) == ("errands", False)
        assert (await house.json("GET", f"/v1/fetches/{fetch['id']}?wait=30", **inside))["status"] == "success"
    assert (await errands())["paused"] is False
    for act in ("purge", "drain"):
        await house.problem("POST", f"/v1/queues/errands/{act}", 404, "QUEUE_NOT_FOUND")


async def test_a_purge_cancels_what_waits_in_this_queue_and_says_how_much(house: House) -> None:
    await house.json("POST", "/v1/queues/bulk/pause")
    await house.json("POST", "/v1/queues/default/pause")
    doomed = [await started(house, queue="bulk") for _ in range(3)]
    spared = await started(house, queue="default")
    assert (await house.json("POST", "/v1/queues/bulk/purge"))["cancelled"] == 3
    assert [await status(house, id) for id in [*doomed, spared]] == ["cancelled"] * 3 + ["queued"]
    assert (await jobs(house, "bulk"), await jobs(house, "default")) == (0, 1)
    assert not [key for key in await house.redis.keys("arq:job:*") if any(id.encode() in key for id in doomed)]
    assert (await house.json("POST", "/v1/queues/bulk/purge"))["cancelled"] == 0


async def test_a_cancelled_run_that_had_not_begun_leaves_the_queue_at_once(house: House) -> None:
    await house.json("POST", "/v1/queues/default/pause")
    id = await started(house)
    assert await jobs(house, "default") == 1
    assert (await house.json("POST", f"/v1/runs/{id}/cancel"))["status"] == "cancelled"
    assert await jobs(house, "default") == 0 and await house.redis.keys("arq:job:*") == []


async def test_a_drained_queue_is_paused_and_what_runs_is_waited_for(house: House) -> None:
    await house.json("POST", "/v1/queues/default/pause")
    id = await started(house)
    await house.core.records.runs.begin(id, 1, now(), "w")
    told = await house.json("POST", "/v1/queues/default/drain")
    assert told == {"name": "default", "paused": True, "running": 1, "cancelled": 0}
    code, out = await typed(house, "queues", "drain", "default", "--wait", "0.1", "--json")
    assert code == 1 and json.loads(out)["running"] == 1
    await house.core.records.runs.commit(id, 1, {}, [], [], now())
    assert (await house.json("POST", "/v1/queues/default/drain?wait=30"))["running"] == 0


async def test_the_command_controls_queues_and_workers(house: House) -> None:
    code, out = await typed(house, "queues", "pause", "bulk")
    assert (code, out) == (0, "bulk is paused, 0 running, 0 cancelled.\n")
    await started(house, queue="bulk")
    code, out = await typed(house, "queues", "purge", "bulk", "--json")
    assert code == 0 and json.loads(out)["cancelled"] == 1
    code, out = await typed(house, "queues", "resume", "bulk")
    assert code == 0 and await paused(house) == set()
    beat = WorkerBeat(id=new_id(), host="far", pid=1, version="0", queues=("bulk",), slots=1, started_at=now())
    await house.core.records.workers.beat(beat, 60)
    assert (await typed(house, "workers", "drain", beat.id))[0] == 0
    (shown,) = [one for one in (await house.json("GET", "/v1/workers"))["items"] if one["id"] == beat.id]
    assert shown["draining"] is True
    await house.json("POST", f"/v1/workers/{beat.id}/undrain", 204)
    code, out = await typed(house, "workers", "ls", "--json")
    assert [one["draining"] for one in json.loads(out)["items"] if one["id"] == beat.id] == [False]
    await house.core.records.workers.leave(beat.id)
    await house.problem("POST", f"/v1/workers/{beat.id}/drain", 404, "WORKER_NOT_FOUND")


async def test_who_may_control_what_there_is(house: House) -> None:
    await house.problem("POST", "/v1/queues/none/pause", 404, "QUEUE_NOT_FOUND")
    await house.problem("POST", "/v1/queues/bulk/pause", 401, "KEY_REQUIRED", key=None)
    access = Access(house.core.settings.projects, ["demo-second-key"])
    access.check_admin("Bearer demo-second-key")
    with pytest.raises(KeyNotAdmin):
        access.check_admin("Bearer demo-key")
