"""`/groups/` and `/project/`."""

from __future__ import annotations

from urllib.parse import unquote

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.paging import next_place, page, wish_of
from pipeline.api.dialects.uploadcare.rest import Ask, nothing, told
from pipeline.vendors.uploadcare import group_head, rest_group


async def listed(ask: Ask) -> web.Response:
    """Groups without their files."""
    wish, base = wish_of(ask, "datetime_created", "datetime_created"), ask.call.base_url
    passed = int(wish.after) if wish.after and wish.after.isdigit() and len(wish.after) < 9 else 0
    total, found = await ask.call.core.records.groups.within(
        ask.project, wish.since, down=wish.down, passed=passed, limit=wish.limit + 1
    )
    shown, place = found[: wish.limit], None
    if len(found) > wish.limit:
        first, last = found[wish.limit].created_at, shown[-1].created_at
        behind = sum(group.created_at == first for group in shown) + (passed if last == wish.since else 0)
        place = next_place((last, str(behind)), (first, ""))
    return told(page(ask, wish, [group_head(base, group) for group in shown], total, place))


async def get(ask: Ask) -> web.Response:
    groups = ask.call.core.groups
    group = await groups.get(ask.grant, unquote(ask.call.place("id")))
    return told(rest_group(ask.call.base_url, group, await groups.files(group)))


async def delete(ask: Ask) -> web.Response:
    await settled(ask.call.core.groups.delete(ask.grant, unquote(ask.call.place("id"))))
    return nothing()


async def project(ask: Ask) -> web.Response:
    project = ask.grant.project
    told_of = {"name": project.id, "pub_key": project.public_key, "autostore_enabled": project.auto_store}
    return told(told_of | {"collaborators": []})
