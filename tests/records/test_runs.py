from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid, FileNotFound, RunEnded, RunNotEnded, RunNotFound
from pipeline.events import EventLog
from pipeline.model import ENDED, NodeState, Problem, Run, RunStatus, new_id
from pipeline.records import Records
from pipeline.records.runs import STATUSES
from tests.records.nouns import (
    a_file,
    a_run,
    all_events,
    an_output,
    logged,
    moment,
    outcome,
    states,
    whole_list,
)

BROKEN = Problem(code="IMAGE_UNREADABLE", message="The image „löwe“ cannot be read.", node=None)


async def created(records: Records, **fields: object) -> Run:
    run = a_run(**fields)
    await records.runs.create(run)
    return run


async def running(records: Records) -> Run:
    run = await created(records)
    started = await records.runs.start(run.id, 1, moment(1))
    assert started is not None
    return started


async def completed(records: Records, run: Run) -> Run:
    file = a_file(run=run.id, path="a.webp", stored_at=moment(2))
    done = await records.runs.commit(run.id, run.attempt, states("completed"), [an_output(file)], [file], moment(2))
    assert done is not None
    return done


async def test_a_run_comes_back_as_it_was_put(records: Records, events: EventLog) -> None:
    run = await created(records, params={"quality": 82, "names": [], "x": {}}, metadata={"who": "Zoë"})
    assert await records.runs.get(run.id) == run
    (event,) = await all_events(events, run.id)
    assert (event.type, event.facts) == ("run.queued", {"flow": "thumb", "attempt": 1})
    with pytest.raises(RunNotFound):
        await records.runs.get(new_id())


async def test_creating_again_changes_nothing(records: Records, events: EventLog) -> None:
    run = await running(records)
    await records.runs.create(a_run(id=run.id, flow="other"))
    assert await records.runs.get(run.id) == run
    assert await logged(events) == ["run.queued", "run.started"]
    assert (await records.runs.counts())["queued"] == 0


async def test_nodes_keep_the_order_of_the_flow(records: Records) -> None:
    nodes = {f"n{number * 7919 % 300}": NodeState(type="resize") for number in range(300)}
    run = await created(records, nodes=nodes)
    await records.runs.start(run.id, 1, moment(1))
    await records.runs.mark(run.id, 1, {name: NodeState(type="resize", status="running") for name in sorted(nodes)})
    assert list((await records.runs.get(run.id)).nodes) == list(nodes)


async def test_a_run_goes_from_queued_to_completed(records: Records, events: EventLog) -> None:
    run = await running(records)
    assert (run.status, run.started_at, run.attempt) == ("running", moment(1), 1)
    await records.runs.mark(run.id, 1, {"photo": NodeState(type="input", status="completed", ms=1.5)})
    await records.runs.mark(run.id, 1, {"small": NodeState(type="resize", status="running")})
    marked = await records.runs.get(run.id)
    assert [state.status for state in marked.nodes.values()] == ["completed", "running", "queued"]
    assert marked.nodes["photo"].ms == 1.5

    file = a_file(run=run.id, path="a.webp", stored_at=moment(2))
    done = await records.runs.commit(run.id, 1, states("completed", ms=2.0), [an_output(file)], [file], moment(2))
    assert done is not None and done == await records.runs.get(run.id)
    assert (done.status, done.finished_at, done.outputs) == ("completed", moment(2), (an_output(file),))
    assert done.nodes == states("completed", ms=2.0)
    assert await records.files.get(file.id) == file
    assert (await records.files.list("demo")).items == (file,)
    assert await logged(events, run.id) == [
        *("run.queued", "run.started", "node.completed", "node.started", "node.completed", "node.completed"),
        "run.completed",
    ]
    assert await logged(events, file.id) == ["file.stored"]
    told = await all_events(events)
    assert told[-2].facts == {
        "name": "löwe.jpg",
        "mime": "image/jpeg",
        "size": 12_345_678,
        "run": run.id,
        "path": "a.webp",
    }
    assert told[-1].facts == {"flow": "thumb", "attempt": 1, "outputs": 1}
    assert told[2].facts == {"node": "photo", "type": "input", "ms": 1.5, "error": None}


