"""How work is asked of the workers: a job is a name and arguments, as JSON, laid where arq looks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.jobs import serialize_job

from pipeline.model import Run, now
from pipeline.records.queue import Slip

JOB_LIFE = timedelta(days=28)
"""How long the queue remembers a job; the truth is in our records, so long is harmless and short loses work."""
RUN_FLOW = "run_flow"
"""The job that executes one attempt of a run."""
ERRANDS = "errands"
"""The queue of what only waits, for servers or storages, beside those of the runs: it takes no slot of theirs."""


def job_pool(connections: Any) -> ArqRedis:
    """arq's client on an existing connection pool; jobs travel as JSON, never as pickles."""
    return ArqRedis(
        pool_or_conn=connections,
        job_serializer=job_bytes,
        job_deserializer=orjson.loads,
        expires_extra_ms=int(JOB_LIFE / timedelta(milliseconds=1)),
    )


def job_bytes(job: Mapping[str, Any]) -> bytes:
    return orjson.dumps(job, default=str)


def slip(prefix: str, queue: str, job: str, name: str, arguments: Sequence[Any], project: str = "") -> Slip:
    """The job of this unique name, as arq would enqueue it."""
    queued = int(now().timestamp() * 1000)
    body = serialize_job(job, tuple(arguments), {}, None, queued, serializer=job_bytes)
    return Slip(queue_key(prefix, queue), name, body, int(JOB_LIFE / timedelta(milliseconds=1)), project)


def run_slip(prefix: str, run: Run) -> Slip:
    """The job of this attempt of a run, as arq would enqueue it."""
    name = f"run:{run.id}:{run.attempt}"
    return slip(prefix, run.queue, RUN_FLOW, name, (run.id, run.attempt), run.project)


def queue_key(prefix: str, queue: str) -> str:
    """The name under which arq knows `queue`."""
    return f"{prefix}queue:{queue}"
