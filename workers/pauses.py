"""Whether a run is to stop behind the step it is in: called out to its worker, which asks nobody between two steps."""

from __future__ import annotations

from time import monotonic

from pipeline.errors import RecordsUnavailable
from pipeline.hearing import LOOK_AGAIN, Ring
from pipeline.records.runs import Runs


class Pause:
    """What was called out of one run since before it was begun, and whether that still holds."""

    def __init__(self, runs: Runs, run_id: str, ring: Ring) -> None:
        self._runs = runs
        self._run = run_id
        self._ring = ring
        self._looked = monotonic()

    async def is_asked(self) -> bool:
        """Whether the run is to pause: looked up when that was called out, and now and then, as a line can be dead.

        A run that cannot be looked up goes on.
        """
        if not self._ring.heard() and monotonic() - self._looked < LOOK_AGAIN:
            return False
        try:
            asked = await self._runs.is_pausing(self._run)
        except RecordsUnavailable:
            self._ring.ring()
            return False
        self._looked = monotonic()
        return asked
