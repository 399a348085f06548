"""`/v1/files/{id}/versions`: the versions of a file; one of them is the current one, and any can become it."""

from __future__ import annotations

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told, type_of, version_of, versions_of

CURRENT = "The current version of a file cannot be deleted; delete the file, or restore another version first."


async def listed(ask: Ask) -> web.Response:
    """All of them as a bare list, the current one first."""
    versions = await versions_of(ask)
    return told(await ask.documents(*((one, type_of(one, versions)) for one in reversed(versions))))


async def get(ask: Ask) -> web.Response:
    return told(await ask.document(*await version_of(ask)))


async def delete(ask: Ask) -> web.Response:
    version, type = await version_of(ask)
    if type == "file":
        raise refused(CURRENT)
    await settled(ask.core.files.delete(ask.grant, version.id))
    return nothing()


async def restore(ask: Ask) -> web.Response:
    """Make it the current version of its file."""
    version, _ = await version_of(ask)
    return told(await ask.document(await settled(ask.core.files.head(ask.grant, version.id))))
