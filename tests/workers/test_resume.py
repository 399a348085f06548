"""What a run had made before it failed is taken by its next try, kept no longer than that, and never more than once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from arq import Retry
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.model import Grant, Intake, Run
from pipeline.settings import Settings
from tests.outside import Outside, fixed
from tests.workers.conftest import calling, kept_files, once, picture
from workers.jobs import Jobs

FLOW = """
retry: {{times: 2, first: 0s}}
nodes:
  photo: {{type: input}}
  better: {{type: http, url: "{url}/better"}}
  words: {{type: ask, from: photo, url: "{url}/words"}}
  tell: {{type: notify, from: better, url: "{url}/hook", message: "{{file.name}}"}}
  out: {{type: save, from: tell, path: "out.png"}}
"""


@pytest.fixture
def outside(outside: Outside) -> Outside:
    """Its hook fails."""
    outside.answers |= {"/better": fixed(200, picture(32, 24), Content_Type="image/png"), "/hook": fixed(500)}
    return outside


@pytest.fixture
async def core(settings: Settings, redis: Redis, outside: Outside) -> AsyncIterator[Core]:
    async with calling(settings, FLOW.format(url=outside.url)) as core:
        yield core


async def tried(core: Core, run: Run, tries: int, attempt: int = 1) -> Run:
    """The run after a worker has tried it."""
    assert core.sandbox is not None
    await Jobs(core, core.sandbox, worker=f"worker-{tries}").run_flow({"job_try": tries}, run.id, attempt)
    return await core.records.runs.get(run.id)


def calls(outside: Outside) -> list[str]:
    return sorted(heard.path for heard in outside.heard)


def kept(core: Core) -> list[str]:
    return [path for path in kept_files(core) if "/0-kept/" in path]


@pytest.fixture
async def failed(core: Core, grant: Grant, outside: Outside) -> Run:
    """A run that was tried twice, both times because a hook did not answer, and its calls forgotten."""
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    run = await core.runs.start(grant, "calls", {"photo": [photo.id]})
    with pytest.raises(Retry):
        await tried(core, run, 1)
    assert (await core.records.runs.get(run.id)).status == "queued"
    run = await tried(core, run, 2)
    assert run.status == "failed" and run.error is not None and run.error.node == "tell"
    # The second try called nobody again but the one who had failed.
    assert calls(outside) == ["/better", "/hook", "/hook", "/words"]
    outside.heard[:] = []
    return run


async def test_a_run_that_is_given_up_is_a_dead_letter_that_tells_every_try(
    core: Core, grant: Grant, failed: Run
) -> None:
    letter = await core.runs.letters.get(grant, failed.id)
    assert letter.reason == "exhausted" and letter.run == failed
    assert [(one.attempt, one.worker) for one in failed.tries] == [(1, "worker-1"), (1, "worker-2")]
    for one in failed.tries:
        assert one.error is not None and (one.error.code, one.error.node) == ("CALL_FAILED", "tell")
        assert one.started_at is not None and one.ended_at is not None and one.started_at <= one.ended_at


async def test_a_retry_from_the_failed_node_calls_no_server_a_second_time(
    core: Core, grant: Grant, outside: Outside, failed: Run
) -> None:
    outside.answers["/hook"] = fixed(204)
    assert len(kept(core)) == 1
    run = await core.runs.retry(grant, failed.id, resume=True)
    done = await tried(core, run, 1, attempt=2)
    assert (done.status, done.error) == ("completed", None)
    assert calls(outside) == ["/hook"]
    assert done.facts == {"words": {"text": "a gradient"}}
    assert {name for name, state in done.nodes.items() if state.reused} == {"better", "words"}
    assert done.nodes["better"].status == "completed"
    (output,) = done.outputs
    assert (output.width, output.height) == (32, 24)
    assert kept(core) == [] and await core.records.runs.kept(run.id) == []
    assert len(done.tries) == 3 and done.tries[-1].error is None


async def test_a_retry_of_the_whole_run_begins_from_nothing(
    core: Core, grant: Grant, outside: Outside, failed: Run
) -> None:
    outside.answers["/hook"] = fixed(204)
    run = await core.runs.retry(grant, failed.id)
    assert kept(core) == [] and await core.records.runs.kept(run.id) == []
    done = await tried(core, run, 1, attempt=2)
    assert done.status == "completed" and not any(state.reused for state in done.nodes.values())
    assert calls(outside) == ["/better", "/hook", "/words"]


async def test_what_was_kept_and_is_gone_is_made_again(core: Core, grant: Grant, outside: Outside, failed: Run) -> None:
    outside.answers["/hook"] = fixed(204)
    for path in kept(core):
        (core.settings.data_dir / path).unlink()
    run = await core.runs.retry(grant, failed.id, resume=True)
    done = await tried(core, run, 1, attempt=2)
    assert done.status == "completed" and calls(outside) == ["/better", "/hook"]


async def test_a_refusal_is_no_dead_letter_and_ends_at_once(core: Core, grant: Grant, outside: Outside) -> None:
    outside.answers["/better"] = fixed(400)
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    run = await core.runs.start(grant, "calls", {"photo": [photo.id]})
    run = await tried(core, run, 1)
    assert run.status == "failed" and run.error is not None and run.error.code == "CALL_REJECTED"
    assert (await core.runs.letters.list(grant)).items == ()


PICTURES = """
retry: {{times: 1}}
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: 16, keep: true}}
  grey: {{type: grayscale}}
  tell: {{type: notify, url: "{url}/hook", message: "{{file.name}}"}}
  out: {{type: save, path: "out.png"}}
"""


async def test_pictures_that_the_flow_keeps_are_not_drawn_again(core: Core, grant: Grant, outside: Outside) -> None:
    await core.flows.put("pictures", PICTURES.format(url=outside.url))
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    run = await core.runs.start(grant, "pictures", {"photo": [photo.id]})
    first = await tried(core, run, 1)
    assert first.status == "failed" and kept(core)
    outside.answers["/hook"] = fixed(204)
    run = await core.runs.retry(grant, run.id, resume=True)
    done = await tried(core, run, 1, attempt=2)
    assert (done.status, done.error) == ("completed", None) and kept(core) == []
    assert {name for name, state in done.nodes.items() if state.reused} == {"small", "grey"}
    whole = await core.runs.start(grant, "pictures", {"photo": [photo.id]})
    fresh = await tried(core, whole, 1)
    assert {(one.path, one.sha256) for one in done.outputs} == {(one.path, one.sha256) for one in fresh.outputs}
    assert len(done.outputs) == 2
