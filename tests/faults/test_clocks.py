"""Workers whose clocks are five seconds ahead and five seconds behind: nothing starts early, twice, or never."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import pytest
from aiohttp import web

from pipeline.acts import beside
from pipeline.core import Core, open_core
from pipeline.model import Event, File, Grant, Intake, Project, Run
from pipeline.settings import Settings
from tests.faults.ground import Program, Server, each_ended_once, every_event, running, until_over, worker
from tests.outside import Answer, Outside, listening
from tests.workers.conftest import once, picture
from tests.workers.test_main import SLOW, noisy
from workers.queue import LEASE

pytestmark = pytest.mark.faults

CLOCK = Path(__file__).with_name("clock.c")
SKEW = 5.0
LATE = 1.5
"""Seconds after its time by which what was due has begun, on a busy machine."""
PATIENT = """
retry: {times: 5, first: 6s, longest: 6s}
nodes:
  photo: {type: input}
  sent: {type: http, url: "URL/{params.number}"}
  out: {type: save, path: "{params.number}.png"}
params: {number: {type: integer, default: 0}}
"""
EVERY_MINUTE = """
schedule: {cron: "* * * * *", inputs: {photo: "PHOTO"}}
nodes:
  photo: {type: input}
  small: {type: resize, width: 16}
  out: {type: save}
"""


@pytest.fixture(scope="session")
def faked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library that tells a program another time."""
    compiler = which("cc")
    if compiler is None:
        pytest.fail("A C compiler is missing, which the tests of clocks need: apt-get install gcc libc6-dev")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(CLOCK)], check=True)
    return str(library)


def told_later(library: str, seconds: float) -> dict[str, str]:
    """The environment of a program whose clock is that much ahead, and that calls whoever refused before."""
    return {"LD_PRELOAD": library, "SKEW_MS": str(round(seconds * 1000)), "SAFELIGHT_BREAKER_FAILURES": "0"}


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    projects = {"demo": Project(id="demo", allow_private_urls=True)}
    return settings.model_copy(update={"redis_url": server.url, "projects": projects})


@pytest.fixture
async def core(core: Core) -> Core:
    await core.flows.put("slow", SLOW)
    return core


@pytest.fixture
async def large(core: Core, grant: Grant) -> File:
    return await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(2100, 1400)))


@pytest.fixture
async def pair(core: Core, settings: Settings, faked: str) -> AsyncIterator[tuple[Program, Program]]:
    """A worker that is ahead of the server and one that is behind."""
    async with skewed(settings, faked) as pair:
        await until_both(core)
        yield pair


@asynccontextmanager
async def skewed(settings: Settings, library: str, base: float = 0.0) -> AsyncIterator[tuple[Program, Program]]:
    async with AsyncExitStack() as stack:
        ahead = await stack.enter_async_context(worker(settings, **told_later(library, base + SKEW)))
        behind = await stack.enter_async_context(worker(settings, **told_later(library, base - SKEW)))
        yield ahead, behind


async def until_both(core: Core) -> None:
    async with asyncio.timeout(30):
        while len(await core.records.workers.list()) < 2:
            await asyncio.sleep(0.05)


def at(event: Event) -> float:
    """When the server noted it, in seconds."""
    return int(event.id.partition("-")[0]) / 1000


async def test_their_clocks_are_what_they_are_said_to_be(core: Core, pair: tuple[Program, Program]) -> None:
    """Otherwise the tests below would show nothing."""
    began = {beat.pid: beat.beat_at.timestamp() - time.time() for beat in await core.records.workers.list()}
    assert [round(began[program.pid] / SKEW) for program in pair] == [1, -1]


async def test_leases_hold_and_runs_end_once_in_order(
    core: Core, pair: tuple[Program, Program], grant: Grant, photo: File, large: File
) -> None:
    long = [await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 4}) for _ in pair]
    short = [await core.runs.start(grant, "small", {"photo": [photo.id]}) for _ in range(20)]
    await until_over(core)
    done = await each_ended_once(core, {run.id for run in (*long, *short)})
    assert [len(run.tries) for run in done] == [1] * len(done) and await core.records.queues.lost() == 0
    assert {run.tries[0].worker for run in done} == {beat.id for beat in await core.records.workers.list()}
    for run in done:
        events = await every_event(core, run.id)
        assert [at(event) for event in events] == sorted(at(event) for event in events)
        assert [event.type for event in events][:2] == ["run.queued", "run.started"]
    spans = {run.id: [at(event) for event in await every_event(core, run.id)] for run in long}
    assert max(span[-1] - span[1] for span in spans.values()) > LEASE, "no run outlasted a lease"


