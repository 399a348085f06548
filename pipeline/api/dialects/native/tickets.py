"""`/v1/tickets`: one-time addresses for those who have no key."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.api.bodies import FORM, Form, is_form
from pipeline.api.dialects.native.files import (
    BYTES,
    FORM_SCHEMA,
    SENDING,
    Received,
    declared_type,
    file_shape,
    part_intake,
)
from pipeline.api.dialects.native.shapes import FileShape, TicketAsk, TicketShape
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.describe import Raw
from pipeline.disposition import disposition_name
from pipeline.errors import BodyEmpty, RequestInvalid, RouteUnknown, SignatureExpired, SignatureInvalid, TicketUsed
from pipeline.model import Intake


async def issue(call: Call) -> web.Response:
    ask = await call.json(TicketAsk)
    rules = ask.model_dump(exclude={"expires_in"}, exclude_none=True)
    ticket = call.core.tickets.issue(call.grant, Intake(**rules), ask.expires_in)
    url = f"{call.base_url}/v1/once/{ticket.token}"
    return answer(TicketShape(url=url, expires_at=ticket.expires_at), 201, {"Cache-Control": "no-store"})


async def use(call: Call) -> web.Response:
    async with call.core.tickets.use(call.place("token")) as (grant, rules):
        call.speaks_for(grant)
        async with Received(call) as received:
            await (_take_form if is_form(call.request) else _take_body)(call, rules, received)
            (file,) = received.files
    return answer(file_shape(call, file), 201, {"Location": f"{call.base_url}/v1/files/{file.id}"})


async def _take_form(call: Call, rules: Intake, received: Received) -> None:
    async for part in Form(call.request, call.body):
        if not part.is_file or received.files:
            raise RequestInvalid(reason="This address takes a form with one file and nothing else.")
        await received.take(_claimed(rules, part_intake(part)), part)
    if not received.files:
        raise BodyEmpty


async def _take_body(call: Call, rules: Intake, received: Received) -> None:
    if not call.request.body_exists:
        raise BodyEmpty
    declared = declared_type(call.request.content_type) if call.header("Content-Type") else None
    name = disposition_name(call.header("Content-Disposition") or "") or "file"
    claim = Intake(name=name, declared_type=declared, declared_size=call.request.content_length)
    await received.take(_claimed(rules, claim), call.body)


def _claimed(rules: Intake, claim: Intake) -> Intake:
    """What the ticket fixed, and of the rest what its bearer says."""
    told = {"declared_type": claim.declared_type, "declared_size": claim.declared_size}
    name = rules.name if "name" in rules.model_fields_set else claim.name
    return rules.model_copy(update={**told, "name": name})


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/tickets",
        "Get an address that takes one file from somebody without a key.",
        act=issue,
        tag="uploads",
        body=TicketAsk,
        answers={201: TicketShape},
        errors=(RouteUnknown,),
    ),
    Endpoint(
        "POST",
        "/v1/once/{token}",
        "Send the one file a ticket is good for; a refused one leaves the ticket as it was.",
        act=use,
        tag="uploads",
        body=(BYTES, Raw(FORM, FORM_SCHEMA)),
        answers={201: FileShape},
        errors=(*SENDING, TicketUsed, SignatureInvalid, SignatureExpired),
        public=True,
    ),
)
