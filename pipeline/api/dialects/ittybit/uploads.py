"""`/uploads` and `/store/...`: addresses that take one file from a page that knows no key, in a form or in chunks.

What was said when an address was asked for is kept beside the ticket that its `key` is, for as long as that is good.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web

from pipeline.acts import settled
from pipeline.api.bodies import Source, form_of
from pipeline.api.dialects.ittybit import collecting, media
from pipeline.api.dialects.ittybit.ask import Ask, text_of, told, view_of
from pipeline.api.dialects.ittybit.claims import intake_of
from pipeline.api.dialects.ittybit.conditions import look_of, tests_of
from pipeline.api.dialects.ittybit.errors import (
    BadRequest,
    EntityTooLarge,
    Missing,
    UrlExpired,
    UrlUnknown,
    UrlUsed,
)
from pipeline.api.dialects.ittybit.ranges import read_span
from pipeline.api.dialects.ittybit.tasks import automations, running
from pipeline.api.dialects.ittybit.versions import uploading
from pipeline.api.dialects.native.files import Received, declared_type
from pipeline.api.endpoint import Call
from pipeline.errors import RecordsUnavailable, SignatureExpired, SignatureInvalid, TicketUsed
from pipeline.model import File, Follow, Grant, Intake, new_id
from pipeline.vendors.ittybit.files import media_object

MOST_BYTES = 67_108_864
"""Of a simple upload with all that is around the file."""
LASTS = 1800
"""Seconds that an address is good for where nothing else is said."""
LONGEST = 604_800
PART = "file"


# Addresses


async def create(ask: Ask) -> web.Response:
    """An address for one file, of which all that can be told beforehand is checked now."""
    fields = ask.fields()
    await check(ask, fields)
    seconds, note, project = _lasts(fields), new_id(), ask.project
    said = {name: value for name, value in fields.items() if value is not None}
    if "media_id" in said:
        said["media_id"] = (await collecting.named(ask, said["media_id"])).id
    if said:
        await ask.call.core.records.notes.keep(project, _note(note), orjson.dumps(said).decode(), seconds + 60)
    ticket = ask.call.core.tickets.issue(ask.grant, Intake(marks={"note": note} if said else {}), seconds)
    way = "resumable" if fields.get("resumable") is True else "single"
    url = f"{ask.call.base_url}/ittybit/store/{way}?key={ticket.token}"
    expiry = int(ticket.expires_at.timestamp())
    return told(ask.call, {"url": url, "expiry": expiry, "resumable": way == "resumable"}, uploading(ask.call.request))


async def check(ask: Ask, fields: Mapping[str, Any]) -> None:
    """Raise what a file with these claims would be refused for, whatever its bytes are."""
    intake = intake_of(fields)
    tests_of(fields.get("conditions"))
    text_of(fields, "alias")
    ask.call.core.uploads.check(ask.grant, intake)
    if workflow := text_of(fields, "workflow_id"):
        await _workflow(ask, workflow)


async def _workflow(ask: Ask, workflow: str) -> None:
    if not workflow.startswith("auto_"):
        await running.flow_of(ask, workflow)
        return
    try:
        await automations.plan_of(ask, workflow)
    except Missing as cause:
        raise BadRequest(reason=f"Workflow `{workflow[:64]}` not found.") from cause


def _lasts(fields: Mapping[str, Any]) -> float:
    """Seconds until the `expiry` that is asked for, a time in Unix seconds; raises `BadRequest`."""
    expiry = fields.get("expiry")
    if expiry is None:
        return LASTS
    if isinstance(expiry, bool) or not isinstance(expiry, int) or not time.time() < expiry <= time.time() + LONGEST:
        raise BadRequest(reason="`expiry` must be a Unix timestamp within the next seven days.")
    return expiry - time.time()


def _note(id: str) -> str:
    return f"ittybit:upload:{id}"


# Simple uploads


async def single(call: Call) -> web.Response:
    """Take the file of a form in; an address is used up by that and by nothing else."""
    if (call.request.content_length or 0) > MOST_BYTES:
        raise EntityTooLarge
    try:
        async with call.core.tickets.use(_key(call)) as (grant, rules):
            call.speaks_for(grant)
            await call.core.records.rates.check(grant.project)
            said = await _said(call, grant, rules)
            async with Received(call, "ittybit") as received:
                file = await _from_form(call, received, said)
    except (TicketUsed, SignatureExpired, SignatureInvalid) as cause:
        raise _refused(cause) from cause
    return await _answered(call, grant, file, said)


def _key(call: Call) -> str:
    return call.request.query.get("key", "")


def _refused(fault: TicketUsed | SignatureExpired | SignatureInvalid) -> Exception:
    if isinstance(fault, TicketUsed):
        return UrlUsed()
    return UrlExpired() if isinstance(fault, SignatureExpired) else UrlUnknown()


async def _said(call: Call, grant: Grant, rules: Intake) -> Mapping[str, Any]:
    """What was said when the address was asked for."""
    note = rules.marks.get("note")
    text = await call.core.records.notes.get(grant.project.id, _note(note)) if note else None
    if note and text is None:
        raise UrlExpired
    said: dict[str, Any] = orjson.loads(text) if text else {}
    return said


async def _from_form(call: Call, received: Received, said: Mapping[str, Any]) -> File:
    form = await form_of(call.request, _Bounded(call.body))
    async for part in form:
        if part.name == PART or part.is_file:
            return await _taken(received, said, part.filename, part.media_type, part)
    raise BadRequest(reason="The form has no part `file`.")


class _Bounded:
    """A body of at most as many bytes as a simple upload may have; raises `EntityTooLarge`."""

    def __init__(self, body: Source) -> None:
        self._body = body
        self.received = 0

    async def read(self) -> bytes:
        piece = await self._body.read()
        self.received = self._body.received
        if self.received > MOST_BYTES:
            raise EntityTooLarge
        return piece


async def _taken(
    received: Received, said: Mapping[str, Any], name: str | None, media_type: str | None, chunks: AsyncIterable[bytes]
) -> File:
    grant, claimed = received.grant, claims(received.grant, said, name)
    intake = claimed.model_copy(update={"declared_type": declared_type(media_type)})
    limit = min(grant.project.limits.direct_upload, MOST_BYTES)
    bounded = intake.model_copy(update={"max_size": limit})
    return await received.take(bounded, chunks, look_of(tests_of(said.get("conditions"))))


def claims(grant: Grant, said: Mapping[str, Any], name: str | None) -> Intake:
    """What was said beforehand of a file that is called so by its sender."""
    intake = intake_of(said, name or "file")
    flow = grant.project.workflows.get(said.get("workflow_id") or "")
    follow = Follow(flow=flow, metadata=intake.metadata) if flow else None
    return intake.model_copy(update={"follow": follow, "root": said.get("media_id")})


async def _answered(call: Call, grant: Grant, file: File, said: Mapping[str, Any]) -> web.Response:
    """The media that a file begins, once all that was asked for with it has been begun."""
    version = uploading(call.request)
    ask = Ask(call, grant, version)
    with suppress(RecordsUnavailable):  # the file is there, and an error would have it sent again
        await settled(_followed(ask, file, said))
    shown = collecting.alone(file)
    if file.root:
        with suppress(RecordsUnavailable):
            shown = await collecting.known(call.core, grant, file.root) or shown
    return told(call, media_object(view_of(call, grant, version), shown, union=True), version)


async def _followed(ask: Ask, file: File, said: Mapping[str, Any]) -> None:
    if alias := said.get("alias"):
        await media.name(ask, alias, file.id)
    workflow = said.get("workflow_id") or ""
    if workflow.startswith("auto_"):
        with suppress(Missing):
            # One that is triggered by every new file has been started for this one.
            if not await automations.is_triggered(ask, workflow):
                await (await automations.plan_of(ask, workflow)).run(ask, file.id, file.metadata)


# Resumable uploads


async def chunk(call: Call) -> web.Response:
    """Take one chunk in, wherever it belongs; several may come at once, and again."""
    grant, said, name = await _shown(call)
    span = read_span(call)
    intake = claims(grant, said, None)
    await call.core.records.notes.keep(grant.project.id, _total(name), str(span.total), LONGEST)
    await call.core.ranging.put(grant, f"{name}:{span.total}", intake, span, call.body)
    version = uploading(call.request)
    return told(call, {"received": span.length, "start": span.start, "total": span.total}, version, 202)


async def finish(call: Call) -> web.Response:
    """Make the chunks a file; asked again for a minute it is told of again."""
    try:
        async with call.core.tickets.use(_key(call)) as (grant, rules):
            call.speaks_for(grant)
            said = await _said(call, grant, rules)
            file = await settled(_finished(call, grant, said))
    except TicketUsed as cause:
        return await _told_again(call, cause)
    except (SignatureExpired, SignatureInvalid) as cause:
        raise _refused(cause) from cause
    return await _answered(call, grant, file, said)


async def _finished(call: Call, grant: Grant, said: Mapping[str, Any]) -> File:
    _, name = call.core.tickets.name(_key(call))
    total = await call.core.records.notes.get(grant.project.id, _total(name))
    if total is None:
        raise BadRequest(reason="No chunk has been uploaded.")
    look = look_of(tests_of(said.get("conditions")))
    file = await call.core.ranging.finish(grant, f"{name}:{total}", claims(grant, said, None), int(total), look=look)
    call.metrics.uploads.labels("ittybit", "accepted").inc()
    return file


async def _told_again(call: Call, used: TicketUsed) -> web.Response:
    grant, name = call.core.tickets.name(_key(call))
    call.speaks_for(grant)
    total = await call.core.records.notes.get(grant.project.id, _total(name))
    file = await call.core.ranging.became(grant, f"{name}:{total}") if total else None
    if file is None:
        raise _refused(used) from used
    return await _answered(call, grant, file, {})


async def _shown(call: Call) -> tuple[Grant, Mapping[str, Any], str]:
    """Whose an address is, what was said of its file, and its name; raises `UrlUsed`, `UrlExpired` or `UrlUnknown`."""
    try:
        grant, rules, name = await call.core.tickets.look(_key(call))
    except (TicketUsed, SignatureExpired, SignatureInvalid) as cause:
        raise _refused(cause) from cause
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant, await _said(call, grant, rules), name


def _total(name: str) -> str:
    return f"ittybit:total:{name}"
