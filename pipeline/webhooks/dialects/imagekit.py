"""ImageKit's words: what happened to files and their versions, what became of transformations, and how extensions end.

Signed twice, for clients of either kind: `x-ik-signature: t=<ms>,v1=<hex>`, the HMAC-SHA256 of `<ms>.<body>`;
and the headers of Standard Webhooks. Both are keyed with the bytes of the whole secret as it is written, `whsec_` too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.model import File, Run, Webhook
from pipeline.records.lineages import lineage_of, version_id
from pipeline.signing import signature
from pipeline.vendors.imagekit import (
    EXTENSION,
    Document,
    Fields,
    endpoint,
    file_document,
    folder_document,
    folder_id,
    moment,
    schemas,
    upload_document,
)
from pipeline.webhooks.message import Message, Posting

STATUSES: Mapping[str, str] = {"run.completed": "SUCCESS", "run.failed": "FAILED"}
"""How an extension ended."""
FILMS: Mapping[str, str] = {
    "derivative.ordered": "accepted",
    "derivative.made": "ready",
    "derivative.failed": "error",
}
"""How far a video is that is delivered."""
REASONS: Mapping[str, str] = {
    **dict.fromkeys(("FILE_NOT_FOUND", "BYTES_NOT_FOUND", "STORAGE_UNAVAILABLE"), "download_failed"),
    **dict.fromkeys(("INTERNAL", "DERIVATIVE_POISONED"), "internal_server_error"),
}
"""Why it could not be made, where that is not the video itself."""


class Imagekit:
    """One event, in the envelope of events, or how an extension ended, in one of its own."""

    def body(self, message: Message, webhook: Webhook) -> bytes | None:
        fields = schemas(message.sheets)
        if message.type in STATUSES:
            told = _extension(message, fields) if webhook.origin == "request" else None
        elif message.facts.get("stage") == "film":
            told = _filmed(message)
        elif message.type.startswith("derivative."):
            told = _transformed(message, fields)
        elif message.type.startswith("folder."):
            told = _folder(message)
        else:
            told = _file(message, fields)
        return orjson.dumps(told, default=str) if told and _is_wanted(webhook, told) else None

    def headers(self, posting: Posting) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            "webhook-id": posting.id,
            "webhook-timestamp": str(int(posting.at.timestamp())),
        }
        if not posting.secrets:
            return headers
        ms = int(posting.at.timestamp() * 1000)
        old = signature(posting.secrets[0].encode(), f"{ms}.".encode() + posting.body)
        signatures = " ".join(_standard(secret, posting) for secret in posting.secrets)
        return headers | {"x-ik-signature": f"t={ms},v1={old}", "webhook-signature": signatures}


def _is_wanted(webhook: Webhook, told: Mapping[str, Any]) -> bool:
    """Whether one made over the vendor's API, which keeps its events as they were spelt, asked for this one."""
    spelt = webhook.description.split(",") if webhook.origin == "api" and webhook.description else ()
    return not spelt or told.get("type") in spelt


def _standard(secret: str, posting: Posting) -> str:
    signed = f"{posting.id}.{int(posting.at.timestamp())}.".encode() + posting.body
    return f"v1,{base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()}"


def _event(message: Message, type: str, data: Mapping[str, Any]) -> Document:
    return {"type": type, "id": message.event, "created_at": moment(message.at), "data": data}


# Files


def _file(message: Message, fields: Fields) -> Document | None:
    if (file := message.file) is None or file.stored_at is None:
        return None
    if message.type == "file.stored":
        is_version = file.version > 1
        shown = file_document(message.base_url, file, fields)
        return _event(message, "file-version.created" if is_version else "file.created", shown)
    if message.type == "file.updated":
        return _event(message, "file.updated", file_document(message.base_url, file, fields))
    if message.type == "file.deleted":
        return _deleted(message, file)
    return None


def _deleted(message: Message, file: File) -> Document:
    if message.facts.get("superseded"):
        told = {"fileId": lineage_of(file), "versionId": version_id(file)}
        return _event(message, "file-version.deleted", told)
    return _event(message, "file.deleted", {"fileId": lineage_of(file)})


# Folders


def _folder(message: Message) -> Document:
    folder = message.facts["folder"]
    id = folder_id(message.project, folder)
    shown = {"folderId": id} if message.type == "folder.deleted" else folder_document(folder, id, message.at)
    return _event(message, message.type, shown)


# Transformations


def _transformed(message: Message, fields: Fields) -> Document | None:
    facts = message.facts
    if facts.get("stage") not in ("pre", "post"):
        return None
    is_made = message.type == "derivative.made"
    if facts["stage"] == "post":
        data = _post(message, is_made)
    elif not is_made:
        data = {"name": facts["name"], "path": facts["path"], "transformation": _reason(facts)}
    elif message.file is not None:
        data = upload_document(message.base_url, message.file, fields)
    else:
        return None
    type = f"upload.{facts['stage']}-transform.{'success' if is_made else 'error'}"
    request = {"x_request_id": facts["request"], "transformation": facts["transformation"]}
    return _event(message, type, data) | {"request": request}


def _post(message: Message, is_made: bool) -> Document:
    facts = message.facts
    url = f"{endpoint(message.base_url, message.project)}/{facts['address']}"
    told = {"fileId": facts["file"], "name": facts["name"], "url": url}
    return told if is_made else told | {"path": facts["path"], "transformation": _reason(facts)}


def _filmed(message: Message) -> Document | None:
    """A video, or a picture of one, that somebody who asked for it waits for."""
    facts, word = message.facts, FILMS.get(message.type)
    if word is None:
        return None
    made: Document = {"type": facts["kind"], "options": facts["options"]}
    if word == "ready":
        made["output"] = {"url": facts["url"]}
    elif word == "error":
        made["error"] = {"reason": REASONS.get(facts["code"], "encoding_failed")}
    asset = {"url": f"{endpoint(message.base_url, message.project)}/{facts['asset']}"}
    request = {"url": facts["url"], "x_request_id": facts["request"]}
    request |= {"user_agent": facts["agent"]} if "agent" in facts else {}
    told = _event(message, f"video.transformation.{word}", {"asset": asset, "transformation": made})
    return told | {"request": request}


def _reason(facts: Mapping[str, Any]) -> Document:
    return {"error": {"reason": facts.get("message", "")}}


# Extensions


def _extension(message: Message, fields: Fields) -> Document | None:
    run = message.run
    if run is None or EXTENSION not in run.marks:
        return None
    file = _shown(message, run)
    told = file_document(message.base_url, file, fields) if file else None
    return {"service": run.marks[EXTENSION], "status": STATUSES[message.type], "fileObject": told}


def _shown(message: Message, run: Run) -> File | None:
    """What the extension saved, where it saved anything, else the file it was about."""
    made = next((message.outputs[one.id] for one in run.outputs if one.id in message.outputs), None)
    return made or next(iter(message.inputs.values()), None)
