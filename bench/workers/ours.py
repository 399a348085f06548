"""Our own: the records put jobs in, `workers.queue` takes them out; leases, tokens and JSON as in earnest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from arq.jobs import serialize_job
from redis.asyncio import Redis

from bench.workers.tally import SLOTS, Tally, looped, sent, told
from pipeline.events import script
from pipeline.jobs import RUN_FLOW as JOB
from pipeline.jobs import job_bytes, queue_key
from pipeline.model import QUEUES
from pipeline.records import Records
from pipeline.records.queue import ENQUEUE_LUA, Slip
from pipeline.scripting import RecordClient
from workers.queue import Queues, Work, worker_pool

PREFIX, PROJECT = "bench:", "demo"
LIFE = 3_600_000
FILL_LUA = (
    ENQUEUE_LUA
    + """
local queue, body, life, project, root = take(), take(), take(), take(), take()
for number = 1, tonumber(take()) do
  enqueue({queue = queue, id = string.format('run:%s-%d:1', root, number), body = body, life = life, project = project})
end
"""
)
AT_ONCE = 1000


def work(socket: str, tally: Tally) -> None:
    async def noop(_: Mapping[str, Any], at: float, attempt: int) -> None:
        tally.begin(at)

    async def run() -> None:
        pool = worker_pool(f"unix://{socket}")
        await Queues(pool, PREFIX, QUEUES, SLOTS, {JOB: Work(noop)}, job_timeout=60).main()

    looped(run())


def send(socket: str, jobs: int, pause: float) -> None:
    looped(_send(socket, jobs, pause))


async def _send(socket: str, jobs: int, pause: float) -> None:
    client = Redis.from_url(f"unix://{socket}")
    if pause:
        await sent(partial(_enqueue, Records(client, PREFIX)), jobs, pause)
    else:
        await filled(client, jobs)


async def filled(client: Redis, jobs: int) -> None:
    """Put jobs into the queue as the records do it, a thousand in a script."""
    fill = script(RecordClient.over(client), PREFIX, 0, FILL_LUA).script
    for start in range(0, jobs, AT_ONCE):
        count = min(AT_ONCE, jobs - start)
        # EVAL, so that the server counts it apart from the scripts of a worker.
        arguments = (queue_key(PREFIX, "default"), _body(0.0), LIFE, PROJECT, uuid4().hex, count)
        await client.execute_command("EVAL", fill, 0, *arguments)


async def queued(client: Redis) -> int:
    """How many jobs are to be had."""
    now, _ = await client.time()
    return int(await client.zcount(queue_key(PREFIX, "default"), "-inf", 1000 * (now + 1)))


async def _enqueue(records: Records, at: float) -> None:
    await records.runs.enqueue(Slip(queue_key(PREFIX, "default"), f"run:{uuid4()}:1", _body(at), LIFE, PROJECT))


def _body(at: float) -> bytes:
    return serialize_job(JOB, (at, 1), {}, None, 0, serializer=job_bytes)


if __name__ == "__main__":
    told(work, send)
