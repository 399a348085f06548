"""Dead letters: runs that were given up, looked at, run again or put aside; servers only.

A dead letter here is one that was tried as often as its flow allows, so its status is `exhausted`. Running it again
ends it: should it fail once more, it is a new one of the same job. A job that failed and is tried again is listed
beside them, `pending` until its next try and `retrying` while it is at it; there is nothing to decide about it yet.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from aiohttp import web
from pydantic import Field

from pipeline.acts import settled
from pipeline.api.dialects.uploadista import auth
from pipeline.api.dialects.uploadista.errors import OURS, refused
from pipeline.api.dialects.uploadista.params import Heard, read, said
from pipeline.api.endpoint import Call, plain
from pipeline.errors import LetterNotFound, SafelightError
from pipeline.model import Grant, Letter, Problem, Run, Try, now
from pipeline.vendors.uploadista import STORAGE, Document, moment

WORDS = {error.code: word for error, word in OURS.items()}
"""The vendor's words for codes of ours."""
MOST = 10_000
PAGE = 100
Status = Literal["pending", "retrying", "exhausted", "resolved"]


class ListQuery(Heard):
    """Which dead letters are looked for."""

    status: Status | None = None
    flowId: str | None = None  # noqa: N815
    clientId: str | None = None  # noqa: N815
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    offset: Annotated[int, Field(ge=0, le=MOST)] = 0


class RetryAsk(Heard):
    """Which are to be run again."""

    status: Status | None = None
    flowId: str | None = None  # noqa: N815


class CleanupAsk(Heard):
    """Which are to be forgotten."""

    olderThan: datetime | None = None  # noqa: N815
    status: Status | None = None


