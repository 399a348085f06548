"""`/v1/groups`: fixed ordered lists of files, and all of one as an archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from aiohttp import web
from pydantic import Field

from pipeline.acts import settled
from pipeline.api.addresses import address
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.content import send
from pipeline.api.dialects.native.files import (
    CONTENT,
    IDEMPOTENCY,
    OPENING,
    RANGES,
    check_visitor,
    file_shape,
)
from pipeline.api.dialects.native.shapes import NAME_LENGTH, Ask, ContentQuery, FileShape, Listing, Paging, Shape
from pipeline.api.endpoint import PROJECT, Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import once
from pipeline.api.packing import send_archive
from pipeline.archives import FORMS, MEDIA_TYPES, Form
from pipeline.describe import BINARY, Raw
from pipeline.errors import (
    FileNotFound,
    GroupInvalid,
    GroupNotFound,
    MemberGone,
    MemberNotFound,
    RouteNotFound,
    SignatureExpired,
    SignatureInvalid,
)
from pipeline.groups import MOST
from pipeline.model import Group


class GroupAsk(Ask):
    files: tuple[str, ...] = Field(min_length=1, max_length=MOST, description="Ids, in order; one may come again.")


class GroupShape(Shape):
    """A fixed ordered list of files."""

    id: str = Field(description="A UUID, `~` and how many files it has.")
    created_at: datetime
    count: int
    files: tuple[FileShape | None, ...] = Field(description="Null in the place of a file that was deleted since.")
    archives: dict[str, str] = Field(
        description="Where all of it is fetched as `zip` or `tar`, without a key; empty when a file is gone."
    )


class ArchiveQuery(ContentQuery):
    name: str | None = Field(default=None, min_length=1, max_length=NAME_LENGTH, description="What it is saved as.")


async def create(call: Call) -> web.Response:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(GroupAsk, text)

    async def ready() -> Group:
        return call.core.groups.drafted(call.grant, ask.files)

    async def keep(group: Group) -> web.Response:
        await call.core.groups.create(group)
        return answer(await _shape(call, group), 201, {"Location": f"{call.base_url}/v1/groups/{group.id}"})

    return await once(call, ready, keep, digest=digest_of(text))


async def listed(call: Call) -> web.Response:
    query = call.query(Paging)
    page = await call.core.records.groups.list(call.project, query.cursor, query.limit)
    groups = [await _shape(call, group) for group in page.items]
    return answer(Listing[GroupShape](items=tuple(groups), next=page.next))


async def get(call: Call) -> web.Response:
    return answer(await _shape(call, await call.core.groups.get(call.grant, call.place("id"))))


async def delete(call: Call) -> web.Response:
    await settled(call.core.groups.delete(call.grant, call.place("id")))
    return web.Response(status=204)


async def member(call: Call) -> web.StreamResponse:
    query, group = call.query(ContentQuery), await _known(call)
    file = await call.core.groups.member(group, _number(call.place("number")))
    check_visitor(call, [file], call.request.path, query)
    return await send(call.request, file, call.core.storages[file.storage], download=query.download)


async def archive(call: Call) -> web.StreamResponse:
    query, group = call.query(ArchiveQuery), await _known(call)
    form = _form(call.place("form"))
    files = await call.core.groups.whole(group)
    check_visitor(call, files, _archive_path(group, form), query)
    return await send_archive(call, group, form, files, query.name)


async def _known(call: Call) -> Group:
    """The group of whichever project; who knows its id may see what is not private."""
    group = await call.core.groups.known(call.place("id"))
    if group.project in call.core.settings.projects:
        call.request[PROJECT] = call.core.settings.projects[group.project]
    return group


def _form(text: str) -> Form:
    for form in FORMS:
        if form == text:
            return form
    raise RouteNotFound


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise RouteNotFound
    return int(text)


def _archive_path(group: Group, form: Form) -> str:
    return f"/v1/groups/{group.id}/archive/{form}"


async def _shape(call: Call, group: Group) -> GroupShape:
    files = await call.core.groups.files(group)
    there = [file for file in files if file is not None]
    forms = FORMS if len(there) == len(files) else ()
    private = any(file.private for file in there)
    return GroupShape(
        id=group.id,
        created_at=group.created_at,
        count=len(group.files),
        files=tuple(file and file_shape(call, file) for file in files),
        archives={form: address(call, _archive_path(group, form), group.project, private=private) for form in forms},
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
        errors=(FileNotFound, GroupInvalid),
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
    Endpoint(
        "DELETE",
        "/v1/groups/{id}",
        "Forget a group; its files stay.",
        act=delete,
        tag="groups",
        answers={204: None},
        errors=(GroupNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/groups/{id}/files/{number}",
        "Fetch the bytes of one file of a group, counted from 0.",
        act=member,
        tag="groups",
        query=ContentQuery,
        headers=RANGES,
        answers=CONTENT,
        errors=(*OPENING[1:], GroupNotFound, MemberGone, MemberNotFound),
        public=True,
    ),
    Endpoint(
        "GET",
        "/v1/groups/{id}/archive/{form}",
        "Fetch all files of a group as a zip or a tar.",
        act=archive,
        tag="groups",
        query=ArchiveQuery,
        answers={200: tuple(Raw(media_type, BINARY) for media_type in MEDIA_TYPES.values())},
        errors=(GroupNotFound, MemberGone, SignatureInvalid, SignatureExpired),
        public=True,
    ),
)
