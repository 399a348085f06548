"""A real worker process: it runs real flows on real pictures, tells of itself, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from PIL import Image
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.model import File, Grant, Intake, Run, new_id, now
from pipeline.settings import Settings
from tests.workers.conftest import OwnServer, kept_files, once
from workers.main import main

SLOW = """
params: {effort: {type: integer, default: 9}}
nodes:
  photo: {type: input}
  heavy: {type: convert, format: avif, lossless: true, effort: "{params.effort}"}
  out: {type: save}
"""
FILM = "nodes: {film: {type: input}, about: {type: video_probe}}"


@contextlib.asynccontextmanager
async def worker(settings: Settings, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    projects = {name: {"public_key": "k"} for name in settings.projects}
    variables = os.environ | {
        "SAFELIGHT_REDIS_URL": settings.redis_url,
        "SAFELIGHT_DATA_DIR": str(settings.data_dir),
        "SAFELIGHT_FLOWS_DIR": str(settings.flows_dir),
        "SAFELIGHT_PROJECTS": orjson.dumps(projects).decode(),
        "SAFELIGHT_SANDBOX_CHILDREN": "1",
        "SAFELIGHT_LOG_FORMAT": "json",
        **environ,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", "--slots", "2", env=variables, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stopped(process: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """The log of a worker that was told to stop and did."""
    process.send_signal(signal.SIGTERM)
    _, text = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, text.decode()
    return [orjson.loads(line) for line in text.splitlines()]


async def until_running(core: Core, run: Run) -> None:
    async with contextlib.aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            if event is not None and event.type == "node.started" and event.facts["node"] == "out":
                return


def noisy(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def appear(server: OwnServer) -> None:
    while not (server.folder / "own.sock").exists():
        time.sleep(0.01)


@pytest.fixture
async def large(core: Core, grant: Grant) -> File:
    await core.flows.put("slow", SLOW)
    return await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1500, 1000)))


async def test_a_worker_runs_a_flow_and_tells_of_itself(
    core: Core, settings: Settings, grant: Grant, photo: File
) -> None:
    run = await core.runs.start(grant, "small", {"photo": [photo.id]}, {"width": 48})
    bad = await core.uploads.accept(grant, Intake(), once(b"no picture"))
    wrong = await core.runs.start(grant, "small", {"photo": [bad.id]})
    await core.flows.put("film", FILM)
    film = await core.uploads.accept(grant, Intake(), once(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(64)))
    unmade = await core.runs.start(grant, "film", {"film": [film.id]})
    async with worker(settings, IMAGEIO_FFMPEG_EXE=str(settings.data_dir / "no-ffmpeg")) as process:
        done = await core.runs.wait(grant, run.id, 60)
        failed = await core.runs.wait(grant, wrong.id, 60)
        unmade = await core.runs.wait(grant, unmade.id, 60)
        (beat,) = await core.records.workers.list()
        log = await stopped(process)
    assert done.status == "completed", done.error
    (output,) = done.outputs
    assert (output.path, output.mime) == ("small/photo.webp", "image/webp")
    file = await core.records.files.get(output.id)
    body = b"".join([chunk async for chunk in core.storages["default"].open(file.key)])
    with Image.open(io.BytesIO(body)) as shown:
        assert shown.format == "WEBP" and shown.size == (output.width, output.height)
        assert shown.width <= 48 and shown.height <= 24
    assert failed.status == "failed" and failed.error is not None and failed.error.code == "IMAGE_UNREADABLE"
    assert unmade.status == "failed" and unmade.error is not None and unmade.error.node == "about"
    assert (unmade.error.code, "`ffmpeg`" in unmade.error.message) == ("VIDEO_UNAVAILABLE", True)
    assert (beat.pid, beat.slots, beat.queues) == (process.pid, 2, ("interactive", "default", "bulk"))
    assert await core.records.workers.list() == []
    assert [line["event"] for line in log if line["event"] == "worker_stopped"]
    assert [line["run"] for line in log if line["event"] == "run_ended"] == [run.id]


async def test_a_cancelled_run_frees_its_sandbox(
    core: Core, settings: Settings, grant: Grant, large: File, photo: File
) -> None:
    run = await core.runs.start(grant, "slow", {"photo": [large.id]})
    async with worker(settings) as process:
        await asyncio.wait_for(until_running(core, run), 60)
        await core.runs.cancel(grant, run.id)
        after = await core.runs.start(grant, "small", {"photo": [photo.id]})
        # There is one child only: it can do this only because the other work was ended.
        done = await core.runs.wait(grant, after.id, 15)
        await stopped(process)
    assert done.status == "completed"
    assert (await core.runs.get(grant, run.id)).status == "cancelled"
    assert not [path for path in kept_files(core) if run.id in path]


async def test_a_stopped_worker_hands_its_run_to_the_next(
    core: Core, settings: Settings, grant: Grant, large: File, redis: Redis
) -> None:
    run = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
    async with worker(settings, SAFELIGHT_GRACE="0s") as process:
        await asyncio.wait_for(until_running(core, run), 60)
        await stopped(process)
    left = await core.runs.get(grant, run.id)
    assert (left.status, left.attempt, left.started_at) == ("queued", 1, None)
    assert await redis.zcard("safelight:queue:default") == 1 and await redis.keys("arq:in-progress:*") == []
    async with worker(settings) as process:
        done = await core.runs.wait(grant, run.id, 60)
        await stopped(process)
    assert (done.status, done.attempt) == ("completed", 1), done.error


async def test_the_chores_sweep_and_recover(core: Core, settings: Settings, grant: Grant, photo: File) -> None:
    file = await core.uploads.accept(grant, Intake(store=False), once(b"gone soon"))
    await core.records.files.delete(file.id)
    await core.records.files.create(file.model_copy(update={"expires_at": now() - timedelta(seconds=1)}))
    run = await core.runs.start(grant, "small", {"photo": [photo.id]})
    lost = run.model_copy(update={"id": new_id(), "created_at": now() - timedelta(minutes=5)})
    await core.records.runs.create(lost)  # recorded, but its job never reached the queue
    async with worker(settings) as process:
        done = await core.runs.wait(grant, lost.id, 60)
        log = await stopped(process)
    assert done.status == "completed", done.error
    assert [(line["sweep"], line["gone"]) for line in log if line["event"] == "swept"] == [("files", 1)]
    assert [line["runs"] for line in log if line["event"] == "recovered"] == [1]
    assert await core.storages["default"].stat(file.key) is None


async def test_a_worker_outlives_its_redis(settings: Settings, grant: Grant, own_server: OwnServer) -> None:
    settings = settings.model_copy(update={"redis_url": own_server.url})
    async with worker(settings) as process, open_core(settings) as core:
        await asyncio.sleep(2)  # it finds no server at first, which must not end it
        own_server.start()
        await asyncio.to_thread(appear, own_server)
        await core.flows.put("slow", SLOW)
        noise = await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1000, 700)))
        run = await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 2})
        await asyncio.wait_for(until_running(core, run), 60)
        own_server.kill()
        await asyncio.sleep(4)  # longer than a command is tried, so that the run meets the fault
        own_server.start()
        await asyncio.to_thread(appear, own_server)
        done = await core.runs.wait(grant, run.id, 60)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        await stopped(process)  # wiping the run's folder is the last it does
        assert len(kept_files(core)) == 2


@pytest.mark.parametrize(
    "arguments", [["--queues", "fast"], ["--slots", "0"], ["--slots", "many"], ["--config", "/nowhere/x.yaml"]]
)
def test_wrong_options_are_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    assert leave.value.code == 2
    assert capsys.readouterr().err
