"""`/files`: list, look at, give other metadata, delete; uploads that are awaited or were refused are among them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import merge
from itertools import islice

from aiohttp import web

from pipeline import labels
from pipeline.acts import settled
from pipeline.api.dialects.uploadkit import auth, rows
from pipeline.api.dialects.uploadkit.errors import told_of
from pipeline.api.dialects.uploadkit.params import KeysAsk, ListQuery, MetadataAsk, body, query
from pipeline.api.dialects.uploadkit.rows import Kept
from pipeline.api.endpoint import Call, plain
from pipeline.errors import FileNotFound, SafelightError
from pipeline.files import AT_ONCE
from pipeline.model import Edit, File, FileQuery, Grant, Upload, now
from pipeline.records.base import score
from pipeline.records.failures import Failure
from pipeline.records.finding import Order, Spot
from pipeline.vendors.uploadkit import Document, kept_metadata, key_of

NEWEST = Order()


async def listed(call: Call) -> web.Response:
    grant = await auth.server(call)
    wish = query(call, ListQuery)
    spot = NEWEST.spot(wish.cursor)
    found = await newest(call, grant, wish.limit + 1, spot)
    shown, more = found[: wish.limit], len(found) > wish.limit
    following = NEWEST.cursor(_spot(shown[-1])) if more else None
    told = [rows.of(call, kept) for kept in shown]
    return plain({"files": told, "nextCursor": following, "hasMore": more})


async def newest(call: Call, grant: Grant, limit: int, spot: Spot | None = None) -> list[Kept]:
    """Files, awaited and refused uploads by when they came to be, from behind a place on."""
    spot, records = spot or Spot(), call.core.records
    files: Sequence[Kept] = await _files(call, grant, limit, spot)
    uploads: Sequence[Kept] = await records.uploads.waiting(grant.project.id, (spot.key, spot.id), limit)
    failures: Sequence[Kept] = await records.failures.list(grant.project.id, (spot.key, spot.id), limit)
    return list(islice(merge(files, uploads, failures, key=_spot_order, reverse=True), limit))


async def _files(call: Call, grant: Grant, limit: int, spot: Spot) -> list[File]:
    found: list[File] = []
    cursor = NEWEST.cursor(spot) if spot.id else None
    while len(found) < limit:
        page = await call.core.records.files.find(grant.project.id, FileQuery(), cursor, limit - len(found), NEWEST)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    return found


def _spot(kept: Kept) -> Spot:
    id, born = rows.id_and_birth(kept)
    return Spot(str(score(born)), id)


def _spot_order(kept: Kept) -> tuple[int, str]:
    id, born = rows.id_and_birth(kept)
    return score(born), id


async def get(call: Call) -> web.Response:
    grant = await auth.server(call)
    row = rows.of(call, await rows.named(call, grant, call.place("key")))
    return plain({**row, "file": row})


async def change(call: Call) -> web.Response:
    """Give it this metadata and nothing else."""
    grant = await auth.server(call)
    metadata = labels.metadata(kept_metadata((await body(call, MetadataAsk)).metadata))
    row = rows.of(call, await settled(_described(call, grant, call.place("key"), metadata)))
    return plain({**row, "file": row})


async def _described(call: Call, grant: Grant, key: str, metadata: dict[str, str]) -> File | Upload:
    kept = await rows.named(call, grant, key)
    if isinstance(kept, Failure):
        raise rows.missing_key(key)  # no file will ever have it
    if isinstance(kept, Upload):
        await call.core.records.uploads.describe(kept.id, metadata)
        return await call.core.uploads.known(grant, kept.id)
    return await call.core.files.edit(grant, kept.id, Edit(metadata=metadata))


async def delete(call: Call) -> web.Response:
    grant = await auth.server(call)
    kept = await rows.named(call, grant, call.place("key"))
    await settled(_removed(call, grant, kept))
    return plain({"ok": True, "deleted": True, "key": key_of(kept.upload if isinstance(kept, Failure) else kept)})


async def _removed(call: Call, grant: Grant, kept: Kept) -> int:
    """Remove it and tell how many bytes that gave back; what a file was is remembered for some days."""
    if isinstance(kept, Failure):
        await call.core.records.failures.delete(grant.project.id, kept.upload.id)
        return 0
    if isinstance(kept, Upload):
        await call.core.uploads.abort(grant, kept.id)
        return 0
    file = await call.core.files.delete(grant, kept.id)
    await call.core.records.removals.note(file, now())
    return file.size


async def delete_many(call: Call) -> web.Response:
    grant = await auth.server(call)
    keys = list(dict.fromkeys((await body(call, KeysAsk)).keys))
    outcome = await settled(_batch(call, grant, keys))
    status = 200 if not outcome["failed"] else 207 if outcome["deleted"] else 404
    answer = plain(outcome)
    answer.set_status(status)
    return answer


async def _batch(call: Call, grant: Grant, keys: Sequence[str]) -> Document:
    turns = asyncio.Semaphore(AT_ONCE)

    async def remove(key: str) -> int | Document:
        async with turns:
            try:
                return await _removed(call, grant, await rows.named(call, grant, key))
            except SafelightError as error:
                return _failure(key, error)

    outcomes = await asyncio.gather(*map(remove, keys))
    reclaimed = [one for one in outcomes if isinstance(one, int)]
    failures = [one for one in outcomes if not isinstance(one, int)]
    counts = {"deleted": len(reclaimed), "failed": len(failures)}
    return {**counts, "failures": failures, "reclaimedBytes": sum(reclaimed)}


def _failure(key: str, error: SafelightError) -> Document:
    code = "NOT_FOUND" if isinstance(error, FileNotFound) else "STORAGE_DELETE_FAILED"
    return {"key": key, "code": code, "message": told_of(error, "sdk").text}