@pytest.mark.parametrize("sign", [1, -1], ids=["the lost one ahead", "the heir ahead"])
async def test_a_lost_worker_is_found_lost_when_its_lease_is_over(
    core: Core, pair: tuple[Program, Program], grant: Grant, large: File, sign: int
) -> None:
    lost, heir = pair[::sign]
    heir.program.send_signal(signal.SIGSTOP)  # so that it is the other one's run
    await until_nobody_waits(core, heir)
    run = await core.runs.start(grant, "slow", {"photo": [large.id]}, {"effort": 2})
    await until_begun(core, run)
    heir.program.send_signal(signal.SIGCONT)
    lost.kill()
    killed = time.time()
    await until_over(core)
    waited = at([event for event in await every_event(core, run.id) if event.type == "run.started"][1]) - killed
    # The lease was renewed at the latest a third of it before.
    assert LEASE * 0.6 < waited < LEASE + LATE
    await each_ended_once(core, {run.id})
    await heir.stop()


async def until_nobody_waits(core: Core, program: Program) -> None:
    """Return when a worker that was stopped is handed nothing any more."""
    (id,) = [beat.id for beat in await core.records.workers.list() if beat.pid == program.pid]
    async with asyncio.timeout(30):
        while await core.redis.exists(f"safelight:offer:{id}"):
            await asyncio.sleep(0.05)


async def until_begun(core: Core, run: Run) -> None:
    async with asyncio.timeout(30):
        while (await core.records.runs.get(run.id)).status != "running":
            await asyncio.sleep(0.02)


async def test_a_retry_begins_when_it_is_due(
    core: Core, pair: tuple[Program, Program], grant: Grant, photo: File
) -> None:
    number, dues = 10, dict[str, float]()
    async with listening() as outside, beside(watched(core, dues)):
        outside.answers = {f"/{place}": busy_at_first(outside) for place in range(number)}
        await core.flows.put("patient", PATIENT.replace("URL", outside.url))
        ids = [
            (await core.runs.start(grant, "patient", {"photo": [photo.id]}, {"number": place})).id
            for place in range(number)
        ]
        await until_over(core)
        assert sorted(heard.path for heard in outside.heard) == sorted(2 * list(outside.answers))
    runs = await each_ended_once(core, ids)
    assert [len(run.tries) for run in runs] == [2] * number
    assert len({one.worker for run in runs for one in run.tries}) == 2, "one worker did it all"
    for id in ids:
        _, again = [at(event) for event in await every_event(core, id) if event.type == "run.started"]
        assert dues[f"run:{id}:1"] <= again < dues[f"run:{id}:1"] + LATE


def busy_at_first(outside: Outside) -> Answer:
    """Refuses the first request to a path and answers the second with what it was sent."""

    async def answer(request: web.Request, sent: bytes) -> web.StreamResponse:
        times = [heard.path for heard in outside.heard].count(request.path)
        return web.Response(status=503) if times == 1 else web.Response(body=sent)

    return answer


async def watched(core: Core, dues: dict[str, float]) -> None:
    """Note of every job that is put off when it is due, by the clock of the server."""
    while True:
        for job, due in await core.redis.zrange("safelight:queue:default:later", 0, -1, withscores=True):
            dues[job.decode()] = due / 1000
        await asyncio.sleep(0.005)


async def test_a_tick_starts_its_flow_once_and_not_before(
    settings: Settings, faked: str, grant: Grant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The server's own clock is set so that a minute begins soon."""
    base = 45 - time.time() % 60
    async with AsyncExitStack() as stack:
        folder = tmp_path_factory.mktemp("skewed")
        server = await stack.enter_async_context(running(Server(folder, told_later(faked, base))))
        settings = settings.model_copy(update={"redis_url": server.url})
        core = await stack.enter_async_context(open_core(settings))
        photo = await core.uploads.accept(grant, Intake(name="photo.png"), once(picture()))
        for name in ("one", "two", "three"):
            await core.flows.put(name, EVERY_MINUTE.replace("PHOTO", photo.id))
        programs = await stack.enter_async_context(skewed(settings, faked, base))
        await until_known(core, 3)
        tick = datetime.fromtimestamp((time.time() + base) // 60 * 60 + 60, UTC)
        await asyncio.sleep(tick.timestamp() - time.time() - base + 10)  # two looks of each worker beyond it
        await until_over(core)
        runs = await each_ended_once(core, ())
        assert sorted(run.flow for run in runs) == ["one", "three", "two"]
        assert {run.metadata["schedule"] for run in runs} == {tick.isoformat()}
        for run in runs:
            queued = at((await every_event(core, run.id))[0])
            assert tick.timestamp() <= queued < tick.timestamp() + 5 + LATE
        for program in programs:
            await program.stop()


async def until_known(core: Core, number: int) -> None:
    """Return when workers have seen so many schedules, whose ticks count from then on."""
    async with asyncio.timeout(60):
        while len(await core.records.schedules.ticks()) < number:
            await asyncio.sleep(0.05)
