"""The composition root: builds every room once, hands each what it needs, and takes all of it down again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import TimeoutError as Unanswered

from pipeline.breakers import Breakers
from pipeline.delivery import Delivering
from pipeline.events import Bell, EventLog, RecordClient
from pipeline.feeding import Feeding
from pipeline.files import Files
from pipeline.flows import FlowRegistry
from pipeline.following import Following
from pipeline.groups import Groups
from pipeline.imaging.header import warm as load_header_readers
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Fetch, Grant, Intake
from pipeline.outbound import Outbound
from pipeline.records import Records
from pipeline.runs import Runs
from pipeline.settings import Settings
from pipeline.shelving import Carrying, Folders, Hauling, Places, Shelving
from pipeline.signing import Seals
from pipeline.staging import Staging, staging_for
from pipeline.storage import open_storage
from pipeline.storage.base import Storage
from pipeline.sweeps import Sweeps
from pipeline.uploads import (
    Becoming,
    Cleaning,
    Fetching,
    Growing,
    Holds,
    Opening,
    Parts,
    Progress,
    Ranging,
    Segments,
    Slicing,
    Tickets,
    Uploads,
    Vetting,
    Writing,
)
from pipeline.webhooks import Dispatching, Sending, Targets, Webhooks

CONNECT_TIMEOUT = 2.0
SOCKET_TIMEOUT = 10.0
RETRIES = 3
LOST: tuple[type[Any], ...] = (Unconnected, Unanswered, BusyLoadingError, OSError)
"""What a server that is away looks like; OSError is what connecting anew raises."""


@dataclass(frozen=True)
class Core:
    """Everything that stands on the settings, built once for a web or a worker process."""

    settings: Settings
    redis: Redis
    records: Records
    events: EventLog
    storages: Mapping[str, Storage]
    stagings: Mapping[str, Staging]
    flows: FlowRegistry
    uploads: Uploads
    fetching: Fetching
    growing: Growing
    ranging: Ranging
    slicing: Slicing
    segments: Segments
    parts: Parts
    tickets: Tickets
    files: Files
    shelving: Shelving
    """Folders, paths, and work on all that is in a folder."""
    holds: Holds
    """Whose turn it is, at a file, an upload or a path."""
    groups: Groups
    runs: Runs
    sweeps: Sweeps
    webhooks: Webhooks
    delivering: Delivering
    cleaning: Cleaning
    """What is put in order behind requests that are gone."""
    outbound: Outbound
    """The way to servers outside."""
    breakers: Breakers
    """Which of them are left alone for a while."""
    headers: Sandbox
    """Children that read image headers only."""
    sandbox: Sandbox | None
    """Children that decode and encode; None in a process that must not."""


@contextlib.asynccontextmanager
async def open_core(
    settings: Settings,
    *,
    header_children: int | None = None,
    sandbox_children: int = 0,
    warm: Callable[[], None] | None = None,
) -> AsyncIterator[Core]:
    """A Core while the block runs; nothing is asked of Redis or a storage yet, so neither need be there.

    Children are started when they are first needed; those of the sandbox call `warm` before anything else. What was
    opened is closed again in reverse, also half-way.
    """
    async with contextlib.AsyncExitStack() as stack:
        redis = _redis(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        storages = await _storages(settings, stack)
        readers = settings.header_children if header_children is None else header_children
        headers = _sandbox(settings, readers, load_header_readers, stack)
        sandbox = _sandbox(settings, sandbox_children, warm, stack) if sandbox_children else None
        yield await _build(settings, redis, storages, headers, sandbox, stack)


def _redis(url: str) -> Redis:
    # The asynchronous Retry; few and quick, so that a server that is away is soon told to the caller.
    redis: Redis = Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES, LOST),
        retry_on_error=list(LOST),
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=SOCKET_TIMEOUT,
    )
    return redis


async def _storages(settings: Settings, stack: contextlib.AsyncExitStack) -> Mapping[str, Storage]:
    storages: dict[str, Storage] = {}
    for name, url in settings.storages.items():
        storages[name] = open_storage(url)
        stack.push_async_callback(storages[name].close)
    return storages


def _sandbox(
    settings: Settings, children: int, warm: Callable[[], None] | None, stack: contextlib.AsyncExitStack
) -> Sandbox:
    recycling = {"calls_per_child": settings.sandbox_calls, "recycle_memory": settings.sandbox_recycle_memory}
    sandbox = Sandbox(children, settings.sandbox_memory, warm, **recycling)
    stack.push_async_callback(sandbox.close)
    return sandbox


async def _build(
    settings: Settings,
    redis: Redis,
    storages: Mapping[str, Storage],
    headers: Sandbox,
    sandbox: Sandbox | None,
    stack: contextlib.AsyncExitStack,
) -> Core:
    prefix = settings.key_prefix
    records = Records(redis, prefix, settings.event_cap)
    stack.push_async_callback(records.trails.close)
    events = EventLog(redis, prefix, settings.event_cap)
    stack.push_async_callback(events.close)
    flows = FlowRegistry(redis, prefix, settings.event_cap)
    stagings = {name: staging_for(storage) for name, storage in storages.items()}
    outbound = Outbound()
    stack.push_async_callback(outbound.close)

    async def judged(grant: Grant, intake: Intake) -> Intake:
        return await opening.judged(grant, intake)

    async def fed(fetch: Fetch) -> None:
        await feeding.feed(fetch)

    fetching = Fetching(
        settings=settings, records=records, events=events, outbound=outbound, judge=judged, on_ended=fed
    )
    feeding = Feeding(records=records, flows=flows, fetching=fetching, projects=settings.projects, prefix=prefix)
    runs = Runs(
        records=records,
        events=events,
        flows=flows,
        feeding=feeding,
        storages=storages,
        prefix=prefix,
        patience=settings.run_wait,
    )
    cleaning = Cleaning()
    stack.push_async_callback(cleaning.close)
    turns = Bell(RecordClient.over(redis), f"{prefix}holds")
    stack.push_async_callback(turns.close)
    drawn = Bell(RecordClient.over(redis), f"{prefix}drawn")
    stack.push_async_callback(drawn.close)
    progress = Progress(records)
    stack.push_async_callback(progress.close)
    following = Following(runs, flows, prefix)
    holds, opening = Holds(records, cleaning, turns), Opening(settings, records, narrow=following.narrowed)
    breakers = Breakers(settings, records)
    vetting = Vetting(settings, storages, headers, breakers)
    becoming = Becoming(settings, records, storages, vetting, on_stored=runs.start_stored, prepare=following.prepared)
    files = Files(
        settings=settings,
        records=records,
        storages=storages,
        opening=opening,
        holds=holds,
        becoming=becoming,
        vetting=vetting,
        cleaning=cleaning,
    )
    folders, places = Folders(records, files), Places(records, files, holds)
    writing = Writing(
        records=records,
        storages=storages,
        stagings=stagings,
        opening=opening,
        becoming=becoming,
        cleaning=cleaning,
        progress=progress,
    )
    uploads = Uploads(
        projects=settings.projects,
        records=records,
        storages=storages,
        stagings=stagings,
        opening=opening,
        holds=holds,
        becoming=becoming,
        cleaning=cleaning,
        writing=writing,
    )
    growing = Growing(
        records=records,
        storages=storages,
        opening=opening,
        holds=holds,
        uploads=uploads,
        writing=writing,
        folder=settings.data_dir / "tmp",
    )
    seals = Seals(settings.projects)
    targets = Targets(settings, records, flows)
    webhooks = Webhooks(
        settings=settings,
        records=records,
        targets=targets,
        dispatching=Dispatching(settings, records, targets),
        sending=Sending(settings, records, outbound, targets),
    )
    parts = Parts(
        settings=settings,
        records=records,
        stagings=stagings,
        opening=opening,
        holds=holds,
        uploads=uploads,
        seals=seals,
        progress=progress,
    )
    sweeps = Sweeps(
        settings=settings, records=records, storages=storages, stagings=stagings, uploads=uploads, files=files
    )
    return Core(
        settings=settings,
        redis=redis,
        records=records,
        events=events,
        storages=storages,
        stagings=stagings,
        flows=flows,
        uploads=uploads,
        fetching=fetching,
        growing=growing,
        ranging=Ranging(
            records=records,
            opening=opening,
            holds=holds,
            uploads=uploads,
            growing=growing,
            cleaning=cleaning,
            lasts=settings.upload_expiry,
        ),
        slicing=Slicing(
            records=records,
            opening=opening,
            holds=holds,
            uploads=uploads,
            growing=growing,
            folder=settings.data_dir / "tmp",
            lasts=settings.upload_expiry,
        ),
        segments=Segments(
            records=records,
            holds=holds,
            uploads=uploads,
            growing=growing,
            cleaning=cleaning,
            lasts=settings.upload_expiry,
        ),
        parts=parts,
        tickets=Tickets(records, seals, cleaning),
        files=files,
        shelving=Shelving(
            folders=folders,
            places=places,
            hauling=Hauling(records, events, prefix),
            carrying=Carrying(records, files, folders, places),
        ),
        holds=holds,
        groups=Groups(records),
        runs=runs,
        sweeps=sweeps,
        webhooks=webhooks,
        delivering=Delivering(settings=settings, records=records, storages=storages, drawn=drawn, prefix=prefix),
        cleaning=cleaning,
        outbound=outbound,
        breakers=breakers,
        headers=headers,
        sandbox=sandbox,
    )
