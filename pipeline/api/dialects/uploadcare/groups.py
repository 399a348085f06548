"""`/group/`: fixed lists of files, each with what is to be done to it when it is delivered."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare import auth
from pipeline.api.dialects.uploadcare.errors import refused
from pipeline.api.dialects.uploadcare.params import FIELDS, read
from pipeline.api.endpoint import Call, plain
from pipeline.errors import FileNotFound
from pipeline.groups import MOST
from pipeline.model import Grant, Group
from pipeline.vendors.uploadcare import group_info

SHOWN = 200
"""How much of what cannot be read an error repeats."""

_ENTRY = re.compile(
    r"/?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/(?:-/(?P<effects>.+?))?/?)?", re.IGNORECASE | re.DOTALL
)


async def create(call: Call) -> web.Response:
    params = await read(call, most=FIELDS + MOST)
    grant = await auth.sender(call, params, "pub_key")
    entries = params.listed_files()
    if not entries:
        raise refused("GroupFilesInvalidError")
    if len(entries) > MOST:
        raise refused("FilesNumberLimitExceededError")
    members = [member(entry) for entry in entries]
    group = call.core.groups.drafted(grant, [id for id, _ in members], [effects for _, effects in members])
    return plain(await _told(call, await settled(_created(call, group))))


async def _created(call: Call, group: Group) -> Group:
    try:
        return await call.core.groups.create(group)
    except FileNotFound as cause:
        raise refused("GroupFilesNotFoundError") from cause


def member(entry: str) -> tuple[str, str]:
    """The file that an entry means, an id or an address at whatever host, and its effects as `crop/1x1/-/flip/`."""
    try:
        path = urlsplit(entry).path if "://" in entry else entry
    except ValueError as cause:
        raise refused("GroupFileURLParsingFailedError", entry[:SHOWN]) from cause
    match = _ENTRY.fullmatch(path)
    if match is None:
        raise refused("GroupFileURLParsingFailedError", entry[:SHOWN])
    effects = match.group("effects")
    return match.group(1).lower(), f"{effects}/" if effects else ""


async def info(call: Call) -> web.Response:
    params = await read(call)
    grant: Grant = auth.page(call, params, "pub_key")
    id = params.get("group_id")
    if not id:
        raise refused("GroupIdRequiredError")
    return plain(await _told(call, await call.core.groups.get(grant, unquote(id))))


async def _told(call: Call, group: Group) -> dict[str, object]:
    return group_info(call.base_url, group, await call.core.groups.files(group))
