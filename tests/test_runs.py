"""Runs as far as the door of the queue: what is checked, what is recorded, what is enqueued, and how one waits."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from PIL import Image
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import (
    FileNotFound,
    FileTooLarge,
    FlowNotFound,
    FlowPaused,
    FlowVersionNotFound,
    ImageTooLarge,
    InputMissing,
    InputNotMany,
    InputUnknown,
    ParamsInvalid,
    RecordsUnavailable,
    RunEnded,
    RunNotEnded,
    RunNotFound,
    TypeNotAllowed,
)
from pipeline.files import Copying
from pipeline.model import File, Grant, ImageFacts, Intake, Output, Problem, Project, Run, new_id, now
from pipeline.runs import run_folder
from pipeline.settings import Settings
from pipeline.uploads import Becoming, becoming

FLOW = """
accept: {types: [image/*], max_size: 1MB, max_pixels: 1MP}
params: {width: {type: integer, default: 32, minimum: 1, maximum: 500}}
nodes:
  photo: {type: input}
  small: {type: resize, width: "{params.width}", height: 32}
  out: {type: save, path: "{file.stem}.webp"}
"""
PAIR = """
nodes:
  base: {type: input}
  extra: {type: input, required: false, many: true}
  out: {type: save, from: [base, extra], path: "{file.id}.{file.ext}"}
queue: bulk
"""


@pytest.fixture(scope="module")
async def core(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Core]:
    async with open_core(Settings(redis_url=redis_url, data_dir=tmp_path_factory.mktemp("runs"))) as core:
        yield core


@pytest.fixture
async def grant(core: Core, redis: Redis) -> Grant:
    await core.flows.put("small", FLOW)
    await core.flows.put("pair", PAIR)
    return Grant(project=Project(id="demo"))


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(out, "PNG")
    return out.getvalue()


async def photo(core: Core, grant: Grant, **facts: Any) -> File:
    """A File record; most tests need no bytes."""
    id = new_id()
    image = ImageFacts(format="png", width=60, height=40)
    given = {"mime": "image/png", "size": 100, "image": image, "project": grant.project.id} | facts
    file = File(
        id=id, storage="default", key=f"demo/files/{id}", name="p.png", sha256="0" * 64, stored_at=now(), **given
    )
    await core.records.files.create(file)
    return file


async def jobs(redis: Redis, queue: str = "default") -> list[Any]:
    ids = await redis.zrange(f"safelight:queue:{queue}", 0, -1)
    return [orjson.loads(await redis.get(b"arq:job:" + id)) for id in ids]


async def completed(core: Core, run: Run, file: File | None = None) -> None:
    await core.records.runs.start(run.id, run.attempt, now())
    outputs = [Output(node="out", source="small", id=file.id, path="a", mime="a/b", size=1, sha256="0")] if file else []
    await core.records.runs.commit(run.id, run.attempt, {}, outputs, [file] if file else [], now())


async def test_a_run_is_recorded_then_enqueued_as_json(core: Core, grant: Grant, redis: Redis) -> None:
    file = await photo(core, grant)
    run = await core.runs.start(grant, "small", {"photo": [file.id]}, {"width": "64"}, {"who": "me"})
    assert (run.status, run.attempt, run.queue, run.params) == ("queued", 1, "default", {"width": 64})
    assert run.inputs == {"photo": (file.id,)} and run.metadata == {"who": "me"}
    assert {name: (state.type, state.status) for name, state in run.nodes.items()} == {
        "photo": ("input", "queued"),
        "small": ("resize", "queued"),
        "out": ("save", "queued"),
    }
    assert await core.runs.get(grant, run.id) == run
    (job,) = await jobs(redis)
    assert (job["f"], job["a"], job["k"]) == ("run_flow", [run.id, 1], {})


async def test_the_version_is_pinned(core: Core, grant: Grant) -> None:
    file = await photo(core, grant)
    old = (await core.flows.pointer("small")).active
    await core.flows.put("small", FLOW.replace("default: 32", "default: 48"))
    assert (await core.runs.start(grant, "small", {"photo": [file.id]})).params == {"width": 48}
    pinned = await core.runs.start(grant, "small", {"photo": [file.id]}, version=old)
    assert (pinned.version, pinned.params) == (old, {"width": 32})
    with pytest.raises(FlowVersionNotFound):
        await core.runs.start(grant, "small", {"photo": [file.id]}, version="0" * 16)


async def test_the_queue_is_the_flows_or_the_callers(core: Core, grant: Grant, redis: Redis) -> None:
    file = await photo(core, grant)
    assert (await core.runs.start(grant, "pair", {"base": [file.id]})).queue == "bulk"
    await core.runs.start(grant, "pair", {"base": [file.id], "extra": [file.id, file.id]}, queue="interactive")
    assert len(await jobs(redis, "bulk")) == len(await jobs(redis, "interactive")) == 1


async def test_what_does_not_fit_the_flow_is_refused_and_leaves_no_run(core: Core, grant: Grant, redis: Redis) -> None:
    file = await photo(core, grant)
    text = await photo(core, grant, mime="text/plain", image=None)
    large = await photo(core, grant, size=1_000_001)
    bomb = await photo(core, grant, image=ImageFacts(format="gif", width=1000, height=1000, frames=2))
    foreign = await photo(core, Grant(project=Project(id="other")))
    await core.flows.put("paused", FLOW)
    await core.flows.pause("paused")
    await core.flows.put("draft", FLOW, activate=False)
    cases: list[tuple[type[Exception], str, dict[str, list[str]], dict[str, Any]]] = [
        (FlowNotFound, "nothing", {"photo": [file.id]}, {}),
        (FlowNotFound, "draft", {"photo": [file.id]}, {}),
        (FlowPaused, "paused", {"photo": [file.id]}, {}),
        (InputMissing, "small", {}, {}),
        (InputMissing, "small", {"photo": []}, {}),
        (InputUnknown, "small", {"photo": [file.id], "nope": [file.id]}, {}),
        (InputNotMany, "small", {"photo": [file.id, file.id]}, {}),
        (FileNotFound, "small", {"photo": [new_id()]}, {}),
        (FileNotFound, "small", {"photo": [foreign.id]}, {}),
        (TypeNotAllowed, "small", {"photo": [text.id]}, {}),
        (FileTooLarge, "small", {"photo": [large.id]}, {}),
        (ImageTooLarge, "small", {"photo": [bomb.id]}, {}),
        (ParamsInvalid, "small", {"photo": [file.id]}, {"width": 0}),
        (ParamsInvalid, "small", {"photo": [file.id]}, {"wide": 1}),
    ]
    for error, flow, inputs, params in cases:
        with pytest.raises(error):
            await core.runs.start(grant, flow, inputs, params)
    assert (await core.runs.list(grant)).items == ()
    assert await jobs(redis) == []


async def test_runs_are_listed_newest_first_and_only_ones_own(core: Core, grant: Grant) -> None:
    file = await photo(core, grant)
    started = [await core.runs.start(grant, "small", {"photo": [file.id]}) for _ in range(3)]
    first = await core.runs.list(grant, limit=2)
    rest = await core.runs.list(grant, first.next, limit=2)
    assert [run.id for run in (*first.items, *rest.items)] == [run.id for run in reversed(started)]
    stranger = Grant(project=Project(id="other"))
    assert (await core.runs.list(stranger)).items == ()
    for act in (core.runs.get(stranger, started[0].id), core.runs.cancel(stranger, started[0].id)):
        with pytest.raises(RunNotFound):
            await act


async def test_a_cancelled_run_does_not_start(core: Core, grant: Grant) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    assert (await core.runs.cancel(grant, run.id)).status == "cancelled"
    assert await core.records.runs.start(run.id, 1, now()) is None
    with pytest.raises(RunEnded, match="cancelled"):
        await core.runs.cancel(grant, run.id)


async def test_a_retry_is_a_new_attempt_and_removes_what_the_last_one_made(
    core: Core, grant: Grant, redis: Redis
) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    with pytest.raises(RunNotEnded):
        await core.runs.retry(grant, run.id)
    key = f"{run_folder(run)}/out/a"
    made = await photo(core, grant)
    made = made.model_copy(update={"id": new_id(), "key": key, "run": run.id})
    await core.storages["default"].put(key, once(b"old"), 3, "a/b")
    await completed(core, run, made)
    again = await core.runs.retry(grant, run.id)
    assert (again.status, again.attempt, again.outputs) == ("queued", 2, ())
    assert run_folder(again) != run_folder(run)
    assert await core.storages["default"].stat(key) is None
    with pytest.raises(FileNotFound):
        await core.records.files.get(made.id)
    assert sorted(job["a"] for job in await jobs(redis)) == [[run.id, 1], [run.id, 2]]


async def test_waiting_ends_with_the_run(core: Core, grant: Grant) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    waiting = asyncio.create_task(core.runs.wait(grant, run.id, 20))
    await core.records.runs.start(run.id, 1, now())
    await core.records.runs.fail(run.id, 1, Problem(code="X", message="Y."), {}, now())
    ended = await waiting
    assert ended.status == "failed" and ended.error == Problem(code="X", message="Y.")
    assert (await core.runs.wait(grant, run.id, 20)).status == "failed"


async def test_waiting_for_a_later_attempt_is_not_fooled_by_the_end_of_the_first(core: Core, grant: Grant) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    await core.runs.cancel(grant, run.id)
    again = await core.runs.retry(grant, run.id)
    waiting = asyncio.create_task(core.runs.wait(grant, run.id, 20))
    await completed(core, again)
    assert (await waiting).status == "completed"


async def test_waiting_ends_when_the_time_is_up(core: Core, grant: Grant) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    assert (await core.runs.wait(grant, run.id, 0.05)).status == "queued"


async def test_a_run_the_queue_never_heard_of_is_recovered_once(core: Core, grant: Grant, redis: Redis) -> None:
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    old = run.model_copy(update={"id": new_id(), "created_at": now() - timedelta(minutes=5)})
    await core.records.runs.create(old)
    assert await core.runs.recover() == 1
    assert await core.runs.recover() == 0
    assert sorted(job["a"][0] for job in await jobs(redis)) == sorted([run.id, old.id])


async def test_a_queue_that_takes_nothing_does_not_refuse_the_run(
    core: Core, grant: Grant, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runs.STRANDED_AFTER", timedelta(0))
    await redis.set("safelight:queue:default", "no sorted set")
    file = await photo(core, grant)
    run = await core.runs.start(grant, "small", {"photo": [file.id]})
    assert await core.runs.get(grant, run.id) == run and run.status == "queued"
    assert await core.runs.recover() == 0  # the queue takes nothing yet
    await redis.delete("safelight:queue:default")
    assert await core.runs.recover() == 1
    assert [job["a"] for job in await jobs(redis)] == [[run.id, 1]]


async def test_a_job_whose_place_in_the_queue_was_lost_gets_another(
    core: Core, grant: Grant, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runs.STRANDED_AFTER", timedelta(0))
    run = await core.runs.start(grant, "small", {"photo": [(await photo(core, grant)).id]})
    await redis.delete("safelight:queue:default")
    assert await core.runs.recover() == 1
    assert [job["a"] for job in await jobs(redis)] == [[run.id, 1]]


async def test_a_run_begins_with_the_files_it_was_given(core: Core, grant: Grant) -> None:
    base, extra = await photo(core, grant), await photo(core, grant)
    run = await core.runs.start(grant, "pair", {"base": [base.id], "extra": [extra.id, base.id]})
    await core.records.files.delete(extra.id)
    begun = await core.records.runs.begin(run.id, 1, now())
    assert begun is not None
    started, files = begun
    assert started == await core.runs.get(grant, run.id) and started.status == "running"
    assert files == {base.id: base}
    assert await core.records.runs.begin(run.id, 2, now()) is None


async def test_a_start_is_one_step(core: Core, grant: Grant, redis: Redis) -> None:
    file = await photo(core, grant)
    await core.runs.start(grant, "small", {"photo": [file.id]})  # loads the scripts
    before = await redis.info("commandstats")
    await core.runs.start(grant, "small", {"photo": [file.id]})
    after = await redis.info("commandstats")
    # One for the flow's pointer, one for the run with its job.
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 2
    assert await redis.llen("safelight:queue:default:wake") == 2


async def test_every_stored_file_starts_the_projects_flows(core: Core, grant: Grant) -> None:
    owner = Grant(project=Project(id="demo", on_upload=("small", "missing", "pair"), auto_store=False))
    text = await core.uploads.accept(owner, Intake(store=True), once(b"only text"))
    assert [run.flow for run in (await core.runs.list(grant)).items] == ["pair"]
    shown = await core.uploads.accept(owner, Intake(), once(picture()))
    assert len((await core.runs.list(grant)).items) == 1
    await core.files.keep(owner, shown.id)
    runs = (await core.runs.list(grant)).items
    assert sorted((run.flow, *next(iter(run.inputs.values()))) for run in runs) == sorted(
        [("pair", text.id), ("pair", shown.id), ("small", shown.id)]
    )


async def test_what_a_lost_process_did_not_start_is_made_up_for_once(
    core: Core, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload, a copy and a file that is kept, each left by its process between the record and the flows."""
    owner = Grant(project=Project(id="demo", on_upload=("pair",), auto_store=False))
    monkeypatch.setitem(core.settings.projects, "demo", owner.project)
    source = await core.uploads.accept(owner, Intake(), once(b"source"))

    async def lost(becoming: Becoming, grant: Grant, file: File, **more: Any) -> None:
        """The process ends here."""

    with monkeypatch.context() as patched:
        patched.setattr(Becoming, "announce", lost)
        files = [await core.uploads.accept(owner, Intake(store=True), once(b"sent"))]
        files.append(await core.files.copy(owner, source.id, Copying(store=True)))
        files.append(await core.files.keep(owner, source.id))
    assert await core.files.catch_up() == 0  # whoever stored them may still come to it
    assert not (await core.runs.list(grant)).items
    monkeypatch.setattr(becoming, "STRANDED_AFTER", timedelta(seconds=-5))
    assert await asyncio.gather(core.files.catch_up(), core.files.catch_up()) == [3, 3]  # two workers at once
    started = [run.inputs["base"] for run in (await core.runs.list(grant)).items]
    assert sorted(started) == sorted((file.id,) for file in files)
    told = await core.uploads.accept(owner, Intake(store=True), once(b"told"))
    assert await core.files.catch_up() == 0  # its flow was started by whoever stored it
    await core.files.delete(owner, told.id)
    assert len((await core.runs.list(grant)).items) == 4


async def test_without_redis_a_start_is_refused(grant: Grant, tmp_path: Any) -> None:
    async with open_core(Settings(redis_url=f"unix://{tmp_path}/nobody.sock", data_dir=tmp_path)) as lost:
        with pytest.raises(RecordsUnavailable):
            await lost.runs.start(grant, "small", {"photo": [new_id()]})
