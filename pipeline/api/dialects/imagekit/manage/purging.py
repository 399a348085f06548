"""`/v1/files/purge`: what was made of the files at an address is dropped, and made anew when it is asked for next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from aiohttp import web

from pipeline.api.dialects.imagekit.delivery.addresses import address_of
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import lasting
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.api.dialects.imagekit.manage.lasting import Doing, Work, look, pause
from pipeline.errors import FileNotFound, RequestInvalid
from pipeline.files import BATCH
from pipeline.model import File, FileQuery, Grant
from pipeline.records.lineages import lineage_of
from pipeline.vendors.imagekit import path_of

PURGE = "PURGE"
BAD_URL = "Invalid url"


async def create(ask: Ask) -> web.Response:
    return told({"requestId": (await begin(ask, ask.text("url"))).id}, 201)


async def status(ask: Ask) -> web.Response:
    work = await look(ask, ask.call.place("id")[:64], TYPES)
    if work is None:
        raise refused("No request found for this requestId.")
    return told({"status": work.status})


async def begin(ask: Ask, url: str, lineage: str | None = None) -> Work:
    """Purge an address, and with it a file that was there; refused for one that is not the project's."""
    path = path_in(ask, url.removesuffix("*"))
    said = {"path": path, "all": url.endswith("*"), "lineage": lineage}
    return await lasting.begin(ask, PURGE, said, _purge)


def path_in(ask: Ask, url: str) -> str:
    """What stands behind the project in one of its addresses, whichever host that names; refused for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise refused(BAD_URL) from cause
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused(BAD_URL)
    for start in _starts(ask, parts.hostname):
        if parts.path.startswith(start):
            return parts.path[len(start) :] + (f"?{parts.query}" if parts.query else "")
    raise refused(BAD_URL)


def _starts(ask: Ask, host: str) -> Sequence[str]:
    """How paths of the project's addresses begin, also those at the root of a host name."""
    whole = f"/imagekit/ik/{ask.project}/"
    place = ask.core.settings.hosts.get(host)
    return [whole, whole.removeprefix(f"/{place}")] if place else [whole]


def file_place(tail: str) -> tuple[str, str]:
    """Folder and name of the file that an address is of; refused for one that is of none."""
    try:
        address = address_of(tail)
    except (RequestInvalid, FileNotFound) as cause:
        raise refused(BAD_URL) from cause
    address = address.inner or address
    return address.folder, address.name


# What is done


async def _purge(ask: Ask, work: Work) -> None:
    for version in await ask.records.lineages.versions(ask.project, work.said["lineage"] or ""):
        await ask.core.files.redraw(ask.grant, version.id)
    if work.said["all"]:
        return await _all(ask, work.said["path"])
    file = await ask.records.lineages.at(ask.project, *file_place(work.said["path"]))
    for version in await ask.records.lineages.versions(ask.project, lineage_of(file)) if file else ():
        await ask.core.files.redraw(ask.grant, version.id)
    return None


async def _all(ask: Ask, path: str) -> None:
    """Purge every file whose path begins so."""
    parts = [part for part in unquote(path.partition("?")[0]).split("/") if not part.startswith("tr:")]
    start, folder = "/" + "/".join(parts), "/".join(parts[:-1])

    async def act(grant: Grant, id: str) -> File:
        await ask.core.files.redraw(grant, id)
        return await ask.core.files.get(grant, id)

    cursor = None
    while True:
        page = await ask.records.files.find(ask.project, FileQuery(below=folder or None), cursor, BATCH)
        if ids := [file.id for file in page.items if path_of(file).startswith(start)]:
            await ask.core.files.each(ask.grant, ids, act)
        cursor = page.next
        if cursor is None:
            return
        pause(ask)


TYPES: Mapping[str, Doing] = {PURGE: _purge}
