"""A run that is paused rests behind the step it is in, and whoever goes on with it finds what it had come to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from arq import Retry
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.errors import RecordsUnavailable
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Grant, Intake, Run, now
from pipeline.settings import Settings
from tests.outside import Outside, fixed
from tests.workers.conftest import calling, kept_files, once, picture
from workers import pauses
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

OUTER = """
nodes:
  photos: {type: input, many: true}
  small: {type: resize, width: 32}
  first: {type: save, path: "{file.stem}-small.png"}
  each: {type: subflow, from: photos, flow: middle}
  grey: {type: grayscale}
  out: {type: save, path: "{file.stem}.png"}
"""
MIDDLE = """
nodes:
  photo: {type: input}
  inside: {type: subflow, flow: inner}
  out: {type: save, path: "{file.stem}-out.png"}
"""
INNER = """
nodes:
  photo: {{type: input}}
  flipped: {{type: flip}}
  better: {{type: http, url: "{url}/better"}}
  words: {{type: ask, from: photo, url: "{url}/words"}}
  round: {{type: round, from: better, radius: 4}}
  tell: {{type: notify, from: [round, words], url: "{url}/hook", message: "{{file.name}}"}}
  out: {{type: save, from: round, path: "{{file.stem}}-in.png"}}
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
async def core(settings: Settings, redis: Redis, outside: Outside) -> AsyncIterator[Core]:
    async with calling(settings, FLOW.format(url=outside.url)) as core:
        yield core


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


def pausing(core: Core, grant: Grant, run: Run, outside: Outside, path: str, time: int = 1) -> None:
    """Have the run paused while its call of `path`, the first or another `time`, is answered."""
    then = outside.answers[path]

    async def answer(request: web.Request, sent: bytes) -> web.StreamResponse:
        if calls(outside).count(path) == time:
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
    assert len(before) in ((1, 2) if path == "/words" else (1,))  # while words are asked for, the second may be saved
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


@pytest.fixture
async def nested(core: Core, grant: Grant, outside: Outside) -> Run:
    """A run that gives two pictures, one after the other, to a flow that gives them to another flow."""
    for name, text in (("outer", OUTER), ("middle", MIDDLE), ("inner", INNER.format(url=outside.url))):
        await core.flows.put(name, text)
    return await of_two(core, grant)


async def of_two(core: Core, grant: Grant) -> Run:
    sent = [(f"photo-{width}.png", picture(width, 48)) for width in (64, 80)]
    photos = [await core.uploads.accept(grant, Intake(name=name), once(content)) for name, content in sent]
    return await core.runs.start(grant, "outer", {"photos": [photo.id for photo in photos]})


@pytest.mark.parametrize(("path", "time"), [("/better", 1), ("/words", 2), ("/hook", 2)])
async def test_it_rests_inside_a_flow_that_it_runs_and_goes_on_there(
    core: Core, grant: Grant, nested: Run, outside: Outside, drawn: Any, path: str, time: int
) -> None:
    expected = await tried(core, drawn, await of_two(core, grant))
    assert (expected.status, expected.error) == ("completed", None)
    asked, draws, drawn.calls, outside.heard[:] = calls(outside), drawn.calls, 0, []
    pausing(core, grant, nested, outside, path, time)
    paused = await tried(core, drawn, nested)
    assert (paused.status, paused.error, paused.nodes["each"].status) == ("waiting", None, "waiting")
    assert calls(outside) == asked[: 3 * (time - 1) + ["/words", "/better", "/hook"].index(path) + 1]
    if time == 2:  # by now it has begun with the flow, so another version is none of its business
        await core.flows.put("inner", INNER.format(url=f"{outside.url}/other"))
    await core.runs.resume(grant, nested.id)
    done = await tried(core, drawn, nested)
    assert (done.status, done.error) == ("completed", None)
    assert calls(outside) == asked and drawn.calls == draws
    assert [(one.path, one.sha256) for one in done.outputs] == [(one.path, one.sha256) for one in expected.outputs]
    assert done.facts == expected.facts and done.facts["each"]
    for id in nested.inputs["photos"]:  # whichever try heard of it
        assert (await core.records.files.get(id)).facts == {"ask": {"text": "a gradient"}}
    assert [path for path in stored(core) if "/0-kept/" in path] == []


async def test_what_failed_inside_a_flow_goes_on_there_with_the_version_that_is_active_then(
    core: Core, grant: Grant, nested: Run, outside: Outside, drawn: Any
) -> None:
    outside.answers["/hook"] = fixed(400)
    failed = await tried(core, drawn, nested)
    assert failed.error is not None and failed.error.node == "each/inside/tell"
    outside.answers["/hook"] = fixed(204)
    done = await tried(core, drawn, await core.runs.retry(grant, nested.id, resume=True))
    assert done.status == "completed"
    assert calls(outside) == ["/words", "/better", "/hook", "/hook", "/words", "/better", "/hook"]
    other = await core.runs.start(grant, "outer", nested.inputs)
    outside.answers["/hook"], outside.heard[:] = fixed(400), []
    assert (await tried(core, drawn, other)).status == "failed"
    await core.flows.put("inner", INNER.format(url=outside.url).replace("/hook", "/mended"))
    outside.answers["/mended"] = fixed(204)
    done = await tried(core, drawn, await core.runs.retry(grant, other.id, resume=True))
    assert done.status == "completed" and calls(outside)[3:] == ["/words", "/better", "/mended"] * 2


async def test_only_who_is_called_out_is_asked_and_a_dead_line_is_noticed(
    core: Core, grant: Grant, run: Run, outside: Outside, drawn: Any, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await core.runs.start(grant, "calls", run.inputs)
    assert (await tried(core, drawn, run)).status == "completed"  # and the line stands
    asked, ask = [], core.records.runs.is_pausing

    async def asking(runs: Any, id: str) -> bool:
        asked.append(id)
        return await ask(id)

    monkeypatch.setattr(type(core.records.runs), "is_pausing", asking)
    assert (await tried(core, drawn, other)).status == "completed" and asked == []
    unheard = await core.runs.start(grant, "calls", run.inputs)
    begin = type(core.records.runs).begin

    async def begun(runs: Any, *arguments: Any) -> Any:
        found = await begin(runs, *arguments)
        await redis.hset(f"safelight:run:{unheard.id}", "paused", now().isoformat())
        return found

    monkeypatch.setattr(type(core.records.runs), "begin", begun)
    monkeypatch.setattr(pauses, "LOOK_AGAIN", 0)
    assert (await tried(core, drawn, unheard)).status == "waiting" and set(asked) == {unheard.id}


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
