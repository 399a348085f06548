"""The addresses that take the bytes of one file by PUT: the bucket's own, or ours, which are signed in the same manner.

Ours have in `X-Amz-Signature` the HMAC-SHA256, hex, of `PUT`, the key, type and length of the body, and the Unix second
they end at, with line feeds between; so a body of another type or length is refused like a forged address.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiohttp import web

from pipeline.api.dialects.uploadkit import routes
from pipeline.api.endpoint import Call
from pipeline.errors import SignatureExpired, SignatureInvalid
from pipeline.model import Grant, Project, Upload
from pipeline.signing import secrets_of
from pipeline.uploads.parts import PART, put_type
from pipeline.vendors.uploadkit import escaped, key_of, parts_of

LASTS = 900
"""Seconds for which an address takes bytes."""
ADDRESS, PART_ADDRESS = "/uploadkit/storage/", "/uploadkit/parts/"
MOMENT = "%Y%m%dT%H%M%SZ"


async def address(call: Call, upload: Upload) -> str:
    """Where all bytes of an upload are to be put."""
    theirs = await call.core.parts.storage_url(upload, LASTS)
    return theirs or call.base_url + _own(call.core.settings.projects[upload.project], upload)


def _own(project: Project, upload: Upload) -> str:
    key, at = key_of(upload), int(time.time())
    secret = next(iter(derived(project, "put")), None)
    if secret is None:
        raise SignatureInvalid
    size = upload.intake.declared_size or 0
    query = {
        "X-Amz-Date": datetime.fromtimestamp(at, UTC).strftime(MOMENT),
        "X-Amz-Expires": LASTS,
        "X-Amz-SignedHeaders": "content-length;content-type",
        "X-Amz-Signature": signature(secret, key, put_type(upload), size, at + LASTS),
    }
    return f"{ADDRESS}{escaped(key)}?{urlencode(query)}"


def derived(project: Project, purpose: str) -> Sequence[bytes]:
    """The secrets that sign for one purpose, the one that signs first."""
    return [hmac.digest(secret, f"uploadkit {purpose}".encode(), "sha256") for secret in secrets_of(project)]


def signature(secret: bytes, key: str, media_type: str, length: int, expires: int) -> str:
    """What an address for this key, type, length and end has in it."""
    told = f"PUT\n{key}\n{media_type}\n{length}\n{expires}"
    return hmac.digest(secret, told.encode(errors="surrogateescape"), "sha256").hex()


async def put(call: Call) -> web.Response:
    """Take the bytes, again as often as need be until the upload is complete."""
    key = call.place("key")
    grant, route, id = _meant(call, key)
    expires, length = _expiry(call), call.request.content_length
    size = await _declared(call, grant, id) if length is None else length  # what is not told is measured
    given, media_type = call.request.query.get("X-Amz-Signature", ""), call.header("Content-Type") or ""
    if not _is_signed(grant.project, given, key, media_type, size, expires):
        raise SignatureInvalid
    call.speaks_for(grant)
    await call.core.parts.put(routes.known(grant, route), id, call.body, media_type, length)
    return _taken(id)


async def _declared(call: Call, grant: Grant, id: str) -> int:
    return (await call.core.uploads.known(grant, id)).intake.declared_size or 0


async def put_part(call: Call) -> web.Response:
    """Take one part; sent again it replaces the earlier one, and of its type nothing is asked."""
    grant, id, number = call.core.parts.opened(PART, call.place("token"))
    upload = await call.core.uploads.known(grant, id)
    call.speaks_for(grant)
    known = routes.known(grant, upload.intake.route)
    await call.core.parts.put_part(known, id, number, call.body, call.request.content_length)
    return _taken(f"{id}-{number}")


def _taken(tag: str) -> web.Response:
    return web.Response(headers={"ETag": f'"{tag}"', "Cache-Control": "no-store"})


def _meant(call: Call, key: str) -> tuple[Grant, str, str]:
    """Whose a key is, its route and its id."""
    parts = parts_of(key)
    if parts is None or parts[0] not in call.core.settings.projects:
        raise SignatureInvalid
    return Grant(project=call.core.settings.projects[parts[0]]), key.split("/")[1], parts[1]


def _expiry(call: Call) -> int:
    """The Unix second an address ends at; raises `SignatureExpired` behind it."""
    date, seconds = call.request.query.get("X-Amz-Date", ""), call.request.query.get("X-Amz-Expires", "")
    try:
        expires = int(datetime.strptime(date, MOMENT).replace(tzinfo=UTC).timestamp()) + int(seconds[:6])
    except ValueError as cause:
        raise SignatureInvalid from cause
    if expires < time.time():
        raise SignatureExpired
    return expires


def _is_signed(project: Project, given: str, key: str, media_type: str, size: int, expires: int) -> bool:
    told, fits = given.lower().encode(errors="replace"), False
    for secret in derived(project, "put"):
        fits |= hmac.compare_digest(signature(secret, key, media_type, size, expires).encode(), told)
    return fits
