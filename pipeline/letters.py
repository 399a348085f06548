"""Dead letters as people meet them: look at them, run them again, or put them aside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pipeline.errors import LetterNotFound, SafelightError
from pipeline.model import Grant, Letter, Page, Run
from pipeline.records import Records

BATCH = 100
MOST = 10_000
"""Letters that one call settles at most; who wants more asks again."""

Retry = Callable[[Grant, str], Awaitable[Run]]


class DeadLetters:
    """The dead letters of a grant's project; `retry` is how a run is begun anew."""

    def __init__(self, records: Records, retry: Retry) -> None:
        self._letters = records.letters
        self._retry = retry

    async def get(self, grant: Grant, run_id: str) -> Letter:
        """The dead letter of a run; raises `LetterNotFound`."""
        letter = await self._letters.get(run_id)
        if letter.run.project != grant.project.id:
            raise LetterNotFound(id=run_id)
        return letter

    async def list(
        self,
        grant: Grant,
        cursor: str | None = None,
        limit: int = 50,
        flow: str | None = None,
        code: str | None = None,
    ) -> Page[Letter]:
        """The project's dead letters, newest first, of one flow or error code if given; raises `CursorInvalid`."""
        return await self._letters.list(grant.project.id, cursor, limit, flow, code)

    async def failing(self, grant: Grant) -> Sequence[Run]:
        """The project's runs that failed and are tried again, a thousand at most; what has not ended is no letter."""
        return [run for run in await self._letters.failing(grant.project.id) if run.status in ("queued", "running")]

    async def retry(self, grant: Grant, run_id: str) -> Run:
        """Run it again as its next attempt, which ends the letter; raises `LetterNotFound`."""
        await self.get(grant, run_id)
        return await self._retry(grant, run_id)

    async def resolve(self, grant: Grant, run_id: str, note: str = "") -> None:
        """Keep the run and drop its letter, with a note in the log; raises `LetterNotFound`."""
        await self.get(grant, run_id)
        await self._letters.drop([run_id], "resolved", note)

    async def retry_all(
        self, grant: Grant, flow: str | None = None, code: str | None = None, runs: Sequence[str] | None = None
    ) -> int:
        """Run again what the filters let through, or just these runs; returns how many were.

        One that somebody else took up meanwhile is passed over; raises `LetterNotFound` for a run that is none.
        """
        count = 0
        for letter in await self._chosen(grant, flow, code, runs):
            try:
                await self._retry(grant, letter.run.id)
            except SafelightError as error:
                if error.retryable:
                    raise
            else:
                count += 1
        return count

    async def drop_all(
        self,
        grant: Grant,
        how: str,
        note: str = "",
        flow: str | None = None,
        code: str | None = None,
        runs: Sequence[str] | None = None,
    ) -> int:
        """Drop the letters that the filters let through, or just these; the runs stay. Returns how many went."""
        ids = [letter.run.id for letter in await self._chosen(grant, flow, code, runs)]
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        return sum([await self._letters.drop(batch, how, note) for batch in batches])

    async def _chosen(
        self, grant: Grant, flow: str | None, code: str | None, runs: Sequence[str] | None
    ) -> Sequence[Letter]:
        if runs is not None:
            return [await self.get(grant, id) for id in dict.fromkeys(runs)]
        found: list[Letter] = []
        cursor: str | None = None
        while len(found) < MOST:
            page = await self.list(grant, cursor, BATCH, flow, code)
            found += page.items
            cursor = page.next
            if cursor is None:
                break
        return found
