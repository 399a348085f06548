"""What a worker does beside its runs: jobs that only wait, for servers or storages, with slots of their own."""

from __future__ import annotations

from collections.abc import Mapping

from arq.connections import ArqRedis

from pipeline.core import Core
from pipeline.jobs import ERRANDS
from pipeline.shelving import HAUL
from pipeline.uploads.fetching import JOB as FETCH
from pipeline.webhooks import DELIVER
from workers.fetches import Fetches
from workers.hauls import Hauls
from workers.queue import Queues, Work
from workers.webhooks import Deliveries

LONGEST = 3600.0
"""Seconds one errand may take, whatever it is; each sets itself a shorter time."""


def errands(core: Core) -> Mapping[str, Work]:
    """What is done for the jobs of the errands queue, by name."""
    fetches, hauls = Fetches(core), Hauls(core)
    return {
        FETCH: Work(fetches.fetch, fetches.give_up),
        DELIVER: Work(Deliveries(core).deliver),
        HAUL: Work(hauls.haul, hauls.give_up),
    }


def errand_reader(core: Core, pool: ArqRedis, worker: str) -> Queues:
    """The reader of the errands queue in the process of this worker; the queue knows it by an id of its own."""
    settings = core.settings
    return Queues(
        pool,
        settings.key_prefix,
        (ERRANDS,),
        settings.errand_slots,
        errands(core),
        job_timeout=LONGEST,
        worker=f"{worker}:{ERRANDS}",
    )
