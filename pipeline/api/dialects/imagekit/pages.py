"""`GET /imagekit/auth/<project>`: the authentication endpoint that the vendor has its customers write themselves.

Answered to whoever has a key of the project, and to pages whose origin the project's `cors_origins` name, unless it
takes `require_signed_uploads`: then only a server that knows its own users may hand signatures out. `*` names nobody.
"""

from __future__ import annotations

from aiohttp import web

from pipeline.api.dialects.imagekit import auth
from pipeline.api.dialects.imagekit.errors import UNKNOWN_KEY, invalid, refused
from pipeline.api.endpoint import Call, plain
from pipeline.model import Grant, Project

LONGEST = 256
"""Characters of a token that a page chose."""


async def authentication(call: Call) -> web.Response:
    project = await _entitled(call)
    token, expire = call.request.query.get("token"), call.request.query.get("expire")
    if token is not None and not 0 < len(token) <= LONGEST:
        raise invalid("token")
    if expire is not None and not (expire.isascii() and expire.isdigit() and len(expire) <= auth.DIGITS):
        raise invalid("expire", "It should be a Unix time in seconds.")
    answer = plain(auth.parameters(project, token, int(expire) if expire else None))
    answer.headers["Cache-Control"] = "no-store"  # some browsers would show one token twice
    return answer


async def _entitled(call: Call) -> Project:
    """The project of the path, for those that may have its signatures; refused for all others."""
    name = call.place("project")
    if auth.has_key(call):
        grant = await auth.server(call)
    elif call.visitor is not None:
        grant = call.visitor
    else:
        grant = await _of_page(call, name)
    if grant.project.id != name or (grant.public and not _is_own_page(call, grant.project)):
        raise refused(UNKNOWN_KEY, 403)
    return grant.project


async def _of_page(call: Call, name: str) -> Grant:
    project = call.core.settings.projects.get(name)
    if project is None:
        raise refused(UNKNOWN_KEY, 403)
    grant = Grant(project=project, public=True)
    call.speaks_for(grant)
    await call.core.records.rates.check(project)
    return grant


def _is_own_page(call: Call, project: Project) -> bool:
    return not project.require_signed_uploads and call.header("Origin") in project.cors_origins
