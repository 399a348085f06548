"""Our own words: `{type, timestamp, data}`, signed as Standard Webhooks (https://www.standardwebhooks.com) say."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
from standardwebhooks import Webhook as Signer

from pipeline.model import File, Run, Webhook
from pipeline.webhooks.message import Message, Posting

INWARD = {"tries", "trace", "hook", "hooks", "marks", "graph", "heard"}
"""What of a run is nobody else's."""


class Native:
    """The file or run an event is about is its `data`, as the API shows it; of what is gone, what the log tells."""

    def body(self, message: Message, webhook: Webhook) -> bytes:
        told = {"type": message.type, "timestamp": message.at.isoformat(), "data": _data(message)}
        return orjson.dumps(told, default=str)

    def headers(self, posting: Posting) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            "webhook-id": posting.id,
            "webhook-timestamp": str(int(posting.at.timestamp())),
        }
        text = posting.body.decode()
        signatures = [Signer(key_of(secret)).sign(posting.id, posting.at, text) for secret in posting.secrets]
        return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})


def key_of(secret: str) -> bytes:
    """The bytes that sign, of a secret in base64 with or without `whsec_`."""
    return base64.b64decode(secret.removeprefix("whsec_") + "==")


def _data(message: Message) -> Mapping[str, Any]:
    about: dict[str, Any] = {"id": message.subject, "project": message.project}
    if message.type.startswith("derivative."):
        return {**about, **message.facts}
    if message.file is not None:
        return {**about, **_file(message, message.file)}
    if message.run is not None:
        return {**about, **_run(message, message.run)}
    return {**about, **message.facts}


def _file(message: Message, file: File) -> Mapping[str, Any]:
    told = file.model_dump(mode="json", exclude={"storage", "key", "hook"})
    if message.type == "file.infected":
        told["signature"] = message.facts.get("signature")
    if message.type == "file.updated":
        told |= {name: message.facts[name] for name in ("changed", "previous") if name in message.facts}
    there = message.type not in ("file.deleted", "file.infected")
    return told | {"url": _url(message, file) if there else None}


def _run(message: Message, run: Run) -> Mapping[str, Any]:
    told = run.model_dump(mode="json", exclude=INWARD | {"outputs"})
    outputs = [one.model_dump(mode="json") | {"url": _url(message, message.outputs.get(one.id))} for one in run.outputs]
    return told | {"outputs": outputs}


def _url(message: Message, file: File | None) -> str | None:
    """Where it is fetched without a key; a private file is asked for by its id, as a signed address would expire."""
    return f"{message.base_url}/v1/files/{file.id}/content" if file and not file.private else None
