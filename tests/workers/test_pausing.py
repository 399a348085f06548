"""A run that is paused rests behind the step it is in, and whoever goes on with it finds what it had come to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from arq import Retry
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import RecordsUnavailable
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Grant, Intake, Project, Run, now
from pipeline.settings import Settings
from tests.outside import Outside, fixed, listening
from tests.workers.conftest import kept_files, once, picture
from workers import jobs
from workers.jobs import Jobs

FLOW = """
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: 32}}
  first: {{type: save, path: "first.png"}}
  better: {{type: http, from: small, url: "{url}/better"}}
  grey: {{type: grayscale}}
  words: {{type: ask, url: "{url}/words"}}
  second: {{type: save, from: grey, path: "second.png"}}
  tell: {{type: notify, from: [grey, words], url: "{url}/hook", message: "{{file.name}}"}}
"""


class Drawn:
    """A sandbox that counts what is drawn in it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self.calls = sandbox, 0

    async def call(self, *arguments: Any, **more: Any) -> Any:
        self.calls += 1
        return await self._sandbox.call(*arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)


@pytest.fixture
async def outside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outside]:
    monkeypatch.setattr(jobs, "WATCH_AFTER", 0)
    async with listening() as outside:
        outside.answers |= {
            "/better": fixed(200, picture(64, 48), Content_Type="image/png"),
            "/words": fixed(200, b'{"text": "a gradient"}'),
            "/hook": fixed(204),
        }
        yield outside


@pytest.fixture
async def core(settings: Settings, redis: Redis, outside: Outside) -> AsyncIterator[Core]:
    projects = {"open": Project(id="open", allow_private_urls=True)}
    async with open_core(settings.model_copy(update={"projects": projects}), sandbox_children=1) as core:
        await core.flows.put("calls", FLOW.format(url=outside.url))
        yield core


@pytest.fixture
def grant(core: Core) -> Grant:
    return Grant(project=core.settings.projects["open"])


@pytest.fixture
async def run(core: Core, grant: Grant) -> Run:
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    return await core.runs.start(grant, "calls", {"photo": [photo.id]})


@pytest.fixture
def drawn(core: Core) -> Any:
    assert core.sandbox is not None
    return Drawn(core.sandbox)


async def tried(core: Core, drawn: Any, run: Run, tries: int = 1) -> Run:
    """The run after a worker has tried it."""
    await Jobs(core, drawn, worker=f"worker-{tries}").run_flow({"job_try": tries}, run.id, run.attempt)
    return await core.records.runs.get(run.id)


def pausing(core: Core, grant: Grant, run: Run, outside: Outside, path: str) -> None:
    """Have the run paused while its call of `path` is answered."""
    then = outside.answers[path]

    async def answer(request: web.Request, sent: bytes) -> web.StreamResponse:
        await core.runs.pause(grant, run.id)
        return await then(request, sent)

    outside.answers[path] = answer


def calls(outside: Outside) -> list[str]:
    return [heard.path for heard in outside.heard]


def stored(core: Core) -> dict[str, int]:
    """The run's own files, with the inode of each: one that is put again has another."""
    paths = [path for path in kept_files(core) if "/runs/" in path and not path.endswith(".json")]
    return {path: (core.settings.data_dir / path).stat().st_ino for path in paths}


@pytest.mark.parametrize("path", ["/better", "/words"])
async def test_nothing_is_drawn_called_or_saved_twice(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any, path: str
) -> None:
    whole = await core.runs.start(grant, "calls", run.inputs)
    expected = await tried(core, drawn, whole)
    asked, draws, drawn.calls, outside.heard[:] = sorted(calls(outside)), drawn.calls, 0, []
    pausing(core, grant, run, outside, path)
    paused = await tried(core, drawn, run)
    assert (paused.status, paused.error, paused.outputs) == ("waiting", None, ()) and paused.paused_at
    assert calls(outside)[-1] == path and paused.nodes["first"].status == "completed"
    before = {name: inode for name, inode in stored(core).items() if run.id in name and "/0-kept/" not in name}
    assert len(before) == 1
    assert await tried(core, drawn, run) == paused  # its job is no more, and one too many finds nothing to do
    await core.runs.resume(grant, run.id)
    done = await tried(core, drawn, run)
    assert (done.status, done.error, done.attempt) == ("completed", None, 1)
    assert sorted(calls(outside)) == asked
    assert drawn.calls == draws
    assert {(one.path, one.sha256) for one in done.outputs} == {(one.path, one.sha256) for one in expected.outputs}
    assert done.facts == expected.facts
    after = stored(core)
    assert {name: after[name] for name in before} == before
    assert [path for path in after if "/0-kept/" in path] == [] and await core.records.runs.kept(run.id) == []
    assert len(done.tries) == 2 and not any(one.error for one in done.tries)


