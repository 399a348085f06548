"""Flows that run by themselves, and chores: each tick one run, however many look, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from pipeline.core import Core, open_core
from pipeline.errors import RecordsUnavailable
from pipeline.graph.schedule import Schedule
from pipeline.model import File, Grant, Intake, Project, Run, new_id
from pipeline.records.schedules import Due, Ticks, Told
from pipeline.settings import Settings
from tests.workers.conftest import once
from tests.workers.test_main import stopped, worker
from workers.schedules import Chores, Ticker

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOURLY = """
schedule: "0 * * * *"
queue: bulk
params: {width: {type: integer, default: 32}}
nodes:
  photo: {type: input, required: false}
  small: {type: resize, width: "{params.width}", height: 24}
  out: {type: save, path: "small/{file.stem}.webp"}
"""
GATHERING = """
accept: {types: [image/*, text/*]}
schedule: {cron: "0 * * * *", files: {FILES}}
nodes:
  photos: {type: input, many: true}
  out: {type: save, path: "all/{file.id}.webp"}
"""


def at(hour: float, minute: float = 0) -> datetime:
    return NOON + timedelta(hours=hour - 12, minutes=minute)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    projects = {name: Project(id=name) for name in ("demo", "other")}
    return settings.model_copy(update={"projects": projects})


@pytest.fixture
async def cores(settings: Settings, redis: Redis) -> AsyncIterator[list[Core]]:
    """Three processes' cores on one server."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_core(settings)) for _ in range(3)]


@pytest.fixture
def core(cores: list[Core]) -> Core:
    return cores[0]


async def looked(cores: Sequence[Core], moment: datetime) -> int:
    """How many runs were started when every core looked, all at once and twice."""
    counts = [Ticker(core).start_due(moment) for core in cores for _ in range(2)]
    return sum(await asyncio.gather(*counts))


async def runs_of(core: Core, flow: str = "hourly", project: str = "demo") -> Sequence[Run]:
    return (await core.records.runs.list(project, flow=flow, limit=100)).items


async def seen(cores: Sequence[Core], flow: str = "hourly", text: str = HOURLY, moment: datetime = NOON) -> None:
    """A flow whose schedule was first seen at `moment`."""
    await cores[0].flows.put(flow, text)
    assert await looked(cores, moment) == 0


# Ticks


async def test_a_tick_is_one_run_however_many_look(cores: list[Core], redis: Redis) -> None:
    await seen(cores)
    assert await looked(cores, at(12, 59.9)) == 0
    for hour in range(13, 18):
        assert await looked(cores, at(hour)) == 1
        assert await looked(cores, at(hour, 10)) == 0
    runs = await runs_of(cores[0])
    assert len(runs) == len({run.id for run in runs}) == 5
    assert {run.queue for run in runs} == {"bulk"} and runs[0].params == {"width": 32}
    assert runs[0].metadata == {"schedule": at(17).isoformat()}
    assert await redis.zcard("safelight:queue:bulk") == 5
    events = await cores[0].events.read("demo", limit=100)
    assert [event.type for event in events if event.type.startswith("run.")] == ["run.queued"] * 5


async def test_what_was_missed_is_made_up_for_once(cores: list[Core]) -> None:
    await seen(cores)
    assert await looked(cores, at(12 + 24 * 9, 30)) == 1
    (run,) = await runs_of(cores[0])
    assert run.metadata["schedule"] == at(12 + 24 * 9).isoformat()
    assert await looked(cores, at(12 + 24 * 9, 40)) == 0
    assert await looked(cores, at(13 + 24 * 9)) == 1


async def test_a_worker_that_died_after_its_claim_loses_nothing(cores: list[Core]) -> None:
    await seen(cores)
    first, second, third = cores

    async def away(*words: object, **named: object) -> Run:
        raise RecordsUnavailable()

    first.runs.start, start = away, first.runs.start  # type: ignore[method-assign]
    with pytest.raises(RecordsUnavailable):
        await Ticker(first).start_due(at(13))
    ticks = await second.records.schedules.tick("hourly")
    assert ticks and ticks.due and ticks.due.tick == at(13)
    first.runs.start = start  # type: ignore[method-assign]
    assert await looked(cores, at(13, 1)) == 1
    (run,) = await runs_of(third)
    assert run.id == ticks.due.run and run.metadata["schedule"] == at(13).isoformat()
    assert await looked(cores, at(14)) == 1


async def test_a_worker_that_died_before_it_settled_its_claim_starts_nothing_twice(
    cores: list[Core], redis: Redis
) -> None:
    await seen(cores)
    before = await cores[0].records.schedules.tick("hourly")
    assert before and await Ticker(cores[0]).start_due(at(13)) == 1
    after = await cores[0].records.schedules.tick("hourly")
    (run,) = await runs_of(cores[0])
    assert after and after.told == Told(tick=at(13), run=run.id)
    claimed = before.model_copy(update={"due": Due(tick=at(13), run=run.id, taken=before.taken)})
    assert await cores[0].records.schedules.swap("hourly", after, claimed)
    assert await looked(cores, at(13, 1)) == 1
    assert [each.id for each in await runs_of(cores[0])] == [run.id]
    assert await redis.zcard("safelight:queue:bulk") == 1


async def test_a_paused_flow_skips_its_ticks(cores: list[Core]) -> None:
    await seen(cores)
    await cores[0].flows.pause("hourly")
    assert await looked(cores, at(13)) == await looked(cores, at(15, 10)) == 0
    await cores[0].flows.resume("hourly")
    assert await looked(cores, at(15, 20)) == 0  # what came while it was paused is not made up for
    assert await looked(cores, at(16)) == 1
    assert len(await runs_of(cores[0])) == 1


async def test_a_flow_that_is_taken_back_begins_anew(cores: list[Core]) -> None:
    await seen(cores)
    await cores[0].flows.deactivate("hourly")
    assert await looked(cores, at(13)) == 0
    assert await cores[0].records.schedules.ticks() == {}
    await cores[0].flows.put("hourly", HOURLY + "# again\n")
    assert await looked(cores, at(15, 30)) == 0
    assert await looked(cores, at(16)) == 1


async def test_another_line_counts_from_when_it_is_seen(cores: list[Core]) -> None:
    await seen(cores)
    await cores[0].flows.put("hourly", HOURLY.replace("0 * * * *", "30 * * * *"))
    assert await looked(cores, at(12, 45)) == 0
    assert await looked(cores, at(13)) == 0
    assert await looked(cores, at(13, 30)) == 1
    await cores[0].flows.put("hourly", HOURLY.replace('schedule: "0 * * * *"', "schedule: null"))
    assert await looked(cores, at(15)) == 0 and await cores[0].records.schedules.ticks() == {}


async def test_a_draft_does_not_run(cores: list[Core]) -> None:
    await cores[0].flows.put("hourly", HOURLY, activate=False)
    assert await looked(cores, NOON) == await looked(cores, at(14)) == 0
    assert await runs_of(cores[0]) == ()


async def test_a_schedule_says_whose_runs_they_are(cores: list[Core]) -> None:
    await seen(cores, text=HOURLY.replace('"0 * * * *"', '{cron: "0 * * * *", project: other, params: {width: 9}}'))
    assert await looked(cores, at(13)) == 1
    (run,) = await runs_of(cores[0], project="other")
    assert run.params == {"width": 9}


async def test_a_refusal_is_told_and_the_next_tick_tries_again(cores: list[Core], grant: Grant) -> None:
    lost = new_id()
    text = HOURLY.replace('"0 * * * *"', f'{{cron: "0 * * * *", inputs: {{photo: {lost}}}}}')
    await seen(cores, text=text)
    assert await looked(cores, at(13)) == 0
    ticks = await cores[0].records.schedules.tick("hourly")
    assert ticks and ticks.told == Told(tick=at(13), refusal="FILE_NOT_FOUND") and ticks.due is None
    file = await cores[0].uploads.accept(grant, Intake(), once(b"here now"))
    await cores[0].records.files.create(file.model_copy(update={"id": lost}))
    assert await looked(cores, at(14)) == 1
    assert (await runs_of(cores[0]))[0].inputs == {"photo": (lost,)}


async def test_a_project_that_is_not_there_is_told(cores: list[Core]) -> None:
    await seen(cores, text=HOURLY.replace('"0 * * * *"', '{cron: "0 * * * *", project: nobody}'))
    assert await looked(cores, at(13)) == 0
    ticks = await cores[0].records.schedules.tick("hourly")
    assert ticks and ticks.told == Told(tick=at(13), refusal="PROJECT_UNKNOWN")


async def test_a_flow_in_a_time_zone_follows_its_clock(cores: list[Core]) -> None:
    text = HOURLY.replace('"0 * * * *"', '{cron: "30 2 * * *", timezone: Europe/Berlin}')
    spring, autumn = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)
    for flow, start in (("spring", spring), ("autumn", autumn)):
        await seen(cores, flow, text, start)
        for minutes in range(0, 72 * 60, 10):
            await Ticker(cores[0]).start_due(start + timedelta(minutes=minutes))
        await cores[0].flows.deactivate(flow)
    said = {
        flow: [run.metadata["schedule"][:16] for run in await runs_of(cores[0], flow)] for flow in ("spring", "autumn")
    }
    # 02:30 is skipped on 29 March and comes as 03:00; on 25 October it is shown twice and counts once.
    assert said["spring"] == ["2026-03-31T00:30", "2026-03-30T00:30", "2026-03-29T01:00"]
    assert said["autumn"] == ["2026-10-27T01:30", "2026-10-26T01:30", "2026-10-25T00:30"]


@pytest.mark.parametrize(
    ("cron", "since", "until", "last"),
    [
        ("* * * * *", timedelta(days=2000), NOON, NOON),
        ("0 0 29 2 *", timedelta(days=2000), NOON, datetime(2024, 2, 29, tzinfo=UTC)),
        ("0 0 1 1 *", timedelta(days=2), NOON, None),
        ("0 12 * * *", timedelta(0), NOON, None),
        ("0 12 * * *", timedelta(seconds=1), NOON, NOON),
    ],
)
def test_the_last_tick_of_a_time_is_found(cron: str, since: timedelta, until: datetime, last: datetime | None) -> None:
    assert Schedule(cron=cron).last_between(until - since, until) == last


# Files


async def sent(
    core: Core, *moments: datetime, mime: str = "image/png", project: str = "demo", **more: str
) -> list[str]:
    """Files that were stored at these moments, by their ids."""
    files = []
    for moment in moments:
        id = new_id()
        files.append(
            File(
                id=id, project=project, storage="default", key=f"{project}/files/{id[:2]}/{id}/x.png", name="x.png",
                mime=mime, size=1, sha256="0" * 64, created_at=moment, stored_at=moment, metadata=more,
            )
        )  # fmt: skip
        await core.records.files.create(files[-1])
    return [file.id for file in files]


async def given(core: Core, flow: str = "gather") -> list[list[str]]:
    """The files that the runs of the flow were given, the oldest run first."""
    runs = await runs_of(core, flow)
    return [list(run.inputs.get("photos", ())) for run in sorted(runs, key=lambda run: run.metadata["schedule"])]


def gathering(files: str = "") -> str:
    return GATHERING.replace("FILES", files)


async def test_every_stored_file_is_given_to_one_run(cores: list[Core]) -> None:
    core = cores[0]
    await sent(core, at(11))  # from before the schedule was there
    await seen(cores, "gather", gathering())
    first = await sent(core, at(12, 10), at(12, 20))
    late = await sent(core, at(12, 59.5))  # too near to the tick to be sure that all of its time are on record
    assert await looked(cores, at(13)) == 1
    second = await sent(core, at(13, 5))
    assert await looked(cores, at(14)) == 1
    assert await looked(cores, at(15)) == 0  # nothing new, so no run
    third = await sent(core, at(15, 30))
    await sent(core, at(15, 31), project="other")
    assert await looked(cores, at(19)) == 1
    assert await given(core) == [first, late + second, third]


async def test_more_files_than_a_run_takes_wait_for_the_next(cores: list[Core]) -> None:
    await seen(cores, "gather", gathering("most: 2"))
    files = await sent(cores[0], *(at(12, minute) for minute in range(1, 6)))
    assert [await looked(cores, at(hour)) for hour in (13, 14, 15, 16)] == [1, 1, 1, 0]
    assert await given(cores[0]) == [files[:2], files[2:4], files[4:]]


async def test_only_files_of_some_kind_are_given(cores: list[Core], grant: Grant) -> None:
    await seen(cores, "gather", gathering("types: [image/*], metadata: {album: summer}"))
    (wanted,) = await sent(cores[0], at(12, 5), album="summer")
    await sent(cores[0], at(12, 6), album="winter")
    await sent(cores[0], at(12, 7), album="summer", mime="text/plain")
    await sent(cores[0], at(12, 8), album="summer", mime="video/mp4")
    assert await looked(cores, at(13)) == 1
    assert await given(cores[0]) == [[wanted]]


async def test_the_newest_files_of_a_span_are_given_again_and_again(cores: list[Core]) -> None:
    await seen(cores, "gather", gathering("newer_than: 2h, most: 2"))
    files = await sent(cores[0], at(10, 30), at(11, 30), at(12, 30), at(12, 40))
    assert [await looked(cores, at(hour)) for hour in (13, 14, 18)] == [1, 1, 0]
    assert await given(cores[0]) == [files[2:], files[2:]]


async def test_outputs_unstored_and_deleted_files_are_not_given(cores: list[Core], grant: Grant) -> None:
    core = cores[0]
    await seen(cores, "gather", gathering())
    kept, deleted = await sent(core, at(12, 5), at(12, 6))
    await core.records.files.delete(deleted)
    output = (await core.records.files.get(kept)).model_copy(update={"id": new_id(), "run": new_id()})
    await core.records.files.create(output)
    unstored = output.model_copy(update={"id": new_id(), "run": None, "stored_at": None, "created_at": at(12, 7)})
    await core.records.files.create(unstored)
    assert await looked(cores, at(13)) == 1
    await core.records.files.store(unstored.id, at(13, 30))  # what is stored later counts from then
    assert await looked(cores, at(14)) == 1
    assert await given(core) == [[kept], [unstored.id]]


# Chores


async def test_a_chore_is_done_by_one_of_many(cores: list[Core]) -> None:
    claims = [core.records.schedules.claim("sweep:files", 60) for core in cores for _ in range(4)]
    assert sorted(await asyncio.gather(*claims)) == [False] * 11 + [True]
    assert await cores[0].records.schedules.claim("sweep:runs", 60)


async def test_the_chores_start_flows_and_sweep(cores: list[Core], redis: Redis) -> None:
    """Three workers' chores beside each other, until each was done: one run for the tick, one report for each sweep."""
    core = cores[0]
    await core.flows.put("hourly", HOURLY)
    start = await core.records.schedules.time()
    ticks = Ticks(spec="0 * * * * UTC", since=start - timedelta(hours=3), taken=start)
    assert await core.records.schedules.swap("hourly", None, ticks)
    work = [asyncio.create_task(Chores(each).work()) for each in cores]
    async with asyncio.timeout(30):
        names = ("uploads", "files", "outputs", "runs", "events", "orphans", "staged", "folders")
        while None in [await core.records.sweeps.report(name) for name in names] or not await runs_of(core):
            await asyncio.sleep(0.01)
    for each in work:
        each.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    reports = [await core.records.sweeps.report(name) for name in names]
    assert [report.times for report in reports if report] == [1] * 8
    assert len(await runs_of(core)) == 1


async def test_a_worker_process_runs_a_flow_whose_tick_has_come(core: Core, settings: Settings, photo: File) -> None:
    text = HOURLY.replace('"0 * * * *"', f'{{cron: "0 * * * *", inputs: {{photo: {photo.id}}}}}')
    await core.flows.put("hourly", text)
    start = await core.records.schedules.time()
    ticks = Ticks(spec="0 * * * * UTC", since=start - timedelta(hours=3), taken=start)
    assert await core.records.schedules.swap("hourly", None, ticks)
    demo = settings.model_copy(update={"projects": {"demo": Project(id="demo")}})
    async with worker(demo) as process:
        async with asyncio.timeout(60):
            while not (runs := await runs_of(core)):
                await asyncio.sleep(0.05)
        done = await core.runs.wait(Grant(project=settings.projects["demo"]), runs[0].id, 60)
        log = await stopped(process)
    assert done.status == "completed", done.error
    assert [output.path for output in done.outputs] == ["small/photo.webp"]
    assert [line["run"] for line in log if line["event"] == "schedule_started"] == [done.id]