async def test_marking_the_same_status_again_is_no_news(records: Records, events: EventLog) -> None:
    run = await running(records)
    await records.runs.mark(run.id, 1, states("running"))
    await records.runs.mark(run.id, 1, states("running", ms=5))
    await records.runs.mark(run.id, 1, states("waiting"))
    assert (await records.runs.get(run.id)).nodes == states("waiting")
    assert (await logged(events)).count("node.started") == 3
    assert len(await logged(events)) == 5


async def test_failed_and_skipped_nodes_are_told(records: Records, events: EventLog) -> None:
    run = await running(records)
    problem = Problem(code="NODE_FAILED", message="no", node="small")
    await records.runs.mark(run.id, 1, {"small": NodeState(type="resize", status="failed", ms=3, error=problem)})
    await records.runs.mark(run.id, 1, {"out": NodeState(type="save", status="skipped")})
    failed, skipped = (await all_events(events))[-2:]
    assert (failed.type, skipped.type) == ("node.failed", "node.skipped")
    assert failed.facts == {"node": "small", "type": "resize", "ms": 3.0, "error": problem.model_dump()}
    assert (await records.runs.get(run.id)).nodes["small"].error == problem


async def test_failing_keeps_the_problem(records: Records, events: EventLog) -> None:
    run = await running(records)
    failed = await records.runs.fail(run.id, 1, BROKEN, {"small": states("failed")["small"]}, moment(3))
    assert failed is not None and failed == await records.runs.get(run.id)
    assert (failed.status, failed.error, failed.finished_at, failed.outputs) == ("failed", BROKEN, moment(3), ())
    assert await logged(events) == ["run.queued", "run.started", "node.failed", "run.failed"]
    assert (await all_events(events))[-1].facts == {"flow": "thumb", "attempt": 1, "error": BROKEN.model_dump()}


async def test_a_run_that_never_began_can_fail(records: Records) -> None:
    run = await created(records)
    failed = await records.runs.fail(run.id, 1, BROKEN, {}, moment(3))
    assert failed is not None and failed.status == "failed" and failed.started_at is None


async def test_only_the_attempt_whose_turn_it_is_can_step(records: Records, events: EventLog) -> None:
    run = await running(records)
    for attempt in (0, 2):
        assert await records.runs.start(run.id, attempt, moment(1)) is None
        assert await records.runs.commit(run.id, attempt, {}, [], [], moment(1)) is None
        assert await records.runs.fail(run.id, attempt, BROKEN, {}, moment(1)) is None
        await records.runs.mark(run.id, attempt, states("completed"))
    assert await records.runs.get(run.id) == run
    assert await records.runs.start(new_id(), 1, moment(1)) is None
    assert await logged(events) == ["run.queued", "run.started"]


async def test_a_queued_run_cannot_be_marked_or_committed(records: Records) -> None:
    run = await created(records)
    await records.runs.mark(run.id, 1, states("completed"))
    assert await records.runs.commit(run.id, 1, {}, [], [a_file()], moment(1)) is None
    assert await records.runs.get(run.id) == run
    assert (await records.files.list("demo")).items == ()


async def test_a_lost_worker_s_attempt_begins_again_from_clean_nodes(records: Records, events: EventLog) -> None:
    run = await running(records)
    await records.runs.mark(run.id, 1, states("completed"))
    again = await records.runs.start(run.id, 1, moment(9))
    assert again is not None and again.nodes == states("queued")
    assert (again.started_at, again.attempt) == (moment(1), 1)
    assert (await logged(events)).count("run.started") == 2


