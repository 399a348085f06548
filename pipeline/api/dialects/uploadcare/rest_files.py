"""`/files/`: list, look at, store and delete."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.paging import Wish, next_place, page, wish_of
from pipeline.api.dialects.uploadcare.rest import Ask, is_id, told, truth
from pipeline.errors import FileNotFound, RequestInvalid, SafelightError
from pipeline.files import BATCH
from pipeline.model import File, FileQuery, Grant, now
from pipeline.records.base import score
from pipeline.records.finding import Order, Spot
from pipeline.vendors.uploadcare import Document

FIELD = "datetime_uploaded"
TICK = timedelta(microseconds=1)
_BLANK = re.compile(r"\$\{(\w+)}")


# Looking


async def get(ask: Ask) -> web.Response:
    """A file, also one that was removed in the last days."""
    appdata = "appdata" in ask.query("include")
    try:
        return told(ask.shown(await ask.call.core.files.get(ask.grant, ask.id), appdata=appdata))
    except FileNotFound:
        gone = await ask.call.core.records.removals.get(ask.project, ask.id)
        if gone is None:
            raise
        return told(ask.shown(gone.file, removed_at=gone.at, appdata=appdata))


async def listed(ask: Ask) -> web.Response:
    wish, appdata = wish_of(ask, FIELD, FIELD), "appdata" in ask.query("include")
    stored, removed = truth(ask.query("stored")), truth(ask.query("removed"))
    totals = await _totals(ask)
    if removed:
        return told(await _removed_page(ask, wish, totals, appdata=appdata))
    files, place = await _found(ask, wish, FileQuery(stored=stored))
    total = totals["stored"] + totals["unstored"] if stored is None else totals["stored" if stored else "unstored"]
    results = [ask.shown(file, appdata=appdata) for file in files]
    return told(page(ask, wish, results, total, place) | {"totals": totals})


async def _totals(ask: Ask) -> dict[str, int]:
    records = ask.call.core.records
    every, unstored = await records.files.totals(ask.project)
    removed = await records.removals.count(ask.project)
    return {"removed": removed, "stored": every - unstored, "unstored": unstored}


async def _found(ask: Ask, wish: Wish, query: FileQuery) -> tuple[Sequence[File], str | None]:
    """The files of a page, and where the next one begins."""
    order, cursor = Order("created", wish.down), None
    if wish.since is not None and wish.after is not None:
        cursor = order.cursor(Spot(str(score(wish.since)), wish.after))
    elif wish.since is not None:
        query = query.model_copy(update=_bound(wish.since, down=wish.down))
    found: list[File] = []
    while len(found) <= wish.limit:
        part = await ask.call.core.records.files.find(ask.project, query, cursor, wish.limit + 1 - len(found), order)
        found += part.items
        cursor = part.next
        if cursor is None:
            break
    if len(found) <= wish.limit:
        return found, None
    last, first = found[wish.limit - 1], found[wish.limit]
    return found[: wish.limit], next_place((last.created_at, last.id), (first.created_at, first.id))


def _bound(since: datetime, *, down: bool) -> Mapping[str, datetime]:
    """A page that goes down begins with what is not later."""
    return {"before": since + TICK} if down else {"since": since}


async def _removed_page(ask: Ask, wish: Wish, totals: Mapping[str, int], *, appdata: bool) -> Document:
    passed = int(wish.after) if wish.after and wish.after.isdigit() and len(wish.after) < 9 else 0
    rows = await ask.call.core.records.removals.list(
        ask.project, wish.since, down=wish.down, passed=passed, limit=wish.limit + 1
    )
    shown, place = rows[: wish.limit], None
    if len(rows) > wish.limit:
        first, last = rows[wish.limit].file.created_at, shown[-1].file.created_at
        same = sum(row.file.created_at == first for row in shown)
        behind = same + (passed if last == wish.since else 0)
        place = next_place((last, str(behind)), (first, ""))
    results = [ask.shown(row.file, removed_at=row.at, appdata=appdata) for row in shown]
    return page(ask, wish, results, totals["removed"], place) | {"totals": dict(totals)}


# Storing and deleting

FileAct = Callable[[Grant, str], Awaitable[File]]


async def store(ask: Ask) -> web.Response:
    return told(ask.shown(await settled(ask.call.core.files.keep(ask.grant, ask.id))))


async def delete(ask: Ask) -> web.Response:
    file = await settled(_removing(ask)(ask.grant, ask.id))
    return told(ask.shown(file, removed_at=now()))


def _removing(ask: Ask) -> Callable[[Grant, str], Any]:
    """Deletes a file, and remembers for a while what it was."""

    async def remove(grant: Grant, id: str) -> File:
        file = await ask.call.core.files.delete(grant, id)
        await ask.call.core.records.removals.note(file, now())
        return file

    return remove


async def store_many(ask: Ask) -> web.Response:
    return told(await settled(_batch(ask, ask.call.core.files.keep, removed_at=None)))


async def delete_many(ask: Ask) -> web.Response:
    return told(await settled(_batch(ask, _removing(ask), removed_at=now())))


async def _batch(ask: Ask, act: FileAct, removed_at: datetime | None) -> Document:
    ids = ask.json()
    if not isinstance(ids, list):
        raise RequestInvalid(reason='Expected a list of items but got type "dict".')
    if not ids:
        raise RequestInvalid(reason="Expected a list of at least one UUID.")
    if len(ids) > BATCH:
        raise RequestInvalid(reason=f"Number of uuids exceeds the limit of {BATCH}.")
    problems: dict[str, str] = {str(id)[:64]: "Invalid" for id in ids if not is_id(id)}
    sound = [id.lower() for id in ids if is_id(id)]
    result: list[Document] = []
    for outcome in await ask.call.core.files.each(ask.grant, sound, act) if sound else ():
        if outcome.file is None:
            problems[outcome.id] = _problem(outcome.error)
        else:
            result.append(ask.shown(outcome.file, removed_at=removed_at))
    return {"status": "ok", "problems": problems, "result": result}


def _problem(error: SafelightError | None) -> str:
    return "Missing in the project" if error is None or isinstance(error, FileNotFound) else error.message