async def listed(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:read")
    wish = said(ListQuery, dict(call.request.query), "Bad request")
    found = await _items(call, grant, wish.flowId) if wish.clientId in (None, grant.project.id) else ()
    found = [one for one in found if wish.status in (None, one["status"])]
    shown = found[wish.offset : wish.offset + wish.limit]
    return plain({"items": shown, "total": len(found), "limit": wish.limit, "offset": wish.offset})


async def stats(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:read")
    found = await _items(call, grant)
    told: Document = {
        "totalItems": len(found),
        "byStatus": dict.fromkeys(get_args(Status), 0) | Counter(one["status"] for one in found),
        "byFlow": dict(Counter(one["flowId"] for one in found)),
        "averageRetryCount": sum(one["retryCount"] for one in found) / len(found) if found else 0,
    }
    oldest = min((one["createdAt"] for one in found), default=None)
    return plain(told | ({"oldestItem": oldest} if oldest else {}))


async def get(call: Call) -> web.Response:
    grant, id = await auth.may(call, "engine:dlq:read"), call.id(LetterNotFound)
    return plain(await _trying(call, grant, id) or record(await call.core.runs.letters.get(grant, id)))


async def retry(call: Call) -> web.Response:
    """Run it again; one that is tried again anyway is left to that."""
    grant, id = await auth.may(call, "engine:dlq:write"), call.id(LetterNotFound)
    if await _trying(call, grant, id) is None:
        await settled(call.core.runs.letters.retry(grant, id))
    return plain({"success": True})


async def resolve(call: Call) -> web.Response:
    grant, id = await auth.may(call, "engine:dlq:write"), call.id(LetterNotFound)
    await _check_exhausted(call, grant, id)
    letter = await call.core.runs.letters.get(grant, id)
    await settled(call.core.runs.letters.resolve(grant, id))
    return plain(record(letter, "resolved"))


async def delete(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:write")
    id = call.id(LetterNotFound)
    await _check_exhausted(call, grant, id)
    await settled(call.core.runs.letters.drop_all(grant, "purged", runs=[id]))
    return plain({"success": True})


async def retry_all(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:write")
    ask = said(RetryAsk, await read(call), "Bad request")
    found = await _letters(call, grant, ask.flowId) if ask.status in (None, "exhausted") else ()
    succeeded = sum([await _retried(call, grant, letter) for letter in found])
    return plain({"retried": len(found), "succeeded": succeeded, "failed": len(found) - succeeded})


async def _retried(call: Call, grant: Grant, letter: Letter) -> bool:
    try:
        await settled(call.core.runs.letters.retry(grant, letter.run.id))
    except SafelightError as error:
        if error.retryable:
            raise
        return False  # somebody else took it up meanwhile
    return True


async def cleanup(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:write")
    ask = said(CleanupAsk, await read(call), "Bad request")
    found = await _letters(call, grant) if ask.status in (None, "exhausted") else ()
    before = (ask.olderThan or now()).astimezone(now().tzinfo)
    gone = [letter.run.id for letter in found if letter.added_at <= before]
    count = await settled(call.core.runs.letters.drop_all(grant, "purged", runs=gone)) if gone else 0
    return plain({"deleted": count})


async def _letters(call: Call, grant: Grant, flow: str | None = None) -> list[Letter]:
    found: list[Letter] = []
    cursor: str | None = None
    while len(found) < MOST:
        page = await call.core.runs.letters.list(grant, cursor, PAGE, flow)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    return found


async def _items(call: Call, grant: Grant, flow: str | None = None) -> list[Document]:
    """What is tried again and what was given up, of one flow if told, the newest first."""
    failing = await call.core.runs.letters.failing(grant)
    trying = [await _tried(call, run) for run in failing if flow in (None, run.flow)]
    given_up = [record(letter) for letter in await _letters(call, grant, flow)]
    return sorted(trying + given_up, key=lambda one: one["createdAt"], reverse=True)


async def _trying(call: Call, grant: Grant, id: str) -> Document | None:
    """A job that failed and is tried again."""
    found = [run for run in await call.core.runs.letters.failing(grant) if run.id == id]
    return await _tried(call, found[0]) if found else None


async def _check_exhausted(call: Call, grant: Grant, id: str) -> None:
    if await _trying(call, grant, id):
        raise refused("FLOW_JOB_ERROR", f"The job {id} is tried again; cancel it to end that.")


async def _tried(call: Call, run: Run) -> Document:
    failed = [one for one in run.tries if one.error] or [Try(attempt=run.attempt)]
    times = [one.ended_at or run.created_at for one in failed]
    told = _told(run, failed[-1].error, "retrying" if run.status == "running" else "pending", times[-1])
    most = max((await call.core.flows.of(run)).retry.times - 1, told["retryCount"])
    return told | {"createdAt": moment(times[0]), "maxRetries": most}


def record(letter: Letter, status: Status = "exhausted") -> Document:
    """A dead letter as the vendor shows one."""
    return _told(letter.run, letter.run.error, status, letter.added_at)


def _told(run: Run, error: Problem | None, status: Status, at: datetime) -> Document:
    problem: dict[str, Any] = {"code": WORDS.get(error.code, error.code), "message": error.message} if error else {}
    node = error.node if error else None
    told: Document = {
        "id": run.id,
        "jobId": run.id,
        "flowId": run.flow,
        "storageId": run.marks.get(STORAGE, "default"),
        "clientId": run.project,
        "error": problem | ({"nodeId": node} if node else {}),
        "inputs": {name: list(ids) for name, ids in run.inputs.items()},
        "nodeResults": {name: {"status": state.status} for name, state in run.nodes.items()},
        "retryCount": max(0, len(run.tries) - 1),
        "maxRetries": max(0, len(run.tries) - 1),
        "retryHistory": _history(run),
        "createdAt": moment(at),
        "updatedAt": moment(at),
        "status": status,
    }
    return told | ({"failedAtNodeId": node} if node else {})


def _history(run: Run) -> list[Document]:
    return [
        {
            "attemptedAt": moment(one.started_at),
            "error": one.error.message if one.error else "",
            "durationMs": round((one.ended_at - one.started_at).total_seconds() * 1000) if one.ended_at else 0,
        }
        for one in run.tries
        if one.started_at
    ]