async def test_cancelling_closes_what_was_open(records: Records, events: EventLog) -> None:
    run = await running(records)
    await records.runs.mark(run.id, 1, {"photo": NodeState(type="input", status="completed")})
    cancelled = await records.runs.cancel(run.id, moment(4))
    assert cancelled == await records.runs.get(run.id)
    assert (cancelled.status, cancelled.finished_at) == ("cancelled", moment(4))
    assert [state.status for state in cancelled.nodes.values()] == ["completed", "cancelled", "cancelled"]
    assert (await logged(events))[-1] == "run.cancelled"
    with pytest.raises(RunEnded) as refused:
        await records.runs.cancel(run.id, moment(5))
    assert refused.value.facts == {"id": run.id, "status": "cancelled"}
    with pytest.raises(RunNotFound):
        await records.runs.cancel(new_id(), moment(5))
    assert await records.runs.start(run.id, 1, moment(6)) is None


async def test_retrying_begins_a_clean_next_attempt(records: Records, events: EventLog) -> None:
    run = await completed(records, await running(records))
    (output,) = run.outputs
    again = await records.runs.retry(run.id, moment(50))
    assert again == await records.runs.get(run.id)
    assert (again.status, again.attempt, again.outputs, again.error) == ("queued", 2, (), None)
    assert (again.started_at, again.finished_at, again.created_at) == (None, None, run.created_at)
    assert again.nodes == states("queued")
    with pytest.raises(FileNotFound):
        await records.files.get(output.id)
    assert (await records.files.list("demo")).items == ()
    last = (await all_events(events))[-1]
    assert (last.type, last.facts) == ("run.queued", {"flow": "thumb", "attempt": 2})

    assert await records.runs.start(run.id, 1, moment(51)) is None
    started = await records.runs.start(run.id, 2, moment(51))
    assert started is not None and started.started_at == moment(51)
    second = await completed(records, started)
    assert (second.attempt, len(second.outputs)) == (2, 1)


async def test_only_an_ended_run_is_retried(records: Records) -> None:
    run = await running(records)
    with pytest.raises(RunNotEnded) as refused:
        await records.runs.retry(run.id, moment(5))
    assert refused.value.facts == {"id": run.id, "status": "running"}
    with pytest.raises(RunNotFound):
        await records.runs.retry(new_id(), moment(5))


async def test_of_twenty_retries_one_wins(records: Records) -> None:
    run = await created(records)
    await records.runs.cancel(run.id, moment(1))
    raced = await asyncio.gather(*(outcome(records.runs.retry(run.id, moment(2))) for _ in range(20)))
    assert raced.count(RunNotEnded) == 19
    assert (await records.runs.get(run.id)).attempt == 2


async def test_of_twenty_ends_one_wins_everywhere(records: Records, events: EventLog) -> None:
    for seed in range(10):
        run = await running(records)
        files = [a_file(run=run.id, stored_at=moment(2)) for _ in range(7)]
        commits = [outcome(records.runs.commit(run.id, 1, {}, [an_output(f)], [f], moment(2))) for f in files]
        fails = [outcome(records.runs.fail(run.id, 1, BROKEN, {}, moment(2))) for _ in range(6)]
        cancels = [outcome(records.runs.cancel(run.id, moment(2))) for _ in range(7)]
        racers = [*commits, *fails, *cancels]
        random.Random(seed).shuffle(racers)
        raced = await asyncio.gather(*racers)
        (winner,) = [each for each in raced if isinstance(each, Run)]

        found = await records.runs.get(run.id)
        assert found == winner and found.status in ENDED
        ends = [name for name in await logged(events, run.id) if name.split(".")[1] in ENDED]
        assert ends == [f"run.{found.status}"]
        kept = [file for file in await records.files.get_many([file.id for file in files]) if file]
        assert [file.id for file in kept] == [output.id for output in found.outputs]
        assert len(kept) == (found.status == "completed")
        for status in STATUSES:
            assert (run.id in await ids(records, status)) == (status == found.status)
    assert sum((await records.runs.counts("demo")).values()) == 10


