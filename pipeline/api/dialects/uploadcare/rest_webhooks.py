"""`/webhooks/`: each tells one address of one event, in the vendor's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.rest import Ask, nothing, required, told, truth
from pipeline.api.dialects.uploadcare.rest_errors import Complaints, complaint
from pipeline.errors import AddressRefused, UrlInvalid, WebhookExists, WebhookNotFound
from pipeline.model import HookEvent, HookSecret, HookStanding, Webhook
from pipeline.vendors.uploadcare import Document, moment, project_number
from pipeline.webhooks.dialects.uploadcare import EVENTS

LONGEST_URL = 255
LONGEST_SECRET = 32
OURS: Mapping[str, HookEvent] = {theirs: ours for ours, theirs in EVENTS.items()}
"""What the vendor's events are called here."""


async def listed(ask: Ask) -> web.Response:
    """All of them, as a bare list."""
    return told([_shown(ask, *one) for one in await _own(ask)])


async def create(ask: Ask) -> web.Response:
    fields = ask.fields()
    url, event = _url(fields), _event(fields)
    return told(_shown(ask, *await settled(_created(ask, url, event, fields))), 201)


async def _created(ask: Ask, url: str, event: HookEvent, fields: Mapping[str, Any]) -> tuple[Webhook, HookStanding]:
    secret = _secret(fields)
    secrets = [secret] if secret else []
    try:
        made = await ask.call.core.webhooks.create(ask.grant, url, [event], secrets, "uploadcare")
    except WebhookExists as cause:
        raise _twice() from cause
    except (AddressRefused, UrlInvalid) as cause:
        raise complaint("target_url", cause.message) from cause
    if truth(fields.get("is_active")) is False:
        return await ask.call.core.webhooks.disable(ask.grant, made.id)
    return await ask.call.core.webhooks.get(ask.grant, made.id)


async def change(ask: Ask) -> web.Response:
    webhook, _ = await _numbered(ask)
    return told(_shown(ask, *await settled(_changed(ask, webhook, ask.fields()))))


async def _changed(ask: Ask, webhook: Webhook, fields: Mapping[str, Any]) -> tuple[Webhook, HookStanding]:
    wanted: dict[str, Any] = {}
    if fields.get("target_url") is not None:
        wanted["url"] = _url(fields)
    if fields.get("event") is not None:
        wanted["events"] = (_event(fields),)
    if "signing_secret" in fields:
        secret = _secret(fields)
        wanted["secrets"] = (HookSecret(value=secret),) if secret else ()
    webhooks, active = ask.call.core.webhooks, truth(fields.get("is_active"))
    try:
        if wanted:
            await webhooks.change(ask.grant, webhook.id, **wanted)
    except WebhookExists as cause:
        raise _twice() from cause
    except (AddressRefused, UrlInvalid) as cause:
        raise complaint("target_url", cause.message) from cause
    if active is None:
        return await webhooks.get(ask.grant, webhook.id)
    return await (webhooks.enable if active else webhooks.disable)(ask.grant, webhook.id)


async def delete(ask: Ask) -> web.Response:
    webhook, _ = await _numbered(ask)
    await settled(ask.call.core.webhooks.delete(ask.grant, webhook.id))
    return nothing()


async def unsubscribe(ask: Ask) -> web.Response:
    """Delete every webhook of an address."""
    url = required(ask.fields(), "target_url")
    found = [webhook for webhook, _ in await _own(ask) if webhook.url == url]
    if not found:
        raise WebhookNotFound(id=url[:64])
    for webhook in found:
        await settled(ask.call.core.webhooks.delete(ask.grant, webhook.id))
    return nothing()


async def _own(ask: Ask) -> list[tuple[Webhook, HookStanding]]:
    """Those that were made here; what the settings list, or another API made, is not the vendor's."""
    known = await ask.call.core.webhooks.list(ask.grant)
    return [one for one in known if one[0].dialect == "uploadcare" and one[0].origin == "api"]


async def _numbered(ask: Ask) -> tuple[Webhook, HookStanding]:
    number = ask.call.place("id")
    for one in await _own(ask):
        if str(one[0].number) == number:
            return one
    raise WebhookNotFound(id=number[:64])


def _url(fields: Mapping[str, Any]) -> str:
    url = required(fields, "target_url")
    if len(url) > LONGEST_URL:
        raise complaint("target_url", f"Ensure this field has no more than {LONGEST_URL} characters.")
    if urlsplit(url).scheme not in ("http", "https"):
        raise complaint("target_url", "Enter a valid URL.")
    return url


def _event(fields: Mapping[str, Any]) -> HookEvent:
    event = required(fields, "event")
    if event not in OURS:
        raise complaint("event", f'"{event[:64]}" is not a valid choice.')
    return OURS[event]


def _secret(fields: Mapping[str, Any]) -> str:
    secret = str(fields.get("signing_secret") or "")
    if len(secret) > LONGEST_SECRET:
        raise complaint("signing_secret", f"Ensure this field has no more than {LONGEST_SECRET} characters.")
    return secret


def _twice() -> Complaints:
    return complaint("non_field_errors", "This project is already subscribed on this event")


def _shown(ask: Ask, webhook: Webhook, standing: HookStanding) -> Document:
    return {
        "id": webhook.number,
        "project": project_number(ask.project),
        "created": moment(webhook.created_at),
        "updated": moment(webhook.updated_at),
        "event": EVENTS[webhook.events[0]],
        "target_url": webhook.url,
        "is_active": standing.disabled_at is None,
        "signing_secret": webhook.secrets[0].value if webhook.secrets else None,
        "version": "0.7",
    }
