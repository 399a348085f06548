"""`/webhooks/endpoints` and `/events`: who is told of what happens, and what has happened."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.ittybit.ask import Ask, text_of
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.errors import FileNotFound, RunNotFound, WebhookNotFound
from pipeline.model import Event, HookEvent, HookStanding, Run, RunStatus, Webhook
from pipeline.vendors.ittybit.files import Media, media_object, metadata_of
from pipeline.vendors.ittybit.tasks import Mark
from pipeline.vendors.ittybit.words import BARE, SUCCEEDED, Document, spelled, status_of, task_id, times
from pipeline.webhooks.dialects.ittybit import CHANGES, TOPICS, topic_of
from pipeline.webhooks.rewinding import STANDINGS
from pipeline.webhooks.verbs import new_secret

STANDS: Mapping[str, RunStatus] = {**STANDINGS, "run.completed": "completed", "run.failed": "failed"}
"""How far a task is with each event."""
BATCH, BATCHES = 250, 20
"""Events of ours that are looked at for one page."""

_EVENT = re.compile(r"evt_(\d{1,20})[_-](\d{1,20})", re.ASCII)


# Endpoints


async def listed(ask: Ask) -> web.Response:
    rows = await _own(ask)
    shown = rows[ask.page.skipped : ask.page.wanted]
    return _late(ask).listed([endpoint_object(ask, *row) for row in shown], len(rows))


async def create(ask: Ask) -> web.Response:
    """The answer alone has the `secret` that signs."""
    fields, secret = ask.fields(), new_secret()
    url, topics = text_of(fields, "url", 2000), _topics(fields)
    if not url or not url.startswith(("http://", "https://")):
        raise BadRequest(reason="`url` is required and must be an http or https URL.")
    made = await settled(
        ask.call.core.webhooks.create(ask.grant, url, _events(topics), [secret], "ittybit", " ".join(topics))
    )
    told = endpoint_object(ask, made, HookStanding()) | {"secret": secret}
    return _late(ask).told(told, 201)


async def get(ask: Ask) -> web.Response:
    return _late(ask).told(endpoint_object(ask, *await _known(ask)))


async def change(ask: Ask) -> web.Response:
    """Another `url`, other `topics`, or a `status`: active or disabled."""
    webhook, _ = await _known(ask)
    return _late(ask).told(endpoint_object(ask, *await settled(_changed(ask, webhook.id, ask.fields()))))


async def _changed(ask: Ask, id: str, fields: Mapping[str, Any]) -> tuple[Webhook, HookStanding]:
    webhooks, wanted, status = ask.call.core.webhooks, dict[str, Any](), fields.get("status")
    if url := text_of(fields, "url", 2000):
        wanted["url"] = url
    if "topics" in fields:
        topics = _topics(fields)
        wanted |= {"events": tuple(_events(topics)), "description": " ".join(topics)}
    if status not in (None, "active", "disabled", "paused"):
        raise BadRequest(reason="`status` must be one of active, disabled.")
    if wanted:
        await webhooks.change(ask.grant, id, **wanted)
    if status is None:
        return await webhooks.get(ask.grant, id)
    return await (webhooks.enable if status == "active" else webhooks.disable)(ask.grant, id)


async def delete(ask: Ask) -> web.Response:
    webhook, _ = await _known(ask)
    await settled(ask.call.core.webhooks.delete(ask.grant, webhook.id))
    return ask.told({"message": "Webhook endpoint deleted."}, 202)


async def _own(ask: Ask) -> list[tuple[Webhook, HookStanding]]:
    known = await ask.call.core.webhooks.list(ask.grant)
    return [row for row in known if row[0].dialect == "ittybit" and row[0].origin == "api"]


async def _known(ask: Ask) -> tuple[Webhook, HookStanding]:
    id = ask.id("Webhook endpoint", "we")
    with suppress(WebhookNotFound):
        webhook, standing = await ask.call.core.webhooks.get(ask.grant, id)
        if webhook.dialect == "ittybit" and webhook.origin == "api":
            return webhook, standing
    raise Missing(what="Webhook endpoint")


def _topics(fields: Mapping[str, Any]) -> Sequence[str]:
    given = fields.get("topics", [])
    if not isinstance(given, list) or not all(topic in TOPICS for topic in given):
        raise BadRequest(reason=f"`topics` must be a list of: {', '.join(TOPICS)}.")
    return list(dict.fromkeys(given))


def _events(topics: Sequence[str]) -> Sequence[HookEvent]:
    """What it may have to be told of; which topics it wants is looked at when it is."""
    return list(dict.fromkeys(event for topic in topics or TOPICS for event in TOPICS[topic]))


def endpoint_object(ask: Ask, webhook: Webhook, standing: HookStanding) -> Document:
    """An endpoint as clients read it."""
    return {
        "id": spelled("we", webhook.id),
        "object": "webhook_endpoint",
        "url": webhook.url,
        "topics": webhook.description.split()
        or [name for name, ours in TOPICS.items() if {*ours} <= {*webhook.events}],
        "status": "disabled" if standing.disabled_at else "active",
        **times(_late(ask).view, webhook.created_at, webhook.updated_at),
    }


def _late(ask: Ask) -> Ask:
    """The request in the words of the version that has these things, unless an envelope is wanted."""
    return ask if ask.version < BARE else replace(ask, version=max(ask.version, SUCCEEDED))


# Events


async def events(ask: Ask) -> web.Response:
    """The newest first, before one or after one; each names how far its task was then."""
    limit, before, after = ask.page.limit, _place(ask, "before"), _place(ask, "after")
    found: list[Event] = []
    for _ in range(BATCHES):
        batch = await ask.call.core.events.recent(ask.project, before, BATCH)
        newer = [event for event in batch if after is None or _order(event.id) > _order(after)]
        found += [event for event in newer if _is_told(event)]
        if len(found) > limit or len(newer) < BATCH:
            break
        before = batch[-1].id
    rows = await asyncio.gather(*(event_object(ask, event) for event in found[:limit]))
    return _late(ask).listed([row for row in rows if row], len(found))


async def event(ask: Ask) -> web.Response:
    match = _EVENT.fullmatch(ask.call.place("id"))
    if match is None:
        raise Missing(what="Event")
    time, number = map(int, match.groups())
    found = await ask.call.core.events.recent(ask.project, f"{time}-{number + 1}", 1)
    if not found or found[0].id != f"{time}-{number}" or not _is_told(found[0]):
        raise Missing(what="Event")
    told = await event_object(ask, found[0])
    if told is None:
        raise Missing(what="Event")
    return _late(ask).told(told)


def _place(ask: Ask, name: str) -> str | None:
    text = ask.query(name)
    match = _EVENT.fullmatch(text)
    if text and match is None:
        raise BadRequest(reason=f"`{name}` must be the id of an event.")
    return f"{match.group(1)}-{match.group(2)}" if match else None


def _order(id: str) -> tuple[int, int]:
    time, _, number = id.partition("-")
    return int(time), int(number)


def _is_told(event: Event) -> bool:
    return event.type in CHANGES or (event.type == "file.stored" and "run" not in event.facts)


async def event_object(ask: Ask, event: Event) -> Document | None:
    """An event as clients read it, None for one about what is gone."""
    late = _late(ask)
    run = await _run(late, event) if event.type in CHANGES else None
    data = _task(late, event, run) if run else await _media(late, event)
    kind = topic_of(event.type, event.at, run)
    if data is None or kind is None:
        return None
    id = f"evt_{event.id.replace('-', '_')}"
    return {"id": id, "object": "event", "kind": kind, "data": data, "created_at": int(event.at.timestamp())}


async def _run(ask: Ask, event: Event) -> Run | None:
    with suppress(RunNotFound):
        return await ask.call.core.runs.get(ask.grant, event.subject)
    return None


def _task(ask: Ask, event: Event, run: Run) -> Document:
    return {
        "id": task_id(run.id, ask.version),
        "object": "task",
        "kind": Mark.of(run).kind,
        "status": status_of(STANDS[event.type], ask.version),
        **times(ask.view, run.created_at, event.at),
    }


async def _media(ask: Ask, event: Event) -> Document | None:
    with suppress(FileNotFound):
        file = await ask.call.core.files.get(ask.grant, event.subject)
        if file.root is None:
            media = Media(file.id, file.created_at, file.updated_at, [file], None, {}, metadata_of(file))
            return media_object(ask.view, media)
    return None
