"""Uploadcare's words: what happened to a file, with the file as the REST API shows it; signed in `X-Uc-Signature`.

The signature is `v1=` and the HMAC-SHA256, hex, of the body under the signing secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.model import File, HookEvent, Webhook
from pipeline.signing import signature
from pipeline.vendors.uploadcare import app_data, filename, moment, project_number, rest_file
from pipeline.webhooks.message import Message, Posting

EVENTS: Mapping[HookEvent, str] = {
    "file.uploaded": "file.uploaded",
    "file.stored": "file.stored",
    "file.deleted": "file.deleted",
    "file.infected": "file.infected",
    "file.updated": "file.info_updated",
}
"""What our events are called there; of others it knows nothing."""


class Uploadcare:
    """One event about one file."""

    def body(self, message: Message, webhook: Webhook) -> bytes | None:
        event = next((theirs for ours, theirs in EVENTS.items() if ours == message.type), None)
        if event is None or message.file is None:
            return None
        file, base = message.file, message.base_url
        gone = message.at if message.type in ("file.deleted", "file.infected") else None
        told = {
            "initiator": {"type": "api", "detail": {"request_id": message.event, "addon_name": None}},
            "hook": _hook(message, webhook, event),
            "data": rest_file(base, file, gone, appdata=True),
            "file": f"{base}/{file.id}/{filename(file)}",
        }
        if message.type == "file.updated":
            told["previous_values"] = _previous(message, file)
        return orjson.dumps(told, default=str)

    def headers(self, posting: Posting) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json"}
        if posting.secrets:
            headers["X-Uc-Signature"] = f"v1={signature(posting.secrets[0].encode(), posting.body)}"
        return headers


def _hook(message: Message, webhook: Webhook, event: str) -> Mapping[str, Any]:
    return {
        "id": webhook.number,
        "project_id": project_number(webhook.project),
        "project_pub_key": message.public_key,
        "created_at": moment(webhook.created_at),
        "updated_at": moment(webhook.updated_at),
        "event": event,
        "target": webhook.url,
        "is_active": True,
        "version": "0.7",
    }


def _previous(message: Message, file: File) -> Mapping[str, Any]:
    """What it was before, as far as that may change; the rest is as it was."""
    previous: Mapping[str, Any] = message.facts.get("previous", {})
    return {
        "metadata": previous.get("metadata", file.metadata),
        "tags": previous.get("tags", file.tags),
        "appdata": app_data(file),
    }
