"""What a worker does about a fetch: get the file, take it in like any other, and see that exactly one end is recorded.

A try holds a turn on the record. Who lost it, or whose fetch was cancelled, hears of it with the next note on how far
he has come, and leaves nothing behind; who takes over forgets what the one before had taken in.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from arq import Retry

from pipeline.acts import ended
from pipeline.core import Core
from pipeline.downloads import Bounds, Download, Downloads
from pipeline.errors import (
    FetchGivenUp,
    FetchNotFound,
    FileNotFound,
    Internal,
    ProjectUnknown,
    RecordsUnavailable,
    SafelightError,
)
from pipeline.model import Fetch, File, Grant, Upload, new_id, now
from pipeline.records.queue import Death
from pipeline.uploads.fetching import OPEN, problem, serves

TRIES = 3
"""Times that a fetch is begun whose source may be better in a moment."""
FIRST_WAIT = 1.0
"""Seconds before the second try, about; the one before each further try is twice as long."""
FULL_WAIT = 1.0
"""Seconds, about, before a fetch is begun whose project has as many under way as it may."""
AWAY_WAIT = 5.0
"""Seconds, about, before a fetch is begun again that could not even be recorded."""
PACE = 0.5
"""Seconds between two notes on how far a fetch is, and so until a cancellation is heard of."""

log = structlog.stdlib.get_logger(__name__)


class TurnLost(Exception):
    """Somebody else does this fetch, or nobody is to any more."""


class Fetches:
    """The fetches this process can do."""

    def __init__(self, core: Core, bounds: Bounds | None = None) -> None:
        self._core = core
        self._downloads = Downloads(core.outbound, bounds or Bounds(within=core.settings.fetch_timeout))

    async def fetch(self, context: Mapping[str, Any], fetch_id: str) -> None:
        """Do this fetch; nothing happens when it has ended, or is forgotten."""
        with structlog.contextvars.bound_contextvars(fetch=fetch_id):
            try:
                await self._begin(fetch_id)
            except RecordsUnavailable as fault:
                raise _later(AWAY_WAIT) from fault

    async def give_up(self, fetch_id: str, deaths: Sequence[Death]) -> None:
        """End a fetch over which workers were lost again and again."""
        with suppress(FetchNotFound):
            fetch = await self._core.records.fetches.get(fetch_id)
            if fetch.upload:
                await self._core.uploads.reclaim(fetch.upload)
            await self._end(fetch, "", FetchGivenUp(times=len(deaths)))
            await self._tell(fetch_id)

    async def _begin(self, fetch_id: str) -> None:
        with suppress(FetchNotFound):
            found = await self._core.records.fetches.get(fetch_id)
            try:
                await self._take(found, self._grant(found))
            except ProjectUnknown as error:
                await self._end(found, "", error)
            await self._tell(fetch_id)

    def _grant(self, fetch: Fetch) -> Grant:
        projects = self._core.settings.projects
        if fetch.project not in projects:
            raise ProjectUnknown(id=fetch.project)
        return Grant(project=projects[fetch.project])

    async def _take(self, found: Fetch, grant: Grant) -> None:
        turn = new_id()
        fetch = await self._core.records.fetches.begin(found.id, turn, grant.project.limits.fetches, now())
        if fetch is None:
            raise _later(FULL_WAIT)
        if fetch.status in OPEN:
            await self._work(fetch, grant, turn)

    async def _work(self, fetch: Fetch, grant: Grant, turn: str) -> None:
        attempt = Attempt(self._core, self._downloads, fetch, grant, turn)
        try:
            file = await attempt.file()
        except TurnLost:
            log.info("fetch_dropped")
        except asyncio.CancelledError:
            await asyncio.shield(self._core.records.fetches.postpone(fetch.id, turn, counts=False))
            raise
        except RecordsUnavailable:
            raise
        except SafelightError as error:
            await self._failed(fetch, turn, error)
        except Exception:
            log.exception("fetch_fault")
            await self._end(fetch, turn, Internal())
        else:
            await self._succeed(fetch, turn, file)

    async def _failed(self, fetch: Fetch, turn: str, error: SafelightError) -> None:
        if not error.retryable or fetch.tries >= TRIES:
            await self._end(fetch, turn, error)
        elif await self._core.records.fetches.postpone(fetch.id, turn):
            log.info("fetch_postponed", code=error.code, tries=fetch.tries)
            wait = FIRST_WAIT * 2 ** (fetch.tries - 1)
            raise _later(wait if error.retry_after is None else error.retry_after) from error

    async def _succeed(self, fetch: Fetch, turn: str, file: File) -> None:
        kept = self._core.settings.fetch_retention
        if await self._core.records.fetches.succeed(fetch.id, turn, file, now(), kept):
            log.info("fetch_completed", file=file.id, size=file.size)
            await self._count("accepted")
        else:
            await self._withdraw(fetch, file)

    async def _withdraw(self, fetch: Fetch, file: File) -> None:
        """Take a file away again whose fetch was cancelled while it came to be; one from before is none of ours."""
        with suppress(FetchNotFound, FileNotFound):
            standing = await self._core.records.fetches.get(fetch.id)
            if standing.status == "cancelled" and file.created_at >= fetch.created_at:
                await self._core.files.delete(self._grant(fetch), file.id)

    async def _end(self, fetch: Fetch, turn: str, error: SafelightError) -> None:
        kept = self._core.settings.fetch_retention
        if await self._core.records.fetches.fail(fetch.id, turn, problem(error), now(), kept):
            log.info("fetch_failed", code=error.code, tries=fetch.tries, exc_info=error.__cause__)
            await self._count(error.code)

    async def _tell(self, fetch_id: str) -> None:
        """Tell who waits for it of the end of a fetch, also of one that could not be told of before."""
        with suppress(FetchNotFound):
            fetch = await self._core.records.fetches.get(fetch_id)
            if fetch.status not in OPEN:
                await self._core.fetching.tell(fetch)

    async def _count(self, outcome: str) -> None:
        await self._core.records.series.count({("uploads", "fetch", outcome): 1})


class Attempt:
    """One try of a fetch under its turn."""

    def __init__(self, core: Core, downloads: Downloads, fetch: Fetch, grant: Grant, turn: str) -> None:
        self._core = core
        self._downloads = downloads
        self._fetch = fetch
        self._grant = grant
        self._turn = turn
        self._download: Download | None = None
        self._upload: str | None = fetch.upload
        self._lost = False

    async def file(self) -> File:
        """The file that the fetch becomes; raises `TurnLost`, and whatever it is refused for."""
        if self._upload and (file := await self._core.uploads.reclaim(self._upload)):
            return file  # by a worker that was lost before it could tell
        work = asyncio.create_task(self._take())
        watch = asyncio.create_task(self._watch(work))
        try:
            return await work
        except asyncio.CancelledError as cause:
            if self._lost:
                raise TurnLost from cause
            raise
        finally:
            await ended([work, watch])

    async def _take(self) -> File:
        private, intake = self._grant.project.allow_private_urls, self._fetch.intake
        async with self._downloads.open(self._fetch.url, private=private) as download:
            self._download = download
            claims = {"declared_type": None, "declared_size": download.size, "source": self._fetch.url}
            named = intake.model_copy(update={"name": self._fetch.name or download.name, **claims})
            # One run at most follows a file.
            instead = self._double if self._fetch.reuse and not intake.follow else None
            promise = None if self._upload else self._fetch.promise  # what a lost try has begun may yet be heard of
            return await self._core.uploads.accept(
                self._grant, named, download, opened=self._opened, instead=instead, id=promise
            )

    async def _opened(self, upload: Upload) -> None:
        self._upload = upload.id
        if not await self._mark():
            raise TurnLost

    async def _double(self, digest: str) -> File | None:
        """A stored file of the project with the same bytes, the oldest that serves."""
        alike = await self._core.records.files.alike(self._fetch.project, digest)
        return next((file for file in alike if serves(self._fetch, file)), None)

    async def _watch(self, work: asyncio.Task[File]) -> None:
        while True:
            await asyncio.sleep(PACE)
            try:
                if not await self._mark():
                    self._lost = True
                    work.cancel()
                    return
            except RecordsUnavailable:
                log.info("fetch_unmarked")

    async def _mark(self) -> bool:
        done, total = (self._download.received, self._download.size) if self._download else (0, None)
        return await self._core.records.fetches.mark(self._fetch.id, self._turn, done, total, self._upload)


def _later(seconds: float) -> Retry:
    return Retry(defer=seconds * random.uniform(0.5, 1.5))  # noqa: S311 - apart, not secret
