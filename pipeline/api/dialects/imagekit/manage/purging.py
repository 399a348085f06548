"""`/v1/files/purge`: what was made of the files at an address is dropped, and made anew when it is asked for next."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from aiohttp import web

from pipeline.api.dialects.imagekit.delivery.addresses import address_of
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage import hauls
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.api.dialects.imagekit.manage.hauls import status_of
from pipeline.errors import FileNotFound, RequestInvalid
from pipeline.model import Haul, Redraw

PURGE = "PURGE"
BAD_URL = "Invalid url"


async def create(ask: Ask) -> web.Response:
    return told({"requestId": (await begun(ask, wish_of(ask, ask.text("url")))).id}, 201)


async def status(ask: Ask) -> web.Response:
    return told({"status": status_of(await hauls.found(ask, [PURGE], "No request found for this requestId."))})


async def begun(ask: Ask, wish: Redraw) -> Haul:
    """Purge what is named."""
    return await hauls.begun(ask, PURGE, wish)


def wish_of(ask: Ask, url: str) -> Redraw:
    """What an address names, with a `*` all whose paths begin so; refused for one that is not the project's."""
    path = path_in(ask, url.removesuffix("*"))
    if url.endswith("*"):
        parts = unquote(path.partition("?")[0]).split("/")
        return Redraw(path="/" + "/".join(part for part in parts if not part.startswith("tr:")), every=True)
    folder, name = file_place(path)
    return Redraw(path=f"/{folder}/{name}" if folder else f"/{name}")


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