async def ids(records: Records, status: RunStatus | None = None, flow: str | None = None) -> list[str]:
    found = await whole_list(lambda cursor: records.runs.list("demo", cursor, 6, status, flow))
    return [run.id for run in found]


async def test_runs_are_listed_by_status_and_flow(records: Records) -> None:
    runs = [await created(records, flow=f"flow{n % 3}", created_at=moment(n // 4)) for n in range(60)]
    await created(records, project="other")
    for number, run in enumerate(runs):
        if number % 2:
            await records.runs.start(run.id, 1, moment(99))
        if number % 4 == 3:
            await records.runs.cancel(run.id, moment(99))
    ordered = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    number_of = {run.id: number for number, run in enumerate(runs)}
    assert await ids(records) == [run.id for run in ordered]
    parts: dict[RunStatus, tuple[int, ...]] = {"queued": (0, 2), "running": (1,), "cancelled": (3,)}
    for status, rest in parts.items():
        wanted = [run.id for run in ordered if number_of[run.id] % 4 in rest]
        assert await ids(records, status) == wanted
        narrow = [each for each in wanted if number_of[each] % 3 == 2]
        assert await ids(records, status, "flow2") == narrow
    assert await ids(records, flow="flow1") == [run.id for run in ordered if number_of[run.id] % 3 == 1]
    assert await ids(records, flow="none") == []
    with pytest.raises(CursorInvalid):
        await records.runs.list("demo", "rubbish")


async def test_runs_are_counted_by_status(records: Records) -> None:
    for number in range(5):
        run = await created(records, project="demo" if number else "other")
        if number > 2:
            await records.runs.start(run.id, 1, moment(1))
    nothing = {"waiting": 0, "completed": 0, "failed": 0, "cancelled": 0}
    assert await records.runs.counts() == {"queued": 3, "running": 2, **nothing}
    assert await records.runs.counts("demo") == {"queued": 2, "running": 2, **nothing}
    assert set((await records.runs.counts("nobody")).values()) == {0}


async def test_a_released_run_waits_as_if_it_had_not_begun(records: Records) -> None:
    run = await created(records)
    assert await records.runs.release(run.id, 1, moment(1)) is None
    await records.runs.start(run.id, 1, moment(2))
    await records.runs.mark(run.id, 1, states("running"))
    released = await records.runs.release(run.id, 1, moment(3))
    assert released is not None and released == await records.runs.get(run.id)
    assert (released.status, released.attempt, released.started_at) == ("queued", 1, None)
    assert {state.status for state in released.nodes.values()} <= {"queued"}
    assert (await records.runs.counts())["queued"] == 1
    again = await records.runs.start(run.id, 1, moment(4))
    assert again is not None and again.started_at == moment(4)


async def test_stranded_runs_are_those_queued_long_ago(records: Records) -> None:
    runs = [await created(records, created_at=moment(number)) for number in range(5)]
    await records.runs.start(runs[0].id, 1, moment(9))
    await records.runs.cancel(runs[1].id, moment(9))
    assert await records.runs.stranded(moment(3)) == runs[2:4]
    assert await records.runs.stranded(moment(99), 1) == [runs[2]]
    again = await records.runs.retry(runs[1].id, moment(60))
    assert await records.runs.stranded(moment(30)) == runs[2:]
    assert (await records.runs.stranded(moment(60)))[-1] == again


async def test_a_run_with_many_outputs_is_committed_whole(records: Records, redis: Redis) -> None:
    run = await running(records)
    files = [a_file(run=run.id, stored_at=moment(2)) for _ in range(600)]
    done = await records.runs.commit(run.id, 1, {}, [an_output(file) for file in files], files, moment(2))
    assert done is not None and [output.id for output in done.outputs] == [file.id for file in files]
    assert await records.files.get_many([file.id for file in files]) == files
    await records.runs.retry(run.id, moment(3))
    assert await redis.keys("test:file:*") == []
