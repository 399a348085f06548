"""What is counted is exactly what was stepped, and what is measured lies within its bucket."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid
from pipeline.model import NodeState, Problem, Run
from pipeline.records import Records, series
from pipeline.records.base import flat
from pipeline.records.queue import Slip
from pipeline.records.series import HOUR, KEPT_DAYS, MINUTE, MOST_FLOWS
from pipeline.records.tallies import BOUNDS, SHARES, Book, Columns, Durations, Tally, added
from tests.records.nouns import PREFIX, a_run, moment, states
from tests.records.test_workers import a_beat

BROKEN = Problem(code="IMAGE_UNREADABLE", message="It cannot be read.", node="small")


async def queued(records: Records, **fields: object) -> Run:
    run = a_run(**fields)
    await records.runs.create(run)
    return run


async def running(records: Records, **fields: object) -> Run:
    run = await queued(records, **fields)
    assert await records.runs.start(run.id, 1, moment(1)) is not None
    return run


async def failed(records: Records, problem: Problem = BROKEN, **fields: object) -> Run:
    run = await running(records, **fields)
    nodes = {"small": NodeState(type="resize", status="failed", ms=3)}
    assert await records.runs.fail(run.id, 1, problem, nodes, moment(2)) is not None
    return run


async def test_every_end_is_counted_once_in_minute_hour_and_total(records: Records, redis: Redis) -> None:
    for _ in range(3):
        run = await running(records)
        for _ in range(2):  # the second time it is no longer its turn
            await records.runs.commit(run.id, 1, states("completed", ms=2.0), [], [], moment(2), stored=0.003)
    await failed(records, queue="bulk", flow="other")
    cancelled = await queued(records, queue="bulk")
    await records.runs.cancel(cancelled.id, moment(3))

    totals = await records.series.totals()
    assert totals.by("runs") == {("thumb", "completed"): 3, ("other", "failed"): 1, ("thumb", "cancelled"): 1}
    assert totals.by("ended") == {("default", "completed"): 3, ("bulk", "failed"): 1, ("bulk", "cancelled"): 1}
    assert totals.by("queued") == {("default",): 3, ("bulk",): 2}
    assert totals.by("failures") == {("IMAGE_UNREADABLE",): 1}
    assert [totals.durations(name, "default").count for name in ("wait", "run", "store")] == [3, 3, 3]
    assert [totals.durations(name, "bulk").count for name in ("wait", "run", "store")] == [1, 1, 0]
    assert totals.durations("store", "default").total == pytest.approx(9.0)
    assert totals.durations("node", "resize").count == 4

    now = await records.series.now()
    minutes = await records.series.spans(MINUTE, now - now % MINUTE - 2 * MINUTE, 4)
    hours = await records.series.spans(HOUR, now - now % HOUR - HOUR, 3)
    charted = Tally({name: count for name, count in totals.items() if name[0] != "node"})
    assert added(minutes) == added(hours) == charted
    assert (await records.series.last(3))[0] == charted
    for key in await redis.keys(f"{PREFIX}series:60:*"):
        assert KEPT_DAYS * 86400 - 60 < await redis.ttl(key) <= KEPT_DAYS * 86400 + 120


async def test_many_put_notes_into_the_books_at_once_and_each_note_counts_once(
    records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "BOOKED_AT_ONCE", 7)
    bookers = [Records(redis, PREFIX).series for _ in range(6)]
    going = True

    async def keep_booking(booker: series.Series) -> int:
        done = 0
        while going:
            done += await booker.book()
            await asyncio.sleep(0)
        return done

    booking = [asyncio.create_task(keep_booking(booker)) for booker in bookers]
    for _ in range(100):
        run = await queued(records)
        await records.runs.cancel(run.id, moment(1))
    going = False
    done = sum(await asyncio.gather(*booking)) + await records.series.book()
    assert done == 300  # queued, and ended by flow and by queue
    totals = await records.series.totals()
    assert totals == {("queued", "default"): 100, ("runs", "thumb", "cancelled"): 100,
                      ("ended", "default", "cancelled"): 100}  # fmt: skip
    assert (await records.series.last(3))[0] == totals
    assert await redis.exists(f"{PREFIX}series:notes") == 0


async def test_who_dies_over_the_books_leaves_the_notes_to_others(records: Records, redis: Redis) -> None:
    await queued(records)
    booked, notes = await records.series._call(series.NOTES_LUA, 10)
    await queued(records)
    assert await Records(redis, PREFIX).series.book() == 2
    # The one that was believed dead comes too late.
    totals, _ = series.booking(notes)
    assert await records.series._call(series.BOOK_LUA, booked, len(notes), *flat(totals.items()), 0) == 0
    assert (await records.series.totals()).by("queued") == {("default",): 2}


async def test_a_note_belongs_to_the_minute_it_was_made_in(records: Records, redis: Redis) -> None:
    now = await records.series.now()
    minute = now - now % MINUTE
    for back, micros in ((0, 1000), (1, 2000), (1, 4000), (90, 8000)):
        noted = (
            f"{minute - back * MINUTE} n 1 ended|default|completed",
            f"{minute - back * MINUTE} t {micros} run|default",
        )
        await redis.rpush(f"{PREFIX}series:notes", *noted)
    books = await records.series.spans(MINUTE, minute - 90 * MINUTE, 91)
    columns = Columns(books)
    ended = columns.of("ended", "default", "completed")
    assert (ended[0], ended[-2], ended[-1], sum(ended)) == (1, 2, 1, 4)
    low, middle, _ = columns.percentiles("run", "default")
    assert [place for place, found in enumerate(low) if found is not None] == [0, 89, 90]
    assert low[0] == pytest.approx(8, rel=0.3) and low[90] == pytest.approx(1, rel=0.3)
    assert low[89] == pytest.approx(2, rel=0.01) and middle[89] == pytest.approx(4, rel=0.1)
    assert added(await records.series.spans(HOUR, now - now % HOUR - 2 * HOUR, 3)) == added(books)


async def test_depths_follow_every_step_exactly(records: Records) -> None:
    runs: list[tuple[str, Run]] = []
    choice = random.Random(5)
    for _ in range(40):
        project, queue = choice.choice(["demo", "other"]), choice.choice(["interactive", "default", "bulk"])
        runs.append(("queued", await queued(records, project=project, queue=queue)))
    for place, (_, run) in enumerate(runs):
        steps = choice.randrange(5)
        status = "queued"
        if steps > 0:
            await records.runs.start(run.id, 1, moment(1))
            status = "running"
        if steps == 2:
            await records.runs.start(run.id, 1, moment(2))  # once more, after its worker was lost
        if steps == 3:
            await records.runs.release(run.id, 1, moment(2))
            status = "queued"
        if steps == 4:
            await records.runs.commit(run.id, 1, {}, [], [], moment(2))
            status = "completed"
        runs[place] = (status, run)
    for project in ("demo", "other"):
        for depth in await records.series.depths(project):
            for status in ("queued", "running", "waiting"):
                there = [run for found, run in runs if (found, run.queue) == (status, depth.queue)]
                assert depth.counts[status] == len(there)
                assert depth.own[status] == len([run for run in there if run.project == project])
    totals = await records.series.totals()
    assert sum(totals.by("taken_over").values()) > 0
    assert sum(totals.by("queued").values()) == len(runs)


async def test_the_oldest_is_the_head_of_the_index(records: Records, redis: Redis) -> None:
    first, second = await queued(records), await queued(records)
    index = f"{PREFIX}depth:default:queued"
    await redis.zincrby(index, -90_000_000, first.id)
    depths = {depth.queue: depth for depth in await records.series.depths()}
    assert 90 <= depths["default"].oldest < 120
    assert depths["bulk"].oldest == 0
    await records.runs.start(first.id, 1, moment(1))
    depths = {depth.queue: depth for depth in await records.series.depths()}
    assert depths["default"].oldest < 30
    assert [member.decode() for member in await redis.zrange(index, 0, -1)] == [second.id]


async def test_what_is_due_later_is_told_apart(records: Records, redis: Redis) -> None:
    queue = f"{PREFIX}queue:default"
    for number in range(3):
        await records.runs.create(a_run(), Slip(queue, f"run:{number}", b"{}", 10_000))
    due = await redis.zscore(queue, "run:1")
    await redis.zadd(f"{queue}:later", {"run:1": due + 60_000, "run:2": due})
    (states,) = (depth.states for depth in await records.series.depths() if depth.queue == "default")
    assert states == {"queued": 2, "delayed": 1, "running": 0, "waiting": 0}


async def test_counting_costs_no_more_with_more_runs(records: Records, redis: Redis) -> None:
    async def commands() -> int:
        await redis.config_resetstat()
        await records.series.depths("demo")
        stats = await redis.info("commandstats")
        return int(sum(row["calls"] for name, row in stats.items() if name not in ("cmdstat_info", "cmdstat_config")))

    await queued(records)
    await records.series.depths("demo")  # the script is known from now on
    few = await commands()
    for _ in range(200):
        await queued(records)
    assert await commands() == few


async def test_failures_are_grouped_by_what_they_have_in_common(records: Records) -> None:
    one = await failed(records)
    two = await failed(records)
    await failed(records, flow="other")
    await failed(records, problem=Problem(code="RUN_TIMEOUT", message="Too long."))
    await failed(records, project="other")
    page = await records.series.failures("demo")
    rows = {(row.code, row.type, row.flow): row for row in page.items}
    assert set(rows) == {
        ("RUN_TIMEOUT", "", "thumb"),
        ("IMAGE_UNREADABLE", "resize", "other"),
        ("IMAGE_UNREADABLE", "resize", "thumb"),
    }
    row = rows["IMAGE_UNREADABLE", "resize", "thumb"]
    assert (row.count, row.run, row.message) == (2, two.id, "It cannot be read.")
    assert row.first_at < row.last_at
    assert one.id != two.id
    assert page.items[0].code == "RUN_TIMEOUT"  # the last seen comes first

    turned: list[series.Failure] = []
    cursor: str | None = None
    while True:
        page = await records.series.failures("demo", cursor, 1)
        turned += page.items
        cursor = page.next
        if cursor is None:
            break
    assert len(turned) == 3
    with pytest.raises(CursorInvalid):
        await records.series.failures("demo", "nonsense")


async def test_flows_beyond_the_bound_are_counted_together(records: Records, redis: Redis) -> None:
    await redis.sadd(f"{PREFIX}series:flows", *(f"flow-{number}" for number in range(MOST_FLOWS - 1)))
    for flow in ("known", "too-many", "flow-7", "too-many-too"):
        run = await queued(records, flow=flow)
        await records.runs.cancel(run.id, moment(1))
    totals = await records.series.totals()
    assert totals.by("runs") == {("known", "cancelled"): 1, ("flow-7", "cancelled"): 1, ("other", "cancelled"): 2}


async def test_counts_from_outside_are_added(records: Records) -> None:
    await records.series.count({("uploads", "tus", "accepted"): 2, ("uploads", "tus", "FILE_TOO_LARGE"): 1})
    await records.series.count({("uploads", "tus", "accepted"): 3})
    await records.series.count({})
    totals = await records.series.totals()
    assert totals.by("uploads", "tus") == {("accepted",): 5, ("FILE_TOO_LARGE",): 1}
    assert totals.labels("uploads") == ["tus"]


async def test_a_time_lies_in_its_bucket(records: Records) -> None:
    for micros in (1, 250, 251, 353, 354, 500, 1000, 2001, 10**6, 10**10):
        run = await running(records, queue="bulk")
        before = (await records.series.totals()).durations("store", "bulk").counts
        await records.runs.commit(run.id, 1, {}, [], [], moment(2), stored=micros / 1e6)
        after = (await records.series.totals()).durations("store", "bulk").counts
        (place,) = (place for place, count in enumerate(after) if count != before[place])
        below = BOUNDS[place - 1] if place else 0
        above = BOUNDS[place] if place < len(BOUNDS) else float("inf")
        assert below < micros / 1000 <= above * (1 + 1e-9)


def test_columns_are_the_same_however_the_books_are_put_together() -> None:
    chance = random.Random(9)
    books = [Book() for _ in range(12)]
    for place in [chance.randrange(11) for _ in range(400)]:
        time = f"run|default|{chance.randrange(48)}"
        books[place] = books[place].with_more({"runs|thumb|completed": 1}, {time: 1, "run|default|us": 5})
    for size in (1, 2, 6):
        columns = Columns(books, size)
        steps = [added(books[place : place + size]) for place in range(0, 12, size)]
        assert columns.of("runs", "thumb", "completed") == [step["runs", "thumb", "completed"] for step in steps]
        assert columns.of("runs", "thumb", "failed") == [0] * (12 // size)
        assert columns.by("runs").keys() == {("thumb", "completed")}
        for share, column in zip(SHARES, columns.percentiles("run", "default"), strict=True):
            found = [step.durations("run", "default").percentile(share) for step in steps]
            assert list(column) == [None if ms is None else round(ms, 3) for ms in found]
        assert set(columns.percentiles("wait", "default")[0]) == {None}


def test_percentiles_are_within_a_bucket_of_the_truth() -> None:
    chance = random.Random(3)
    times = sorted(chance.lognormvariate(4, 1.2) for _ in range(5000))
    counts = [0] * (len(BOUNDS) + 1)
    for ms in times:
        counts[next(place for place, bound in enumerate((*BOUNDS, float("inf"))) if ms <= bound)] += 1
    durations = Durations(tuple(counts), sum(times))
    for share in (0.5, 0.95, 0.99):
        found = durations.percentile(share)
        assert found is not None
        assert found == pytest.approx(times[int(share * len(times))], rel=0.1)
    assert durations.powers()[-1] == (float("inf"), 5000)
    assert [count for _, count in durations.powers()] == [
        sum(ms / 1000 <= bound for ms in times) for bound, _ in durations.powers()
    ]
    assert Tally().durations("run", "default").percentile(0.5) is None


async def test_who_leaves_is_not_told_as_lost(records: Records) -> None:
    for name in ("stays", "leaves", "lost"):
        await records.workers.beat(a_beat(name), 60)
    assert await records.series.present() == {"leaves": True, "lost": True, "stays": True}
    await records.workers.leave("leaves")
    await records.workers.beat(a_beat("lost"), 0.001)
    async with asyncio.timeout(10):
        while (now := await records.series.present()).get("lost"):
            await asyncio.sleep(0.01)
    assert now == {"lost": False, "stays": True}