async def test_paused_again_before_it_had_come_to_anything_it_keeps_what_it_had(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(core, grant, run, outside, "/words")
    await tried(core, drawn, run)
    await core.runs.resume(grant, run.id)
    begin = core.records.runs.begin

    async def begin_and_pause(*arguments: Any) -> Any:
        begun = await begin(*arguments)
        await core.runs.pause(grant, run.id)
        return begun

    with monkeypatch.context() as patched:
        patched.setattr(type(core.records.runs), "begin", lambda runs, *arguments: begin_and_pause(*arguments))
        again = await tried(core, drawn, run)
    assert again.status == "waiting" and calls(outside) == ["/better", "/words"]
    await core.runs.resume(grant, run.id)
    done = await tried(core, drawn, run)
    assert done.status == "completed" and sorted(set(calls(outside))) == ["/better", "/hook", "/words"]
    assert calls(outside).count("/better") == calls(outside).count("/words") == 1
    assert len([path for path in stored(core) if run.id in path]) == 2


async def test_what_it_had_made_and_is_gone_is_made_again(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any
) -> None:
    pausing(core, grant, run, outside, "/words")
    await tried(core, drawn, run)
    for path in stored(core):
        (core.settings.data_dir / path).unlink()
    await core.runs.resume(grant, run.id)
    done = await tried(core, drawn, run)
    assert (done.status, calls(outside).count("/better")) == ("completed", 2)
    for output in done.outputs:
        file = await core.records.files.get(output.id)
        assert (await core.storages["default"].stat(file.key)) is not None


async def test_resumed_before_it_could_rest_it_just_goes_on(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(core, grant, run, outside, "/better")
    rest = type(core.records.runs).rest

    async def late(runs: Any, *arguments: Any) -> Run | None:
        assert (await core.runs.resume(grant, run.id)).status == "running"
        return await rest(runs, *arguments)

    monkeypatch.setattr(type(core.records.runs), "rest", late)
    assert (await tried(core, drawn, run)).status == "queued"
    done = await tried(core, drawn, run)
    assert done.status == "completed" and calls(outside).count("/better") == 1
    told = [event.type for event in await core.events.read("open", run.id, None, 500)]
    assert "run.paused" not in told and "run.resumed" not in told


async def test_a_worker_lost_while_it_was_to_pause(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any
) -> None:
    await core.records.runs.start(run.id, 1, now(), "lost")
    assert (await core.runs.pause(grant, run.id)).status == "running"
    rests = await tried(core, drawn, run, 2)
    assert rests.status == "waiting" and rests.paused_at and calls(outside) == []
    (lost,) = rests.tries
    assert lost.worker == "lost" and lost.error is not None and lost.error.code == "WORKER_LOST"
    await core.runs.resume(grant, run.id)
    assert (await tried(core, drawn, run)).status == "completed"


async def test_a_worker_that_leaves_or_tries_again_while_it_was_to_pause(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any
) -> None:
    await core.records.runs.start(run.id, 1, now(), "leaving")
    await core.runs.pause(grant, run.id)
    released = await core.records.runs.release(run.id, 1, now())
    assert released is not None and (released.status, released.paused_at is None) == ("waiting", False)
    assert await tried(core, drawn, run, 2) == await core.runs.get(grant, run.id) == released


async def test_without_records_it_is_tried_again_and_rests_then(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(core, grant, run, outside, "/better")

    async def away(*arguments: Any) -> None:
        raise RecordsUnavailable(retry_after=2)

    with monkeypatch.context() as patched:
        patched.setattr(type(core.records.runs), "rest", away)
        with pytest.raises(Retry):
            await tried(core, drawn, run)
    assert (await tried(core, drawn, run, 2)).status == "waiting"
    await core.runs.resume(grant, run.id)
    done = await tried(core, drawn, run)
    assert done.status == "completed" and calls(outside).count("/better") == 1


async def test_one_that_is_cancelled_while_it_rests_can_go_on_from_there(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any
) -> None:
    pausing(core, grant, run, outside, "/better")
    await tried(core, drawn, run)
    ended = await core.runs.cancel(grant, run.id)
    assert (ended.status, ended.paused_at) == ("cancelled", None)
    again = await core.runs.retry(grant, run.id, resume=True)
    done = await tried(core, drawn, again)
    assert (done.status, done.attempt, calls(outside).count("/better")) == ("completed", 2, 1)
    assert [path for path in stored(core) if "/0-kept/" in path] == []
