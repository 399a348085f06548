"""`POST /api/v1/files/upload` and `/api/v2/files/upload`: a form with one file, and the file that came of it.

The versions differ in how pages show that they may: v1 by a signature of a token, v2 by a JWT of the whole form.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from pipeline.api.dialects.imagekit import auth
from pipeline.api.dialects.imagekit.checks import Checks
from pipeline.api.dialects.imagekit.content import opening
from pipeline.api.dialects.imagekit.errors import NO_FILE, refused
from pipeline.api.dialects.imagekit.extensions import check_extensions, start_extensions
from pipeline.api.dialects.imagekit.fields import fields_of
from pipeline.api.dialects.imagekit.form import Sent, reading
from pipeline.api.dialects.imagekit.manage.saved_extensions import resolved
from pipeline.api.dialects.imagekit.metadata import metadata_of
from pipeline.api.dialects.imagekit.storing import Storing
from pipeline.api.dialects.imagekit.transforms import check_transformation, make_posts, transformed
from pipeline.api.dialects.imagekit.wishes import wish_of
from pipeline.api.endpoint import Call, plain
from pipeline.errors import SafelightError
from pipeline.model import File, Grant
from pipeline.vendors.imagekit import Document, metadata_document, upload_document

Page = Callable[[Call, Mapping[str, str]], Awaitable[Grant]]


async def version_1(call: Call) -> web.Response:
    return await _uploaded(call, auth.page)


async def version_2(call: Call) -> web.Response:
    return await _uploaded(call, auth.bearer)


async def _uploaded(call: Call, page: Page) -> web.Response:
    grant = await auth.server(call) if auth.has_key(call) else None
    async with reading(call, _most(call, grant)) as sent:
        if grant is None:
            grant = await page(call, sent.fields)
        elif any(sent.get(name) for name in auth.SIGNING):
            raise refused(auth.PICK_ONE)
        if sent.content is None or not sent.content.size:
            raise refused(NO_FILE)
        return plain(await _document(call, grant, sent))


def _most(call: Call, grant: Grant | None) -> int:
    """The most bytes of a file; of any project's, when whose it is stands behind the file."""
    projects = [grant.project] if grant else call.core.settings.projects.values()
    return max((project.limits.direct_upload for project in projects), default=0)


async def _document(call: Call, grant: Grant, sent: Sent) -> Document:
    wish = wish_of(sent)
    extensions = await resolved(call.core, grant.project.id, wish.extensions)
    check_extensions(grant.project, extensions)
    fields = await fields_of(call.core, grant.project.id) if wish.needs_fields else {}
    checks = Checks(wish.checks, wish, fields) if wish.checks else None
    async with opening(call, grant, sent) as content:
        if wish.pre or wish.posts:
            check_transformation(wish, await content.mime())
        file = await _stored(call, Storing(call, wish, content, fields, checks))
    await make_posts(call, file, wish.posts)
    told = upload_document(call.base_url, file, fields, wish.asked)
    if extensions:
        told["extensionStatus"] = await start_extensions(call.core, grant, file, extensions, wish.webhook)
    return told | ({"metadata": await _metadata(call, file)} if "metadata" in wish.asked else {})


async def _metadata(call: Call, file: File) -> Document:
    """What can be found out in time: the file is there, whatever comes of looking at it."""
    try:
        return await metadata_of(call.core, file)
    except SafelightError:
        return metadata_document(file, {})


async def _stored(call: Call, storing: Storing) -> File:
    if storing.wish.pre is None:
        return await storing.file()
    return await transformed(call, storing, storing.wish.pre)
