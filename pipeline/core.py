"""The composition root: builds every room once, hands each what it needs, and takes all of it down again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import TimeoutError as Unanswered

from pipeline.breakers import Breakers
from pipeline.delivery import Delivering
from pipeline.events import EventLog, news_of
from pipeline.feeding import Feeding
from pipeline.files import Files
from pipeline.flows import FlowRegistry
from pipeline.following import Following
from pipeline.groups import Groups
from pipeline.hearing import Bell
from pipeline.imaging.header import warm as load_header_readers
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Fetch, Grant, Intake
from pipeline.outbound import Outbound
from pipeline.records import Records
from pipeline.runs import Runs
from pipeline.scripting import RecordClient
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

    def __init__(
        self,
        settings: Settings,
        redis: Redis,
        storages: Mapping[str, Storage],
        headers: Sandbox,
        sandbox: Sandbox | None,
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.storages = storages
        self.stagings = {name: staging_for(storage) for name, storage in storages.items()}
        self.headers = headers
        self.sandbox = sandbox
        self._build_records()
        self._build_outside()
        self._build_runs()
        self._build_files()
        self._build_uploads()
        self._build_ways()
        self._build_webhooks()

    def _build_records(self) -> None:
        settings, prefix = self.settings, self.settings.key_prefix
        news = news_of(RecordClient.over(self.redis), prefix)
        self.records = Records(self.redis, prefix, settings.event_cap, news)
        self.events = EventLog(self.redis, prefix, settings.event_cap, news)
        self.flows = FlowRegistry(self.redis, prefix, settings.event_cap)
        self.groups = Groups(self.records)
        self.cleaning = Cleaning()
        self._turns = Bell(RecordClient.over(self.redis), f"{prefix}holds")
        self._drawn = Bell(RecordClient.over(self.redis), f"{prefix}drawn")
        self.holds = Holds(self.records, self.cleaning, self._turns)
        self._seals = Seals(settings.projects)

    def _build_outside(self) -> None:
        self.outbound = Outbound()
        self.breakers = Breakers(self.settings, self.records)
        self.fetching = Fetching(
            settings=self.settings,
            records=self.records,
            events=self.events,
            outbound=self.outbound,
            judge=self._judged,
            on_ended=self._fed,
        )

    def _build_runs(self) -> None:
        settings, prefix = self.settings, self.settings.key_prefix
        self._feeding = Feeding(
            records=self.records,
            flows=self.flows,
            fetching=self.fetching,
            projects=settings.projects,
            prefix=prefix,
        )
        self.runs = Runs(
            records=self.records,
            events=self.events,
            flows=self.flows,
            feeding=self._feeding,
            storages=self.storages,
            prefix=prefix,
            patience=settings.run_wait,
        )
        self._following = Following(self.runs, self.flows, prefix)
        self._opening = Opening(settings, self.records, narrow=self._following.narrowed)

    def _build_files(self) -> None:
        settings, records = self.settings, self.records
        self._vetting = Vetting(settings, self.storages, self.headers, self.breakers)
        self._becoming = Becoming(
            settings,
            records,
            self.storages,
            self._vetting,
            on_stored=self.runs.start_stored,
            prepare=self._following.prepared,
        )
        self.files = Files(
            settings=settings,
            records=records,
            storages=self.storages,
            opening=self._opening,
            holds=self.holds,
            becoming=self._becoming,
            vetting=self._vetting,
            cleaning=self.cleaning,
        )
        folders, places = Folders(records), Places(records, self.files, self.holds)
        self.shelving = Shelving(
            folders=folders,
            places=places,
            hauling=Hauling(records, self.events, settings.key_prefix),
            carrying=Carrying(records, self.files, folders, places),
        )
        self.delivering = Delivering(
            settings=settings,
            records=records,
            storages=self.storages,
            drawn=self._drawn,
            prefix=settings.key_prefix,
        )

    def _build_uploads(self) -> None:
        self._progress = Progress(self.records)
        self._writing = Writing(
            records=self.records,
            storages=self.storages,
            stagings=self.stagings,
            opening=self._opening,
            becoming=self._becoming,
            cleaning=self.cleaning,
            progress=self._progress,
        )
        self.uploads = Uploads(
            projects=self.settings.projects,
            records=self.records,
            storages=self.storages,
            stagings=self.stagings,
            opening=self._opening,
            holds=self.holds,
            becoming=self._becoming,
            cleaning=self.cleaning,
            writing=self._writing,
        )
        self.sweeps = Sweeps(
            settings=self.settings,
            records=self.records,
            storages=self.storages,
            stagings=self.stagings,
            uploads=self.uploads,
            files=self.files,
        )

    def _build_ways(self) -> None:
        """The ways in which the bytes of an upload come, other than as one body."""
        settings, records, opening, holds = self.settings, self.records, self._opening, self.holds
        folder, lasts = settings.data_dir / "tmp", settings.upload_expiry
        self.growing = growing = Growing(
            records=records,
            storages=self.storages,
            opening=opening,
            holds=holds,
            uploads=self.uploads,
            writing=self._writing,
            folder=folder,
        )
        self.ranging = Ranging(
            records=records,
            opening=opening,
            holds=holds,
            uploads=self.uploads,
            growing=growing,
            cleaning=self.cleaning,
            lasts=lasts,
        )
        self.slicing = Slicing(
            records=records,
            opening=opening,
            holds=holds,
            uploads=self.uploads,
            growing=growing,
            folder=folder,
            lasts=lasts,
        )
        self.segments = Segments(
            records=records,
            holds=holds,
            uploads=self.uploads,
            growing=growing,
            cleaning=self.cleaning,
            lasts=lasts,
        )
        self.parts = Parts(
            settings=settings,
            records=records,
            stagings=self.stagings,
            opening=opening,
            holds=holds,
            uploads=self.uploads,
            seals=self._seals,
            progress=self._progress,
        )
        self.tickets = Tickets(records, self._seals, self.cleaning)

    def _build_webhooks(self) -> None:
        targets = Targets(self.settings, self.records, self.flows)
        self.webhooks = Webhooks(
            settings=self.settings,
            records=self.records,
            targets=targets,
            dispatching=Dispatching(self.settings, self.records, targets),
            sending=Sending(self.settings, self.records, self.outbound, targets),
        )

    # A fetch is judged and told by rooms that stand on fetching themselves.

    async def _judged(self, grant: Grant, intake: Intake) -> Intake:
        return await self._opening.judged(grant, intake)

    async def _fed(self, fetch: Fetch) -> None:
        await self._feeding.feed(fetch)

    def closings(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What puts each room down, to be called in this order."""
        return [
            self._progress.close,
            self._drawn.close,
            self._turns.close,
            self.cleaning.close,
            self.outbound.close,
            self.events.close,
            self.records.trails.close,
        ]


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
        core = Core(settings, redis, storages, headers, sandbox)
        for close in reversed(core.closings()):
            stack.push_async_callback(close)
        yield core


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
