"""A run as it was at one of its steps, which may be told of when it has gone on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.model import NodeState, Run, RunStatus

STANDINGS: Mapping[str, RunStatus] = {
    "run.queued": "queued",
    "run.waiting": "waiting",
    "run.started": "running",
    "run.paused": "waiting",
    "run.resumed": "waiting",
    "run.cancelled": "cancelled",
}
"""What each step brings a run to."""


def rewound(run: Run, type: str, at: datetime, facts: Mapping[str, Any]) -> Run:
    """The run as this event, with its `facts`, left it; as it stands, when it has not gone on or has ended with it."""
    status, attempt = STANDINGS.get(type), facts.get("attempt", run.attempt)
    if status is None or (run.status, run.attempt) == (status, attempt):
        return run
    return run.model_copy(
        update={
            "status": status,
            "attempt": attempt,
            "started_at": at if status == "running" else None,
            "finished_at": at if status == "cancelled" else None,
            "nodes": {name: NodeState(type=state.type) for name, state in run.nodes.items()},
            "outputs": (),
            "facts": {},
            "error": None,
        }
    )
