"""How many runs each queue holds that have not ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core import Core
from pipeline.model import QUEUES, RunStatus

OPEN: tuple[RunStatus, ...] = ("queued", "running", "waiting")
PAGE = 200
MOST = 2000
"""Runs of one project and status that are looked at."""


@dataclass
class Depths:
    """Runs by queue and status; `exact` is False when there were more than were counted."""

    exact: bool = True
    by_queue: Counter[tuple[str, str]] = field(default_factory=Counter)

    def counts(self, queue: str) -> dict[str, int]:
        return {status: self.by_queue[queue, status] for status in OPEN}

    def all(self) -> dict[tuple[str, str], int]:
        return {(queue, status): self.by_queue[queue, status] for queue in QUEUES for status in OPEN}


async def queue_depths(core: Core, projects: Iterable[str]) -> Depths:
    """The open runs of these projects by queue."""
    depths = Depths()
    for project in projects:
        for status in OPEN:
            await _count(core, project, status, depths)
    return depths


async def _count(core: Core, project: str, status: RunStatus, depths: Depths) -> None:
    cursor: str | None = None
    for _ in range(MOST // PAGE):
        page = await core.records.runs.list(project, cursor, PAGE, status)
        depths.by_queue.update((run.queue, status) for run in page.items)
        cursor = page.next
        if cursor is None:
            return
    depths.exact = False
