"""`/base/` and `/info/`: files sent in a form, and what is known of one."""

from __future__ import annotations

import re

from aiohttp import web

from pipeline import sniff
from pipeline.api.dialects.native.files import Received, declared_type
from pipeline.api.dialects.uploadcare import auth
from pipeline.api.dialects.uploadcare.errors import refused
from pipeline.api.dialects.uploadcare.params import Params, Sent, read, read_files
from pipeline.api.endpoint import UUID, Call, plain
from pipeline.model import Grant, Intake
from pipeline.vendors.uploadcare import file_info

PUB_KEY = "UPLOADCARE_PUB_KEY"
_ESCAPED = re.compile("%(22|0D|0A)", re.IGNORECASE)


async def base(call: Call) -> web.Response:
    """Every part with a filename is a file; the answer says by field which file it became."""
    with await read_files(call, largest(call)) as params:
        grant = await auth.sender(call, params, PUB_KEY)
        intake = intake_of(grant, params, params.get("UPLOADCARE_STORE"))
        _check_files(grant, params)
        received = Received(call, "uploadcare")
        async with received:
            made = {sent.field: await _accepted(received, intake, sent) for sent in params.files}
    return plain(made)


def largest(call: Call) -> int:
    """The most bytes that a direct upload to any project may have; whose it is can be told behind the file."""
    return max((project.limits.direct_upload for project in call.core.settings.projects.values()), default=0)


def _check_files(grant: Grant, params: Params) -> None:
    if not params.files:
        raise refused("FilesRequiredError")
    if any(sent.content.size > grant.project.limits.direct_upload for sent in params.files):
        raise refused("RequestSizeLimitExceededError")


async def _accepted(received: Received, intake: Intake, sent: Sent) -> str:
    claims = {
        "name": spelled(sent.name),
        "declared_type": declared_type(sent.media_type),
        "declared_size": sent.content.size,
    }
    return (await received.take(intake.model_copy(update=claims), aiter(sent.content))).id


def spelled(name: str) -> str:
    """A file name as it was before a form's three escapes (WHATWG HTML, multipart/form-data encoding)."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), name)


def intake_of(grant: Grant, params: Params, store: str) -> Intake:
    """What a request of an upload claims, beside the file's own name, type and size.

    Raises `MetadataInvalid` or `TagInvalid`, and refuses to store where the project leaves that to nobody.
    """
    if store == "1" and not grant.project.auto_store:
        raise refused("AutostoreDisabledError")
    return Intake(
        metadata=params.metadata(),
        tags=params.tags(),
        store={"1": True, "auto": None}.get(store, False),
        dialect="uploadcare",
    )


def typed(content_type: str) -> str | None:
    """A declared type as a claim, None when it claims nothing."""
    return declared_type(sniff.canonical(content_type)) if "/" in content_type else None


async def info(call: Call) -> web.Response:
    params = await read(call)
    grant = auth.page(call, params, "pub_key")
    id = params.get("file_id")
    if not id:
        raise refused("FileIdRequiredError")
    if not UUID.fullmatch(id):
        raise refused("FileIdInvalidError")
    return plain(file_info(await call.core.files.get(grant, id.lower())))
