"""`/v1/groups`: fixed ordered lists of files."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import IDEMPOTENCY, file_shape
from pipeline.api.dialects.native.shapes import GroupAsk, GroupShape, Listing, Paging
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import once
from pipeline.errors import FileNotFound, GroupNotFound
from pipeline.model import Group, new_id


async def create(call: Call) -> web.Response:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(GroupAsk, text)

    async def ready() -> Group:
        return Group(id=new_id(), project=call.project, files=ask.files)

    async def keep(group: Group) -> web.Response:
        shape = await _shape(call, group)
        for file_id, file in zip(group.files, shape.files, strict=True):
            if file is None:
                raise FileNotFound(id=file_id)
        await call.core.records.groups.create(group)
        return answer(shape, 201, {"Location": f"{call.base_url}/v1/groups/{group.id}"})

    return await once(call, ready, keep, digest=digest_of(text))


async def listed(call: Call) -> web.Response:
    query = call.query(Paging)
    page = await call.core.records.groups.list(call.project, query.cursor, query.limit)
    groups = [await _shape(call, group) for group in page.items]
    return answer(Listing[GroupShape](items=tuple(groups), next=page.next))


async def get(call: Call) -> web.Response:
    group_id = call.id(GroupNotFound)
    group = await call.core.records.groups.get(group_id)
    if group.project != call.project:
        raise GroupNotFound(id=group_id)
    return answer(await _shape(call, group))


async def _shape(call: Call, group: Group) -> GroupShape:
    files = await call.core.records.files.get_many(group.files)
    return GroupShape(
        id=group.id,
        created_at=group.created_at,
        files=tuple(file_shape(call, file) if file and file.project == call.project else None for file in files),
    )


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/groups",
        "Make a group of files.",
        act=create,
        tag="groups",
        headers=IDEMPOTENCY,
        body=GroupAsk,
        answers={201: GroupShape},
        errors=(FileNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/groups",
        "List the project's groups, newest first.",
        act=listed,
        tag="groups",
        query=Paging,
        answers={200: Listing[GroupShape]},
    ),
    Endpoint(
        "GET",
        "/v1/groups/{id}",
        "Look at a group and its files.",
        act=get,
        tag="groups",
        answers={200: GroupShape},
        errors=(GroupNotFound,),
    ),
)
