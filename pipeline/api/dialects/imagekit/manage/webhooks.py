"""`/v1/accounts/webhooks`: each tells one address of the vendor's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import invalid, missing, refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, nothing, told
from pipeline.api.dialects.imagekit.manage.details import texts_of
from pipeline.errors import AddressRefused, UrlInvalid, WebhookExists, WebhookNotFound
from pipeline.model import HookEvent, HookStanding, Webhook
from pipeline.vendors.imagekit import Document, moment
from pipeline.webhooks.verbs import new_secret

LONGEST_URL = 2000
NONE_SUCH = "The requested webhook does not exist."
TAKEN = "A webhook with this endpoint already exists."
BAD_ENDPOINT = "It should be a URL with the http or https protocol."

EVENTS: Mapping[str, HookEvent] = {
    "file.created": "file.stored",
    "file.updated": "file.updated",
    "file.deleted": "file.deleted",
    "file-version.created": "file.stored",
    "file-version.deleted": "file.deleted",
    "upload.pre-transform.success": "derivative.made",
    "upload.pre-transform.error": "derivative.failed",
    "upload.post-transform.success": "derivative.made",
    "upload.post-transform.error": "derivative.failed",
    "video.transformation.accepted": "derivative.ordered",
    "video.transformation.ready": "derivative.made",
    "video.transformation.error": "derivative.failed",
    "folder.created": "folder.created",
    "folder.updated": "folder.updated",
    "folder.deleted": "folder.deleted",
}
"""The vendor's events, and ours that they are told of."""


async def listed(ask: Ask) -> web.Response:
    """All of them as a bare list."""
    return told([_shown(*one) for one in await _own(ask)])


async def get(ask: Ask) -> web.Response:
    return told(_shown(*await _known(ask)))


async def create(ask: Ask) -> web.Response:
    url, events = _url(ask), _events(ask)
    enabled = ask.flag("enabled") if ask.fields.get("enabled") is not None else True
    return told(_shown(*await settled(_created(ask, url, events, enabled))), 201)


async def _created(ask: Ask, url: str, events: Sequence[str], enabled: bool) -> tuple[Webhook, HookStanding]:
    await _check_url(ask, url)
    try:
        made = await ask.core.webhooks.create(
            ask.grant, url, _ours(events), [new_secret()], "imagekit", ",".join(events)
        )
    except WebhookExists as cause:
        raise refused(TAKEN) from cause
    except (AddressRefused, UrlInvalid) as cause:
        raise invalid("endpoint", cause.message) from cause
    if not enabled:
        return await ask.core.webhooks.disable(ask.grant, made.id)
    return await ask.core.webhooks.get(ask.grant, made.id)


async def change(ask: Ask) -> web.Response:
    webhook, _ = await _known(ask)
    return told(_shown(*await settled(_changed(ask, webhook))))


async def _changed(ask: Ask, webhook: Webhook) -> tuple[Webhook, HookStanding]:
    wanted: dict[str, Any] = {}
    if ask.fields.get("endpoint") is not None:
        wanted["url"] = _url(ask)
        await _check_url(ask, wanted["url"], webhook.id)
    if ask.fields.get("events") is not None:
        events = _events(ask)
        wanted |= {"events": tuple(_ours(events)), "description": ",".join(events)}
    webhooks = ask.core.webhooks
    try:
        if wanted:
            await webhooks.change(ask.grant, webhook.id, **wanted)
    except WebhookExists as cause:
        raise refused(TAKEN) from cause
    except (AddressRefused, UrlInvalid) as cause:
        raise invalid("endpoint", cause.message) from cause
    if ask.fields.get("enabled") is None:
        return await webhooks.get(ask.grant, webhook.id)
    return await (webhooks.enable if ask.flag("enabled") else webhooks.disable)(ask.grant, webhook.id)


async def delete(ask: Ask) -> web.Response:
    webhook, _ = await _known(ask)
    await settled(ask.core.webhooks.delete(ask.grant, webhook.id))
    return nothing()


async def _own(ask: Ask) -> list[tuple[Webhook, HookStanding]]:
    """Those that were made here; what the settings list, or another API made, is not the vendor's."""
    known = await ask.core.webhooks.list(ask.grant)
    return [one for one in known if one[0].dialect == "imagekit" and one[0].origin == "api"]


async def _known(ask: Ask) -> tuple[Webhook, HookStanding]:
    id = ask.call.place("id")
    for one in await _own(ask):
        if one[0].id == id:
            return one
    raise refused(NONE_SUCH, 404) from WebhookNotFound(id=id[:64])


async def _check_url(ask: Ask, url: str, own: str | None = None) -> None:
    if any(webhook.url == url and webhook.id != own for webhook, _ in await _own(ask)):
        raise refused(TAKEN)


def _url(ask: Ask) -> str:
    url = ask.text("endpoint")
    if len(url) > LONGEST_URL or not url.isprintable():
        raise invalid("endpoint", BAD_ENDPOINT)
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise invalid("endpoint", BAD_ENDPOINT) from cause
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("endpoint", BAD_ENDPOINT)
    return url


def _events(ask: Ask) -> Sequence[str]:
    """The vendor's events; refused where one is none."""
    given = ask.fields.get("events")
    if not given:
        raise missing("events")
    events = [*dict.fromkeys(texts_of(given, "events"))]
    if strange := next((event for event in events if event not in EVENTS), None):
        raise invalid("events", f"{strange[:64]} is not an event.")
    return events


def _ours(events: Sequence[str]) -> list[HookEvent]:
    return [*dict.fromkeys(EVENTS[event] for event in events)]


def _shown(webhook: Webhook, standing: HookStanding) -> Document:
    return {
        "id": webhook.id,
        "endpoint": webhook.url,
        "events": webhook.description.split(","),
        "enabled": standing.disabled_at is None,
        "secret": webhook.secrets[0].value if webhook.secrets else "",
        "createdAt": moment(webhook.created_at),
        "updatedAt": moment(webhook.updated_at),
    }
