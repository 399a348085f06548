"""The verb by which a file is got from a URL: asked for here, done by a worker, told of from its record."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from pipeline.errors import FetchCancelled, FetchNotFound, FileNotFound, SafelightError
from pipeline.events import EventLog
from pipeline.jobs import ERRANDS, slip
from pipeline.model import Fetch, File, Grant, Intake, Problem, new_id, now
from pipeline.outbound import Outbound
from pipeline.records import Records
from pipeline.records.queue import Slip
from pipeline.settings import Settings
from pipeline.sniff import allowed
from pipeline.sources import source_url

JOB = "fetch"
OPEN = frozenset({"waiting", "progress"})

Judge = Callable[[Grant, Intake], Awaitable[Intake]]
OnEnded = Callable[[Fetch], Awaitable[None]]


def fetch_slip(prefix: str, fetch: Fetch) -> Slip:
    """The job of a fetch, as arq would enqueue it."""
    return slip(prefix, ERRANDS, JOB, f"fetch:{fetch.id}", (fetch.id,), fetch.project)


class Fetching:
    """Begins fetches and answers for them, a worker does them.

    `judge` says what would be refused of an intake whatever its bytes; `on_ended` is told of each fetch that ends.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        events: EventLog,
        outbound: Outbound,
        judge: Judge,
        on_ended: OnEnded,
    ) -> None:
        self._settings = settings
        self._records = records
        self._events = events
        self._outbound = outbound
        self._judge = judge
        self._on_ended = on_ended

    async def begin(
        self,
        grant: Grant,
        url: str,
        intake: Intake,
        name: str | None = None,
        *,
        check: bool = False,
        save: bool | None = None,
        reuse: bool = False,
        run: str | None = None,
        id: str | None = None,
        promise: str | None = None,
    ) -> Fetch:
        """Have the file at `url` taken in as `intake` says; without `name` it is called as its server calls it.

        With `check`, a URL that the project fetched before, and whose file is still there, answers with that file at
        once, and one that is being fetched with the fetch under way; `save` (None: as `check`) has this one remembered.
        With `reuse`, a stored file of the same bytes is taken in its place. What `intake` declares of type and size
        does not count. A second begin of the same `id` begins nothing. The file has the id `promise`, if there is one,
        unless a try of a worker broke off.

        Raises `UrlInvalid` or one of its kind, `AddressRefused`, `FetchesTooMany`, and what an upload with such claims
        would; all else is told by the fetch.
        """
        intake = await self.check(grant, url, intake)
        fetch = Fetch(
            id=id or new_id(),
            project=grant.project.id,
            url=url,
            name=name or None,
            intake=intake,
            save=check if save is None else save,
            reuse=reuse,
            run=run,
            promise=promise,
        )
        if check and (known := await self._known(fetch)):
            return known
        await self._records.fetches.create(fetch, fetch_slip(self._settings.key_prefix, fetch))
        return fetch

    async def check(self, grant: Grant, url: str, intake: Intake) -> Intake:
        """What would be fetched as `intake`, as far as URL and claims tell; raises what `begin` does for them."""
        source_url(url, self._outbound.guard(grant.project.allow_private_urls))
        return await self._judge(grant, intake)

    async def get(self, grant: Grant, id: str) -> Fetch:
        """The fetch as it stands; raises `FetchNotFound`, also some time after it ended."""
        fetch = await self._records.fetches.get(id)
        if fetch.project != grant.project.id:
            raise FetchNotFound(id=id)
        return fetch

    async def wait(self, grant: Grant, id: str, seconds: float) -> Fetch:
        """The fetch once it has ended, or as it stands after `seconds`; raises `FetchNotFound`."""
        async with self._events.ending(id) as end:
            # Looked at only now: an end between our look and our listening is not missed.
            fetch = await self.get(grant, id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while fetch.status in OPEN:
                        await end.wait()
                        fetch = await self.get(grant, id)
                    return fetch
        return await self.get(grant, id)

    async def cancel(self, grant: Grant, id: str) -> Fetch:
        """End a fetch that has not ended, nothing of it is left; raises `FetchNotFound` or `FetchEnded`."""
        fetch = await self.get(grant, id)
        return fetch if fetch.status == "cancelled" else await self.end(id)

    async def end(self, id: str) -> Fetch:
        """End a fetch of whatever project; raises `FetchNotFound` or `FetchEnded`."""
        told, kept = problem(FetchCancelled()), self._settings.fetch_retention
        fetch = await self._records.fetches.cancel(id, told, now(), kept)
        await self.tell(fetch)
        return fetch

    async def tell(self, fetch: Fetch) -> None:
        """Tell whoever waits for it that a fetch has ended; a second time is fine."""
        await self._on_ended(fetch)

    async def _known(self, fetch: Fetch) -> Fetch | None:
        """What the URL came to before, or this fetch, begun; None when what is known does not serve."""
        if fetch.intake.follow or fetch.run:  # a run is to follow, and one file has one at most
            return None
        begun = await self._records.fetches.create(fetch, fetch_slip(self._settings.key_prefix, fetch), check=True)
        if begun.id == fetch.id:
            return fetch
        if begun.kind == "fetch":
            return await self._records.fetches.get(begun.id)
        with contextlib.suppress(FileNotFound):
            file = await self._records.files.get(begun.id)
            if serves(fetch, file):
                await self._records.fetches.known(fetch, file, now(), self._settings.fetch_retention)
                return await self._records.fetches.get(fetch.id)
        return None


def serves(fetch: Fetch, file: File) -> bool:
    """Whether a file that is there already will do in the place of the one that is to be fetched."""
    intake = fetch.intake
    kept = file.stored_at is not None or intake.store is False
    small = intake.max_size is None or file.size <= intake.max_size
    alike = (file.project, file.private, file.route) == (fetch.project, intake.private, intake.route)
    return alike and kept and small and file.run is None and allowed(file.mime, intake.types)


def problem(error: SafelightError) -> Problem:
    """What a fetch is told to have ended with."""
    return Problem(code=error.code, message=error.message)
