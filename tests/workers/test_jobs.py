"""One attempt of a run: every way it can end is recorded once, and only a completed one leaves outputs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import pytest
from arq import Retry

from pipeline.artifacts import Artifact, Emit, Made, Tools
from pipeline.core import Core
from pipeline.errors import (
    ImageCrashed,
    NodeFailed,
    NodeInvalid,
    PathInvalid,
    StorageUnavailable,
)
from pipeline.graph.execute import Outcome
from pipeline.graph.flow import load_flow
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, Grant, Intake, NodeState, Output, Run, now
from tests.workers.conftest import FLOW, kept_files, once
from workers.jobs import PACE, Jobs, Marks
from workers.seats import Seat

Execute = Callable[..., Awaitable[Sequence[Output]]]


FLOW_WITH_RETRY = """
retry: {times: 3, first: 1s, longest: 5m}
nodes:
  photo: {type: input}
  out: {type: save}
"""


class Stand:
    """An executor that saves one output and then does as told."""

    def __init__(
        self, then: Callable[[], Awaitable[None]] | BaseException | None = None, path: str = "a/b.txt"
    ) -> None:
        self.then, self.path = then, path
        self.began = asyncio.Event()
        self.folder: Any = None
        self.given: Any = None

    async def __call__(
        self,
        flow: Any,
        inputs: Any,
        params: Any,
        metadata: Any,
        run_id: str,
        tools: Tools,
        emit: Emit,
        sandbox: Any,
        *,
        timeout: float,
        node_timeout: float,
        date: datetime,
        flows: Any,
        resume: Any,
        checkpoint: Any,
        halt: Any,
    ) -> Outcome:
        self.folder, self.given = tools.folder, (inputs, params, metadata, run_id)
        emit("photo", NodeState(type="input", status="completed", ms=1.0))
        emit("small", NodeState(type="resize", status="running"))
        output = await tools.save(made(tools, self.path))
        self.began.set()
        if isinstance(self.then, BaseException):
            raise self.then
        if self.then:
            await self.then()
        emit("small", NodeState(type="resize", status="completed", ms=2.0))
        emit("out", NodeState(type="save", status="completed", ms=3.0))
        return Outcome([output])


def made(tools: Tools, path: str, body: bytes = b"developed", name: str = "made") -> Made:
    file = tools.folder / name
    file.write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()
    return Made("out", 0, Artifact("small", file, "b.txt", "text/plain", len(body), digest, None, None), path)


def jobs(core: Core, execute: Execute) -> Jobs:
    return Jobs(core, cast(Sandbox, None), execute)


async def started(core: Core, grant: Grant, photo: File, **params: Any) -> Run:
    return await core.runs.start(grant, "small", {"photo": [photo.id]}, params, {"who": "me"})


async def run_events(core: Core, run: Run) -> list[str]:
    return [event.type for event in await core.events.read("demo", run.id, None, 100)]


async def test_a_completed_run_has_its_outputs(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo, width=48)
    stand = Stand()
    await jobs(core, stand).run_flow({"job_try": 1}, run.id, 1)
    done = await core.runs.get(grant, run.id)
    assert (done.status, done.error) == ("completed", None)
    assert done.started_at is not None and done.finished_at is not None
    assert {name: state.status for name, state in done.nodes.items()} == dict.fromkeys(
        ("photo", "small", "out"), "completed"
    )
    (output,) = done.outputs
    assert (output.node, output.source, output.path, output.mime, output.size) == (
        "out",
        "small",
        "a/b.txt",
        "text/plain",
        9,
    )
    file = await core.records.files.get(output.id)
    assert file.key == f"demo/runs/{run.id}/out/a/b.txt" and (file.run, file.path) == (run.id, "a/b.txt")
    assert b"".join([chunk async for chunk in core.storages["default"].open(file.key)]) == b"developed"
    assert kept_files(core) == [f"files/{file.key}", f"files/{file.key}.json"]
    assert not stand.folder.exists()
    inputs, params, metadata, run_id = stand.given
    assert (inputs, params, metadata, run_id) == ({"photo": [photo]}, {"width": 48}, {"who": "me"}, run.id)
    told = await run_events(core, run)
    assert told[:2] == ["run.queued", "run.started"] and told[-1] == "run.completed"
    assert told.count("node.completed") == 3


async def test_the_same_job_delivered_twice_changes_nothing(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    done, files = await core.runs.get(grant, run.id), kept_files(core)
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    assert await core.runs.get(grant, run.id) == done and kept_files(core) == files


async def test_two_deliveries_at_once_commit_once_and_keep_the_bytes(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    late = asyncio.Event()
    slow = Stand(late.wait)  # type: ignore[arg-type]
    zombie = asyncio.create_task(jobs(core, slow).run_flow({"job_try": 1}, run.id, 1))
    await slow.began.wait()
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    done = await core.runs.get(grant, run.id)
    late.set()
    await zombie
    assert await core.runs.get(grant, run.id) == done and done.status == "completed"
    assert len(kept_files(core)) == 2


async def test_a_refused_run_has_a_code_a_node_a_sentence_and_no_outputs(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    await jobs(core, Stand(NodeFailed(reason="no light", node="small"))).run_flow({"job_try": 1}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.status == "failed" and failed.error is not None
    assert (failed.error.code, failed.error.node) == ("NODE_FAILED", "small")
    assert failed.error.message == "The node failed: no light."
    assert failed.outputs == () and kept_files(core) == []
    assert {name: state.status for name, state in failed.nodes.items()} == {
        "photo": "completed",
        "small": "cancelled",
        "out": "cancelled",
    }
    assert (await run_events(core, run))[-1] == "run.failed"


async def test_a_fault_of_ours_is_told_without_its_cause(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    await jobs(core, Stand(ValueError("secret path /etc"))).run_flow({"job_try": 1}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "INTERNAL" and "secret" not in failed.error.message
    assert kept_files(core) == []


async def test_a_passing_fault_is_tried_three_times(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    for tries in (1, 2):
        with pytest.raises(Retry):
            await jobs(core, Stand(StorageUnavailable())).run_flow({"job_try": tries}, run.id, 1)
        assert (await core.runs.get(grant, run.id)).status == "queued" and kept_files(core) == []
    await jobs(core, Stand(StorageUnavailable())).run_flow({"job_try": 3}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "STORAGE_UNAVAILABLE" and failed.attempt == 1


async def test_a_flow_says_how_often_its_runs_are_tried(core: Core, grant: Grant, photo: File) -> None:
    await core.flows.put("small", "retry: {times: 1}\nnodes:\n  photo: {type: input}\n  out: {type: save}\n")
    run = await started(core, grant, photo)
    await jobs(core, Stand(StorageUnavailable())).run_flow({"job_try": 1}, run.id, 1)
    letter = await core.runs.letters.get(grant, run.id)
    assert (letter.reason, letter.run.status) == ("exhausted", "failed")


def test_waits_between_tries_grow_up_to_a_limit_and_are_drawn_by_chance() -> None:
    policy = load_flow("f", FLOW_WITH_RETRY).retry
    assert (policy.times, policy.first, policy.longest) == (3, 1, 300)
    for tries, most in ((1, 1), (2, 2), (5, 16), (9, 256), (20, 300)):
        drawn = [policy.wait(tries) for _ in range(200)]
        assert 0 <= min(drawn) < most / 2 < max(drawn) <= most


async def test_a_fault_that_passes_costs_nothing(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    with pytest.raises(Retry):
        await jobs(core, Stand(ImageCrashed(exit_code=-11))).run_flow({"job_try": 1}, run.id, 1)
    await jobs(core, Stand()).run_flow({"job_try": 2}, run.id, 1)
    assert (await core.runs.get(grant, run.id)).status == "completed"


async def test_a_crash_is_tried_once_more_only(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    stand = Stand(ImageCrashed(exit_code=-11))
    await jobs(core, stand).run_flow({"job_try": 2}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "IMAGE_CRASHED"
    assert not stand.folder.exists()
    assert (await core.records.series.totals()).by("sandbox") == {("IMAGE_CRASHED",): 1}


async def test_a_run_that_takes_too_long_is_ended(core: Core, grant: Grant, photo: File) -> None:
    await core.flows.put("hasty", "timeout: 50ms\nnodes:\n  photo: {type: input}\n  out: {type: save}\n")
    run = await core.runs.start(grant, "hasty", {"photo": [photo.id]})
    await jobs(core, Stand(asyncio.Event().wait)).run_flow({"job_try": 1}, run.id, 1)  # type: ignore[arg-type]
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "RUN_TIMEOUT" and "0.05" in failed.error.message
    assert kept_files(core) == []


async def test_a_cancelled_run_stops_within_about_a_second(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    stand = Stand(asyncio.Event().wait)  # type: ignore[arg-type]
    job = asyncio.create_task(jobs(core, stand).run_flow({"job_try": 1}, run.id, 1))
    await stand.began.wait()
    await core.runs.cancel(grant, run.id)
    await asyncio.wait_for(job, 2)
    assert (await core.runs.get(grant, run.id)).status == "cancelled"
    assert kept_files(core) == [] and not stand.folder.exists()


async def test_a_run_cancelled_at_the_last_moment_leaves_no_outputs(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)

    async def cancel() -> None:
        await core.runs.cancel(grant, run.id)

    await jobs(core, Stand(cancel)).run_flow({"job_try": 1}, run.id, 1)
    assert (await core.runs.get(grant, run.id)).status == "cancelled" and kept_files(core) == []


async def test_an_attempt_that_was_replaced_cannot_touch_its_successor(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    late = asyncio.Event()
    slow = Stand(late.wait)  # type: ignore[arg-type]
    first = asyncio.create_task(jobs(core, slow).run_flow({"job_try": 1}, run.id, 1))
    await slow.began.wait()
    await core.runs.cancel(grant, run.id)
    await core.runs.retry(grant, run.id)
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 2)
    late.set()
    await first
    done = await core.runs.get(grant, run.id)
    assert (done.status, done.attempt) == ("completed", 2)
    file = await core.records.files.get(done.outputs[0].id)
    assert kept_files(core) == [f"files/{file.key}", f"files/{file.key}.json"]


async def test_a_worker_told_to_stop_leaves_the_run_to_the_next(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    stand = Stand(asyncio.Event().wait)  # type: ignore[arg-type]
    job = asyncio.create_task(jobs(core, stand).run_flow({"job_try": 1}, run.id, 1))
    await stand.began.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert kept_files(core) == [] and not stand.folder.exists()
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    assert (await core.runs.get(grant, run.id)).status == "completed"


async def test_a_run_whose_file_was_deleted_meanwhile_fails(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    await core.files.delete(grant, photo.id)
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "FILE_NOT_FOUND"


# The tools


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/", "\x00"])
async def test_no_output_leaves_its_folder(core: Core, grant: Grant, photo: File, path: str) -> None:
    run = await started(core, grant, photo)
    await jobs(core, Stand(path=path)).run_flow({"job_try": 1}, run.id, 1)
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and failed.error.code == "PATH_INVALID"
    assert kept_files(core) == []


class Saving(Stand):
    """Saves what a test wants and notes what came of it."""

    def __init__(self, act: Callable[[Tools], Awaitable[None]]) -> None:
        super().__init__()
        self.act = act

    async def __call__(self, *given: Any, **limits: Any) -> Outcome:
        await self.act(given[5])
        return Outcome()


async def test_outputs_cannot_replace_each_other_or_a_manifest(core: Core, grant: Grant, photo: File) -> None:
    async def act(tools: Tools) -> None:
        first = await tools.save(made(tools, "a"))
        again = await tools.save(made(tools, "a"))  # the same file: a node's second try
        assert first == again
        other = await tools.save(made(tools, "b", b"other", "other"))
        assert other.id != first.id and UUID(other.id)
        for path in ("a", "a.json"):
            with pytest.raises(PathInvalid):
                await tools.save(made(tools, path, b"other", "other"))
        await tools.save(made(tools, "c.json", b"c", "c"))
        with pytest.raises(PathInvalid):
            await tools.save(made(tools, "c", b"d", "d"))

    run = await started(core, grant, photo)
    await jobs(core, Saving(act)).run_flow({"job_try": 1}, run.id, 1)
    done = await core.runs.get(grant, run.id)
    assert done.status == "completed", done.error
    assert len(kept_files(core)) == 6


async def test_assets_are_the_projects_own_before_the_shipped(core: Core, grant: Grant, photo: File) -> None:
    assets = core.settings.flows_dir / "assets"
    assets.mkdir(parents=True)
    (assets / "mark.png").write_bytes(b"ours")
    (core.settings.flows_dir / "secret.txt").write_bytes(b"not yours")
    (assets / "link.png").symlink_to(core.settings.flows_dir / "secret.txt")

    async def act(tools: Tools) -> None:
        assert tools.asset("mark.png").read_bytes() == b"ours"
        for name in ("nothing.png", "../secret.txt", "/etc/passwd", "link.png", ""):
            with pytest.raises(NodeInvalid):
                tools.asset(name)

    run = await started(core, grant, photo)
    await jobs(core, Saving(act)).run_flow({"job_try": 1}, run.id, 1)
    assert (await core.runs.get(grant, run.id)).error is None


async def test_what_is_made_of_a_private_file_is_private(core: Core, grant: Grant) -> None:
    hidden = await core.uploads.accept(grant, Intake(private=True), once(b"for my eyes"))
    await core.flows.put("copy", "nodes:\n  file: {type: input}\n  out: {type: save}\n")
    run = await core.runs.start(grant, "copy", {"file": [hidden.id]})
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    output = (await core.runs.get(grant, run.id)).outputs[0]
    assert (await core.records.files.get(output.id)).private


async def test_marks_are_sent_in_batches_and_the_last_state_wins(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    await core.records.runs.start(run.id, 1, now())
    marks = Marks(core.records, run)
    for ms in range(50):
        marks.emit("small", NodeState(type="resize", status="running", ms=float(ms)))
    marks.emit("small", NodeState(type="resize", status="completed", ms=99.0))
    await told(core, run, "node.completed")
    state = (await core.runs.get(grant, run.id)).nodes["small"]
    assert (state.status, state.ms) == ("completed", 99.0)
    await marks.stop()
    assert await run_events(core, run) == ["run.queued", "run.started", "node.completed"]


async def told(core: Core, run: Run, type: str) -> None:
    async with contextlib.aclosing(core.events.follow(run.project, run.id, "0")) as events:
        async for event in events:
            if event is not None and event.type == type:
                return


async def test_the_nodes_of_a_short_run_are_told_with_its_end(
    core: Core, grant: Grant, photo: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.jobs.PACE", 3600)
    run = await started(core, grant, photo)
    await jobs(core, Stand()).run_flow({"job_try": 1}, run.id, 1)
    assert await run_events(core, run) == [
        *("run.queued", "run.started", "node.completed", "node.completed", "node.completed", "run.completed")
    ]
    assert {state.ms for state in (await core.runs.get(grant, run.id)).nodes.values()} == {1.0, 2.0, 3.0}


async def test_the_nodes_of_a_long_run_are_told_while_it_goes_on(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    go_on = asyncio.Event()
    job = asyncio.create_task(jobs(core, Stand(go_on.wait)).run_flow({"job_try": 1}, run.id, 1))  # type: ignore[arg-type]
    await told(core, run, "node.started")
    seen = await core.runs.get(grant, run.id)
    assert {name: state.status for name, state in seen.nodes.items()} == {
        "photo": "completed",
        "small": "running",
        "out": "queued",
    }
    go_on.set()
    await job
    assert (await run_events(core, run)).count("node.completed") == 3


async def test_an_attempt_handed_back_marks_nothing_any_more(core: Core, grant: Grant, photo: File) -> None:
    run = await started(core, grant, photo)
    stand = Stand(asyncio.Event().wait)  # type: ignore[arg-type]
    job = asyncio.create_task(jobs(core, stand).run_flow({"job_try": 1}, run.id, 1))
    await stand.began.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    again = await core.records.runs.start(run.id, 1, now())
    await asyncio.sleep(2 * PACE)  # in which the first one's marks would have come
    assert again is not None and await core.runs.get(grant, run.id) == again


# Seats


class Child:
    """Stands where the sandbox is: every call waits until it is let through."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pass_on = asyncio.Event()

    async def call(self, function: Callable[[], None], *names: str, timeout: float) -> str:
        self.calls.append(names[0])
        await self.pass_on.wait()
        return names[0]


