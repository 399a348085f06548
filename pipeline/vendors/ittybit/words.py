"""How the vendor spells ids, times and what has become of something, version by version of its API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipeline.model import File, RunStatus

Document = dict[str, Any]

FIRST = "2024-03-21"
UPLOADS = "2024-08-21"
"""The version that the documented upload addresses are of."""
RENAMED = "2025-01-01"
"""Since then tasks are `task_`, and no more merely `ready`."""
BARE = "2025-08-20"
"""Since then nothing is wrapped in an envelope."""
REDESIGNED = "2025-11-10"
SUCCEEDED = "2025-12-01"
"""Since then what has come to a good end has `succeeded`, and times are seconds too."""

ITTYBIT = "ittybit"
"""Under which name the vendor's own facts lie on a file, and its marks on a run."""

STATUSES: Mapping[RunStatus, str] = {
    "queued": "pending",
    "waiting": "waiting",
    "running": "processing",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
EARLIER: Mapping[RunStatus, str] = {"completed": "ready", "failed": "error"}
LATER: Mapping[RunStatus, str] = {"completed": "succeeded"}
FETCHED: Mapping[str, str] = {"waiting": "waiting", "progress": "processing", "success": "ready"}
"""What a fetch is called as the file it is to become; what is not here has `failed`."""

_HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class View:
    """Where this server is reached, whose things are shown, in the words of which version, and where bytes are."""

    base: str
    project: str
    version: str
    url: Callable[[File], str | None]

    @property
    def enveloped(self) -> bool:
        return self.version < BARE


def spelled(prefix: str, id: str) -> str:
    """An id of ours as the vendor would spell it."""
    return f"{prefix}_{id.replace('-', '')}"


def file_id(id: str) -> str:
    return spelled("file", id)


def media_id(id: str) -> str:
    return spelled("med", id)


def task_id(id: str, version: str, step: int | None = None) -> str:
    """That of a task, or of one step of a workflow."""
    told = spelled("tsk" if version < RENAMED else "task", id)
    return told if step is None else f"{told}-{step}"


def project_id(project: str) -> str:
    return f"prj_{project}"


def org_id(project: str) -> str:
    return f"org_{project}"


def id_of(text: str, *prefixes: str) -> str | None:
    """The id of ours that a text with one of these prefixes, or with none, spells; None for what spells none."""
    prefix, _, rest = text.rpartition("_")
    plain = rest.replace("-", "").lower()
    if (prefix and prefix not in prefixes) or not _HEX.fullmatch(plain):
        return None
    return str(UUID(plain))


def moment(at: datetime | None) -> str | None:
    """A time, ISO 8601 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def times(view: View, created: datetime, updated: datetime | None) -> Document:
    """When something was made and changed last, in all spellings there are."""
    told: Document = {"created": moment(created), "updated": moment(updated or created)}
    if view.version >= SUCCEEDED:
        told |= {"created_at": int(created.timestamp()), "updated_at": int((updated or created).timestamp())}
    return told


def status_of(run: RunStatus, version: str) -> str:
    """What a run's status is called."""
    told = EARLIER if version < RENAMED else LATER if version >= SUCCEEDED else {}
    return told.get(run, STATUSES[run])


def status_meant(text: str) -> RunStatus | None:
    """The status of runs that a word of any version means, None for a word of none."""
    spoken = {word: run for words in (STATUSES, EARLIER, LATER) for run, word in words.items()}
    return spoken.get(text)
