"""`/signatures`: addresses of the delivery domain that whoever knows them may fetch, or put a file to, for a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from pipeline.api.dialects.ittybit import places
from pipeline.api.dialects.ittybit.ask import Ask, text_of
from pipeline.api.dialects.ittybit.claims import intake_of, place_of
from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.api.dialects.ittybit.uploads import check

METHODS = ("get", "put", "post", "delete")
LASTS = 3600
LONGEST = 10 * 365 * 86_400
OWN = frozenset({"filename", "folder", "expiry", "method"})


async def create(ask: Ask) -> web.Response:
    """A signed address, and what it is signed of."""
    fields = ask.fields()
    if not text_of(fields, "filename"):
        raise BadRequest(reason="`filename` is required.")
    method, expiry = str(fields.get("method") or "get").lower(), _expiry(fields)
    if method not in METHODS:
        raise BadRequest(reason=f"`method` must be one of {', '.join(METHODS)}.")
    place = place_of(fields)
    folder, filename = place.folder or "", place.name or ""
    path = f"{folder}/{filename}" if folder else filename
    signature, url = places.signed(ask.call, ask.grant.project, path, expiry, method)
    await _keep(ask, fields, signature, expiry)
    told = {
        "domain": places.domain_of(ask.call, ask.grant.project),
        "filename": filename,
        "folder": folder or None,
        "expiry": expiry,
        "method": method,
        "signature": signature,
        "url": url,
    }
    return ask.told(told, 201)


def _expiry(fields: Mapping[str, Any]) -> int:
    """The time that is asked for, Unix seconds; raises `BadRequest`."""
    expiry = fields.get("expiry")
    if expiry is None:
        return int(time.time()) + LASTS
    if isinstance(expiry, bool) or not isinstance(expiry, int) or not time.time() < expiry <= time.time() + LONGEST:
        raise BadRequest(reason="`expiry` must be a Unix timestamp in the future.")
    return expiry


async def _keep(ask: Ask, fields: Mapping[str, Any], signature: str, expiry: int) -> None:
    """Remember what else is said of the file that is to be put there, such as its metadata."""
    said = {name: value for name, value in fields.items() if name not in OWN and value is not None}
    if not said:
        return
    await check(ask, said)
    intake_of(said)
    seconds = min(expiry - time.time(), 30 * 86_400) + 60
    await ask.call.core.records.notes.keep(ask.project, note_of(signature), orjson.dumps(said).decode(), seconds)


def note_of(signature: str) -> str:
    """Under which name it is remembered what is said of an address."""
    return f"ittybit:signed:{signature[:100]}"