async def test_a_run_that_draws_once_gives_its_seat_to_the_next_while_it_saves(core: Core) -> None:
    await core.flows.put("small", FLOW)
    flow = await core.flows.get("small")
    child, seats = Child(), asyncio.Semaphore(1)
    first, second = (Seat(cast(Sandbox, child), seats) for _ in range(2))
    await first.take(flow)
    waiting = asyncio.create_task(second.take(flow))
    child.pass_on.set()
    assert await first.call(print, "first", timeout=1) == "first"
    await waiting
    first.leave()
    assert seats.locked()
    second.leave()
    assert not seats.locked()


async def test_a_run_that_needs_a_child_again_keeps_its_seat(core: Core) -> None:
    await core.flows.put("facts", "nodes:\n  photo: {type: input}\n  facts: {type: info}\n  out: {type: save}\n")
    flow = await core.flows.get("facts")
    child, seats = Child(), asyncio.Semaphore(1)
    seat = Seat(cast(Sandbox, child), seats)
    await seat.take(flow)
    child.pass_on.set()
    await seat.call(print, "look", timeout=1)
    assert seats.locked()
    await seat.call(print, "draw", timeout=1)
    seat.leave()
    assert child.calls == ["look", "draw"] and not seats.locked()


async def test_a_run_that_waits_for_a_child_is_not_out_of_time(core: Core, grant: Grant, photo: File) -> None:
    await core.flows.put("hasty", "timeout: 300ms\nnodes:\n  photo: {type: input}\n  out: {type: save}\n")
    run = await core.runs.start(grant, "hasty", {"photo": [photo.id]})
    go_on = asyncio.Event()
    slow, quick = Stand(go_on.wait), Stand()  # type: ignore[arg-type]

    async def execute(*given: Any, **more: Any) -> Outcome:
        return await (slow if given[4] == blocker.id else quick)(*given, **more)

    blocker = await started(core, grant, photo)
    worker = jobs(core, cast(Execute, execute))
    first = asyncio.create_task(worker.run_flow({"job_try": 1}, blocker.id, 1))
    await slow.began.wait()
    second = asyncio.create_task(worker.run_flow({"job_try": 1}, run.id, 1))
    await told(core, run, "run.started")
    await asyncio.sleep(0.6)  # longer than the flow may take
    assert not second.done()
    go_on.set()
    await asyncio.gather(first, second)
    assert (await core.runs.get(grant, run.id)).status == "completed"
