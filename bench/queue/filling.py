"""A server's records with many runs in them, put there by the same steps as in earnest, but many in a pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from pipeline.events import EVENT_CAP
from pipeline.jobs import run_slip
from pipeline.model import File, NodeState, Output, Run, RunStatus, new_id, now
from pipeline.records.runs import Runs
from pipeline.scripting import RecordClient

PROJECT = "demo"
FLOWS: Mapping[str, str] = {"thumbnail": "thumb", "sizes": "large", "marked": "marked", "avif": "small"}
"""Flows of the benchmark and the node whose picture each of them saves here."""
AT_ONCE = 500
AGE = timedelta(days=3)
"""How long ago the first of the runs was made; the others follow at even distances."""
DAY = 86400
MINUTE = 60


class Pipelined(RecordClient):
    """A client whose commands of one turn of the loop leave together."""

    _waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        if not self._waiting:
            self._flushing = loop.create_task(self._flush())
        self._waiting.append((args, answer))
        return await answer

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        pipeline = self.pipeline(transaction=False)
        for args, _ in waiting:
            pipeline.execute_command(*args)
        for (_, future), found in zip(waiting, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)


async def filled(url: str, prefix: str, each: int) -> None:
    """Make `each` runs that ended and `each` that are queued, of all flows in turn, counted over the last day."""
    async with Redis.from_url(url) as redis:
        client = Pipelined.over(redis)
        client._waiting = []
        runs = Runs(client, prefix, EVENT_CAP)
        began = now() - AGE
        for start in range(0, each, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, each))
            await asyncio.gather(*(_both(runs, prefix, number, began + number * AGE / each) for number in numbers))
        await _spread(redis, f"{prefix}series:notes")


async def _spread(redis: Redis, key: str) -> None:
    """Let what was counted, and is in no book yet, have happened evenly over the last day."""
    notes = await redis.lrange(key, 0, -1)
    newest = int(notes[-1].split(b" ", 1)[0])
    async with redis.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        for start in range(0, len(notes), AT_ONCE):
            moved = []
            for place, note in enumerate(notes[start : start + AT_ONCE], start):
                minute = newest - (len(notes) - 1 - place) * DAY // len(notes) // MINUTE * MINUTE
                moved.append(b"%d %b" % (minute, note.split(b" ", 1)[1]))
            pipe.rpush(key, *moved)
        await pipe.execute()


async def _both(runs: Runs, prefix: str, number: int, at: datetime) -> None:
    flow = list(FLOWS)[number % len(FLOWS)]
    waits, over = _run(flow, "queued", at), _run(flow, "running", at - timedelta(microseconds=1))
    await asyncio.gather(runs.create(waits, run_slip(prefix, waits)), _completed(runs, over))


async def _completed(runs: Runs, run: Run) -> None:
    node = FLOWS[run.flow]
    states = {name: NodeState(type=state.type, status="completed", ms=12) for name, state in run.nodes.items()}
    await runs.create(run)
    file = _file(run, node)
    await runs.commit(run.id, 1, states, [_output(node, file)], [file], run.created_at)


def _run(flow: str, status: RunStatus, at: datetime) -> Run:
    nodes = {
        name: NodeState(type=type) for name, type in (("photo", "input"), (FLOWS[flow], "resize"), ("out", "save"))
    }
    return Run(
        project=PROJECT, flow=flow, version="0" * 64, status=status, created_at=at, inputs={"photo": (new_id(),)},
        nodes=nodes,
    )  # fmt: skip


def _file(run: Run, node: str) -> File:
    id = new_id()
    return File(
        id=id, project=PROJECT, storage="default", key=f"{PROJECT}/runs/{run.id}/{id}", name=f"{node}.webp",
        mime="image/webp", size=12_345, sha256="0" * 64, run=run.id,
    )  # fmt: skip


def _output(node: str, file: File) -> Output:
    return Output(
        node="out", source=node, id=file.id, path=file.name, mime=file.mime, size=file.size, width=300, height=200,
        sha256=file.sha256,
    )  # fmt: skip
