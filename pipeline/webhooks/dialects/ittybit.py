"""Ittybit's words: the task that has ended, or how far it has come within an event, signed in `Ittybit-Signature`.

Who was named with a task or a step is posted that task; who subscribed to topics is posted events. The signature is
`t=<Unix seconds>,v1=<hex>`, the HMAC-SHA256 of `<t>.<body>` under the signing secret as it is spelled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from urllib.parse import urldefrag

import orjson

from pipeline.model import File, HookEvent, Run, Webhook
from pipeline.signing import signature
from pipeline.vendors.ittybit.files import Media, media_object, metadata_of, plain_url
from pipeline.vendors.ittybit.tasks import WORKFLOW, Mark, task_object
from pipeline.vendors.ittybit.words import BARE, SUCCEEDED, Document, View
from pipeline.webhooks.message import Message, Posting

BEGINS: Sequence[HookEvent] = ("run.queued", "run.waiting")
"""With which of them a run comes to be; it may come to them again."""
CHANGES: Sequence[HookEvent] = (
    "run.queued", "run.waiting", "run.started", "run.paused", "run.cancelled", "run.completed", "run.failed",
)  # fmt: skip
TOPICS: Mapping[str, Sequence[HookEvent]] = {
    "task.succeeded": ("run.completed",),
    "task.completed": ("run.completed",),
    "run.succeeded": ("run.completed",),
    "task.failed": ("run.failed",),
    "run.failed": ("run.failed",),
    "task.created": BEGINS,
    "run.created": BEGINS,
    "task.updated": CHANGES,
    "run.updated": CHANGES,
    "media.created": ("file.stored",),
}
"""What each topic is of our events; of one that several are, the first that is subscribed to is told."""
CREATED = frozenset({"task.created", "run.created"})


def topic_of(type: str, at: datetime, run: Run | None, topics: Collection[str] = TOPICS.keys()) -> str | None:
    """Which of these topics an event of ours is, of a run or of a file; None for what is none of them."""
    begins = run is not None and type in BEGINS and at == run.created_at
    told = (topic for topic, events in TOPICS.items() if type in events and begins == (topic in CREATED))
    return next((topic for topic in told if topic in topics), None)


class Ittybit:
    """A task, a step of one, or an event about either."""

    def body(self, message: Message, webhook: Webhook) -> bytes | None:
        told = _task(message, webhook) if webhook.origin == "request" else _event(message, webhook)
        return None if told is None else orjson.dumps(told, default=str)

    def headers(self, posting: Posting) -> Mapping[str, str]:
        at = int(posting.at.timestamp())
        message = f"{at}.".encode() + posting.body
        signed = [f"v1={signature(secret.encode(), message)}" for secret in posting.secrets]
        headers = {"Content-Type": "application/json"}
        return headers | ({"Ittybit-Signature": ",".join([f"t={at}", *signed])} if signed else {})


def _task(message: Message, webhook: Webhook) -> Document | None:
    """The task that an address was named with; None where the branch of its step was not taken."""
    if message.run is None:
        return None
    mark, fragment = Mark.of(message.run), urldefrag(webhook.url).fragment
    step = int(fragment) if fragment.isdigit() and mark.kind == WORKFLOW and int(fragment) < len(mark.steps) else None
    told = _shown(message, message.run, BARE, step)
    return None if step is not None and told["status"] == "cancelled" and message.run.status == "completed" else told


def _event(message: Message, webhook: Webhook) -> Document | None:
    kind = topic_of(message.type, message.at, message.run, webhook.description.split() or TOPICS.keys())
    data = _media(message, message.file) if message.file else None
    if message.run is not None:
        data = _shown(message, message.run, SUCCEEDED)
    if kind is None or data is None:
        return None
    at = int(message.at.timestamp())
    id = f"evt_{message.event.replace('-', '_')}"
    return {"id": id, "object": "event", "kind": kind, "data": data, "created_at": at}


def _media(message: Message, file: File) -> Document | None:
    """The media that begins with a file; None for a file that was made of another or is put with one."""
    if file.root is not None or file.run is not None:
        return None
    media = Media(file.id, file.created_at, file.updated_at, [file], None, {}, metadata_of(file))
    return media_object(_view(message, SUCCEEDED), media)


def _shown(message: Message, run: Run, version: str, step: int | None = None) -> Document:
    return task_object(_view(message, version), run, (), message.outputs, step)


def _view(message: Message, version: str) -> View:
    return View(message.base_url, message.project, version, lambda file: plain_url(message.base_url, file))
