"""Nouns to put among the records, and ways to look at what became of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from redis.asyncio import Redis

from pipeline.events import EventLog
from pipeline.model import Event, File, Intake, NodeState, Output, Page, Run, Upload, new_id

PREFIX = "test:"
START = datetime(2026, 1, 1, tzinfo=UTC)
T = TypeVar("T")


def moment(second: float) -> datetime:
    return START + timedelta(seconds=second)


def a_file(**fields: Any) -> File:
    file_id = fields.pop("id", None) or new_id()
    known: dict[str, Any] = {
        "project": "demo",
        "storage": "default",
        "key": f"demo/files/{file_id}",
        "name": "löwe.jpg",
    }
    known |= {"mime": "image/jpeg", "size": 12_345_678, "sha256": "0" * 64, "created_at": START}
    return File.model_validate(known | fields | {"id": file_id})


def an_upload(**fields: Any) -> Upload:
    known = {"project": "demo", "storage": "default", "key": "k", "intake": Intake(name="löwe.jpg")}
    return Upload.model_validate(known | {"expires_at": moment(3600)} | fields)


def a_run(**fields: Any) -> Run:
    known = {"project": "demo", "flow": "thumb", "version": "0" * 16, "inputs": {"photo": [new_id()]}}
    nodes = {"photo": NodeState(type="input"), "small": NodeState(type="resize"), "out": NodeState(type="save")}
    return Run.model_validate(known | {"created_at": START, "nodes": nodes} | fields)


def an_output(file: File) -> Output:
    return Output(
        node="out", source="small", id=file.id, path="a.webp", mime=file.mime, size=file.size, sha256=file.sha256
    )


def states(status: str, **fields: Any) -> dict[str, NodeState]:
    types = {"photo": "input", "small": "resize", "out": "save"}
    return {n: NodeState.model_validate({"type": t, "status": status} | fields) for n, t in types.items()}


async def logged(events: EventLog, subject: str | None = None, project: str = "demo") -> list[str]:
    return [event.type for event in await all_events(events, subject, project)]


async def all_events(events: EventLog, subject: str | None = None, project: str = "demo") -> list[Event]:
    return await events.read(project, subject, limit=10_000)


async def whole_list(turn: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    """Every entry of a list, page after page."""
    found: list[T] = []
    cursor = None
    while True:
        page = await turn(cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


async def outcome(call: Awaitable[T]) -> T | type[Exception]:
    """What a racer got: an answer or the class of its error."""
    try:
        return await call
    except Exception as error:
        return type(error)


async def keys(redis: Redis) -> Sequence[str]:
    return sorted(key.decode() for key in await redis.keys("*"))
