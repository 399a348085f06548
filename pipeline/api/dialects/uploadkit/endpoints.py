"""The addresses of the API, the handler, storage and delivery; a client's base is `/uploadkit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.uploadkit import (
    account,
    delivery,
    files,
    handler,
    multipart,
    routers,
    storage,
    transforms,
    upload,
)
from pipeline.api.dialects.uploadkit.errors import VOICE, ApiVoice, StorageVoice
from pipeline.api.endpoint import Act, Endpoint
from pipeline.api.voices import Voice
from pipeline.describe import BINARY, Raw

BASE = "/uploadkit"
API = f"{BASE}/api/v1"
HANDLER_VOICE = ApiVoice("handler")
DELIVERY_VOICE = ApiVoice("sdk")
STORAGE_VOICE = StorageVoice()
SIGNED = "/{expires}/{signature}"
JSON = Raw("application/json", {"type": "object"})
BYTES = Raw("*/*", BINARY)


def _api(method: str, path: str, summary: str, act: Act, status: int = 200, *, body: bool | None = None) -> Endpoint:
    has_body = method in ("POST", "PATCH") if body is None else body
    return _endpoint(method, API + path, summary, act, "uploadkit", VOICE, {status: JSON}, JSON if has_body else None)


def _endpoint(
    method: str,
    path: str,
    summary: str,
    act: Act,
    tag: str,
    voice: Voice,
    answers: Mapping[int, Raw | None],
    body: Raw | None = None,
) -> Endpoint:
    return Endpoint(
        method,
        path,
        summary,
        act=act,
        tag=tag,
        api="uploadkit",
        body=body,
        answers=answers,
        public=True,
        voice=voice,
    )


def _handler(method: str, path: str, summary: str, act: Act) -> Endpoint:
    whole, body = f"{BASE}/handler/{{public_key}}{path}/{{route}}", JSON if method == "POST" else None
    return _endpoint(method, whole, summary, act, "uploadkit handler", HANDLER_VOICE, {200: JSON}, body)


def _given(path: str, summary: str, act: Act) -> Endpoint:
    return _endpoint("GET", BASE + path, summary, act, "uploadkit delivery", DELIVERY_VOICE, {200: BYTES})


def _put(path: str, summary: str, act: Act) -> Endpoint:
    return _endpoint("PUT", path, summary, act, "uploadkit delivery", STORAGE_VOICE, {200: None}, BYTES)


UPLOAD: Sequence[Endpoint] = (
    _api("POST", "/upload/request", "Ask for an address that takes a file.", upload.request),
    _api("POST", "/upload/complete", "Say that the bytes are there.", upload.complete),
    _api("POST", "/upload/multipart/init", "Ask for addresses that take a large file in parts.", multipart.init),
    _api("POST", "/upload/multipart/complete", "Have the parts made the file.", multipart.complete),
    _api("POST", "/upload/multipart/abort", "Give an upload in parts up.", multipart.abort),
)

# A key is one segment whose slashes are percent-encoded; one that has them bare is understood too.
FILES: Sequence[Endpoint] = (
    _api("GET", "/files", "List files, newest first.", files.listed),
    _api("DELETE", "/files", "Delete up to a hundred files.", files.delete_many, body=True),
    _api("GET", "/files/{key:.+}", "Look at a file.", files.get),
    _api("PATCH", "/files/{key:.+}", "Give a file this metadata and no other.", files.change),
    _api("DELETE", "/files/{key:.+}", "Delete a file.", files.delete),
    _api("POST", "/transforms/image", "Have an address made of a picture made of a file.", transforms.image),
)

PROJECT: Sequence[Endpoint] = (
    _api("GET", "/projects/{id}/routers", "List the file routes.", routers.listed),
    _api("POST", "/projects/{id}/routers", "Make a file route.", routers.create, 201),
    _api("PATCH", "/routers/{id}", "Change a file route that was made here.", routers.change),
    _api("DELETE", "/routers/{id}", "Remove a file route that was made here.", routers.delete),
    _api("GET", "/logs", "See which files came since a time.", account.logs),
    _api("GET", "/usage", "See what the project has and may have.", account.usage),
    _api("GET", "/usage/history", "The same as a list with this month alone.", account.history),
    _api("GET", "/projects", "See the key's project.", account.projects),
    _api("POST", "/projects", "Refused: projects are made in the settings.", account.fixed, 400),
    _api("GET", "/projects/{id}", "See the key's project.", account.project),
    _api("PATCH", "/projects/{id}", "Refused: projects are changed in the settings.", account.fixed, 400),
    _api("DELETE", "/projects/{id}", "Refused: projects are removed from the settings.", account.fixed, 400),
    _api("GET", "/projects/{id}/keys", "See how the project's API keys begin.", account.keys),
    _api("POST", "/projects/{id}/keys", "Refused: keys are made in the settings.", account.fixed, 400),
    _api("DELETE", "/keys/{id}", "Refused: keys are removed from the settings.", account.fixed, 400),
)

HANDLER: Sequence[Endpoint] = (
    _handler("GET", "", "See what a page may choose for a route.", handler.route),
    _handler("POST", "", "Ask for an address, or say that the bytes are there.", handler.act),
    _handler("GET", SIGNED, "The same where uploads are signed.", handler.route),
    _handler("POST", SIGNED, "The same where uploads are signed.", handler.act),
)

DELIVERY: Sequence[Endpoint] = (
    _put(f"{storage.ADDRESS}{{key:.+}}", "Put a file, of the type and length in the signature.", storage.put),
    _put(f"{storage.PART_ADDRESS}{{token}}", "Put a part of a file.", storage.put_part),
    _given("/cdn/{key:.+}", "Fetch a file.", delivery.file),
    _given("/t/{expires}/{signature}/{spec}/{key:.+}", "Fetch a picture made of a file, for a time.", delivery.signed),
    _given("/p/{signature}/{spec}/{key:.+}", "Fetch a picture made of a file.", delivery.lasting),
)

ENDPOINTS: Sequence[Endpoint] = (*UPLOAD, *FILES, *PROJECT, *HANDLER, *DELIVERY)

UNSPOKEN: Mapping[str, str] = {
    "`POST`, `PATCH` and `DELETE` on projects and keys": "A 400 `MANAGED_BY_SETTINGS`.",
    "`/api/v1/mcp`, billing": "A 404 `NOT_FOUND`.",
    "Plans": "There are none: sizes, room and rates are the project's `limits`; transforms are free and not counted.",
    "`maxFileCount`": "Told to pages by the handler, and not enforced, as there.",
    "Usage of earlier months, bandwidth": "Not remembered: `history` has this month alone, `bandwidth` is null.",
}
"""What of the API is not spoken, and what happens instead."""
