"""Dead letters: runs that were given up, looked at, run again or put aside; servers only.

A dead letter here is one that was tried as often as its flow allows, so its status is `exhausted`. Running it again
ends it: should it fail once more, it is a new one of the same job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from pipeline.acts import settled
from pipeline.api.dialects.uploadista import auth
from pipeline.api.dialects.uploadista.params import Heard, read, said
from pipeline.api.endpoint import Call, plain
from pipeline.errors import LetterNotFound, SafelightError
from pipeline.model import Grant, Letter, now
from pipeline.vendors.uploadista import STORAGE, Document, moment

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
    found: Sequence[Letter] = ()
    if wish.status in (None, "exhausted") and wish.clientId in (None, grant.project.id):
        found = await _letters(call, grant, wish.flowId)
    shown = found[wish.offset : wish.offset + wish.limit]
    page = {"total": len(found), "limit": wish.limit, "offset": wish.offset}
    return plain({"items": [record(letter) for letter in shown], **page})


async def stats(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:read")
    found = await _letters(call, grant)
    count = len(found)
    told: Document = {
        "totalItems": count,
        "byStatus": {"pending": 0, "retrying": 0, "exhausted": count, "resolved": 0},
        "byFlow": dict(Counter(letter.run.flow for letter in found)),
        "averageRetryCount": sum(letter.run.attempt - 1 for letter in found) / count if count else 0,
    }
    oldest = min((letter.added_at for letter in found), default=None)
    return plain(told | ({"oldestItem": moment(oldest)} if oldest else {}))


async def get(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:read")
    return plain(record(await call.core.runs.letters.get(grant, call.id(LetterNotFound))))


async def retry(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:write")
    await settled(call.core.runs.letters.retry(grant, call.id(LetterNotFound)))
    return plain({"success": True})


async def resolve(call: Call) -> web.Response:
    grant, id = await auth.may(call, "engine:dlq:write"), call.id(LetterNotFound)
    letter = await call.core.runs.letters.get(grant, id)
    await settled(call.core.runs.letters.resolve(grant, id))
    return plain(record(letter, "resolved"))


async def delete(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:dlq:write")
    id = call.id(LetterNotFound)
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


def record(letter: Letter, status: Status = "exhausted") -> Document:
    """A dead letter as the vendor shows one."""
    run, error = letter.run, letter.run.error
    problem: dict[str, Any] = {"code": error.code, "message": error.message} if error else {}
    node = error.node if error else None
    tries = [
        {
            "attemptedAt": moment(one.started_at),
            "error": one.error.message if one.error else "",
            "durationMs": round((one.ended_at - one.started_at).total_seconds() * 1000) if one.ended_at else 0,
        }
        for one in run.tries
        if one.started_at
    ]
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
        "retryHistory": tries,
        "createdAt": moment(letter.added_at),
        "updatedAt": moment(letter.added_at),
        "status": status,
    }
    return told | ({"failedAtNodeId": node} if node else {})
