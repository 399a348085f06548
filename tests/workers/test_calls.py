"""A worker's run calls a server outside as its project may, and its secrets stay between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq import Retry
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.delivery import Order, Recipe
from pipeline.errors import CircuitOpen
from pipeline.model import Grant, Intake, Project, Run
from pipeline.settings import Settings
from tests.outside import Outside, fixed, listening
from tests.workers.conftest import calling, once, picture
from workers.derivatives import Derivatives
from workers.jobs import Jobs

SECRET = "k3y-of-the-project"
FLOW = """
nodes:
  photo: {{type: input}}
  caption: {{type: ask, url: "{url}/caption?key={{secrets.key}}", headers: {{Authorization: "Bearer {{secrets.key}}"}}}}
  tell: {{type: notify, url: "{url}/hook", message: "{{file.name}}"}}
  out: {{type: save, from: photo, path: "out.png"}}
"""


CUT = """
nodes:
  photo: {{type: input}}
  gone: {{type: http, url: "{url}/cut", headers: {{Authorization: "Bearer {{secrets.key}}"}}}}
  out: {{type: save, path: "out.png"}}
"""


@pytest.fixture(scope="module")
async def outside() -> AsyncIterator[Outside]:
    async with listening() as outside:
        outside.answers |= {"/caption": fixed(200, b'{"text": "a gradient"}'), "/hook": fixed(204)}
        yield outside


@pytest.fixture
async def core(settings: Settings, redis: Redis, outside: Outside) -> AsyncIterator[Core]:
    """With a project that may call what is private and has a secret, and one that may not."""
    open_project = Project(id="open", allow_private_urls=True, secrets={"key": SECRET})
    strict = Project(id="strict", secrets={"key": SECRET})
    async with calling(settings, FLOW.format(url=outside.url), open_project, strict) as core:
        yield core


async def ran(core: Core, project: str) -> tuple[Run, str]:
    """The run as it ended, and everything that can be read of it."""
    grant = Grant(project=core.settings.projects[project])
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    run = await core.runs.start(grant, "calls", {"photo": [photo.id]}, {}, {})
    assert core.sandbox is not None
    await Jobs(core, core.sandbox).run_flow({"job_try": 3}, run.id, 1)
    run = await core.runs.get(grant, run.id)
    events = await core.events.read(project, None, None, 100)
    file = await core.records.files.get(photo.id)
    return run, repr((run, events, file))


async def test_a_run_calls_with_the_secrets_of_its_project(
    core: Core, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    outside.heard[:] = []
    run, told = await ran(core, "open")
    assert (run.status, run.error, run.facts) == ("completed", None, {"caption": {"text": "a gradient"}})
    asked, hook = outside.heard
    assert (asked.query, asked.headers["Authorization"]) == (f"key={SECRET}", f"Bearer {SECRET}")
    assert asked.body == picture(64, 48) and f'"run":"{run.id}"'.encode() in hook.body
    assert SECRET not in told + caplog.text


async def test_a_file_remembers_what_an_answer_is_to_be_kept_of(core: Core, outside: Outside) -> None:
    flow = FLOW.replace("{{type: ask,", "{{type: ask, remember: [text, none],")
    await core.flows.put("calls", flow.format(url=outside.url))
    run, _ = await ran(core, "open")
    (file,) = await core.records.files.get_many([run.inputs["photo"][0]])
    assert file is not None and file.facts == {"ask": {"text": "a gradient"}, "text": "a gradient"}


async def test_a_project_that_may_not_reaches_nothing_private(
    core: Core, outside: Outside, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.heard[:] = []
    run, told = await ran(core, "strict")
    assert run.status == "failed" and run.error is not None
    assert (run.error.code, run.error.node) == ("ADDRESS_REFUSED", "caption")
    assert outside.heard == [] and SECRET not in told + caplog.text + "".join(capsys.readouterr())


async def test_a_server_that_fails_tells_nothing_either(
    core: Core,
    outside: Outside,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(outside.answers, "/caption", fixed(500, SECRET.encode()))
    run, told = await ran(core, "open")
    assert run.error is not None and run.error.code == "CALL_FAILED" and "it answered 500" in run.error.message
    assert SECRET not in told + caplog.text + "".join(capsys.readouterr())


async def test_a_derivative_calls_only_by_flows_of_the_project(core: Core, outside: Outside) -> None:
    assert core.sandbox is not None
    outside.heard[:] = []
    outside.answers["/cut"] = fixed(200, picture(20, 10))
    call = {"type": "http", "url": f"{outside.url}/cut"}
    await core.flows.put("cut", CUT.format(url=outside.url))
    grant = Grant(project=core.settings.projects["open"])
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    by_flow = Recipe(
        photo, {"gone": {"type": "subflow", "from": "source", "flow": "cut"}, "out": {"type": "save", "from": "gone"}}
    )
    by_itself = Recipe(photo, {"gone": call | {"from": "source"}, "out": {"type": "save", "from": "gone"}})
    worker = Derivatives(core, core.sandbox, asyncio.Semaphore(1))
    for recipe in (by_flow, by_itself):
        await worker.derive({"job_try": 9}, Order.of(recipe).model_dump(mode="json"))
    (made,) = await core.records.derivatives.of(photo.id)
    assert made.key == by_flow.key and made.image and (made.image.width, made.image.height) == (20, 10)
    assert [heard.headers["Authorization"] for heard in outside.heard] == [f"Bearer {SECRET}"]


async def left_alone(core: Core) -> None:
    for _ in range(core.settings.breaker_failures):
        run, _ = await ran(core, "open")
        assert run.error is not None and run.error.code == "CALL_FAILED"


async def test_a_run_comes_back_no_earlier_than_who_it_calls_is_tried_again(
    core: Core, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(outside.answers, "/caption", fixed(500))
    await left_alone(core)
    outside.heard[:] = []
    grant = Grant(project=core.settings.projects["open"])
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    run = await core.runs.start(grant, "calls", {"photo": [photo.id]}, {}, {})
    assert core.sandbox is not None
    with pytest.raises(Retry) as later:
        await Jobs(core, core.sandbox).run_flow({"job_try": 1}, run.id, 1)
    least = core.settings.breaker_reset * 1000 - 2000  # what the runs before took
    assert least < (later.value.defer_score or 0) <= least + 2000 + 3000
    assert (await core.runs.get(grant, run.id)).status == "queued"
    assert outside.heard == [], "nobody was called"
    last, told = await ran(core, "open")
    assert last.status == "failed" and last.error is not None
    assert (last.error.code, last.error.node) == ("CIRCUIT_OPEN", "caption")
    assert (await core.records.letters.get(last.id)).reason == "exhausted"
    assert SECRET not in told


async def test_another_project_is_not_kept_from_calling(
    core: Core, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(outside.answers, "/caption", fixed(500))
    await left_alone(core)
    assert [(one.type, one.state) for one in await core.records.breakers.list("open")] == [("ask", "open")]
    assert await core.records.breakers.list("strict") == []
    run, _ = await ran(core, "strict")
    assert run.error is not None and run.error.code == "ADDRESS_REFUSED"


async def test_who_waits_for_a_derivative_is_told_at_once(
    core: Core, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert core.sandbox is not None
    monkeypatch.setitem(outside.answers, "/cut", fixed(500))
    await core.flows.put("cut", CUT.format(url=outside.url))
    grant = Grant(project=core.settings.projects["open"])
    photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture(64, 48)))
    nodes = {"gone": {"type": "subflow", "from": "source", "flow": "cut"}, "out": {"type": "save", "from": "gone"}}
    recipe = Recipe(photo, nodes)
    order, worker = Order.of(recipe), Derivatives(core, core.sandbox, asyncio.Semaphore(1))
    for _ in range(core.settings.breaker_failures):
        await worker.derive({"job_try": 9}, order.model_dump(mode="json"))
    outside.heard[:] = []
    await worker.derive({"job_try": 1}, order.model_dump(mode="json"))  # is not put off
    with pytest.raises(CircuitOpen) as told:
        await core.delivering.derivative(recipe)
    assert told.value.retry_after in (29, 30) and outside.heard == []
