"""The addresses of the API, of upload addresses and of the delivery domain; none redirects for a slash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.ittybit import delivery, files, hooks, media, signatures, uploads
from pipeline.api.dialects.ittybit.ask import IttybitAct, spoken
from pipeline.api.dialects.ittybit.errors import UPLOAD_VOICE, VOICE
from pipeline.api.dialects.ittybit.tasks import acts, automations
from pipeline.api.endpoint import Act, Endpoint
from pipeline.api.voices import Voice
from pipeline.describe import BINARY, Raw

TAG, UPLOADING, DELIVERING = "ittybit api", "ittybit uploads", "ittybit delivery"
JSON_BODY = Raw("application/json", {"type": "object"})
FORM_BODY = Raw("multipart/form-data", {"type": "object", "properties": {"file": BINARY}})
BYTES = Raw("application/octet-stream", BINARY)


def _endpoint(method: str, path: str, summary: str, act: IttybitAct, status: int = 200) -> Endpoint:
    return Endpoint(
        method,
        f"/ittybit{path}",
        summary,
        act=spoken(act),
        tag=TAG,
        api="ittybit",
        body=JSON_BODY if method in ("POST", "PUT", "PATCH") else None,
        answers={status: JSON_BODY},
        public=True,
        voice=VOICE,
        also=(f"/ittybit{path}/",),
    )


def _open(
    method: str, path: str, summary: str, act: Act, body: Raw | None, status: int = 200, voice: Voice = UPLOAD_VOICE
) -> Endpoint:
    """What needs no key of a server: the address opens it."""
    return Endpoint(
        method,
        f"/ittybit{path}",
        summary,
        act=act,
        tag=UPLOADING if voice is UPLOAD_VOICE else DELIVERING,
        api="ittybit",
        body=body,
        answers={status: Raw("*/*", BINARY) if method == "GET" else JSON_BODY},
        public=True,
        voice=voice,
    )


UPLOADS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/ittybit/uploads",
        "Get an address that takes one file, for a short time and once.",
        act=spoken(uploads.create),
        tag=UPLOADING,
        api="ittybit",
        body=JSON_BODY,
        answers={200: JSON_BODY},
        public=True,
        voice=UPLOAD_VOICE,
        also=("/ittybit/uploads/",),
    ),
    _open("POST", "/store/single", "Send the file in a form, its boundary told or not.", uploads.single, FORM_BODY),
    _open("PUT", "/store/resumable", "Send one chunk, in any order and again.", uploads.chunk, BYTES, 202),
    _open("POST", "/store/resumable", "Have the chunks made the file.", uploads.finish, None),
)

# What is fixed in an address stands before what is not.
API: Sequence[Endpoint] = (
    _endpoint("GET", "/files", "List files.", files.listed),
    _endpoint("POST", "/files", "Get a file from a URL.", files.create, 201),
    _endpoint("GET", "/files/{id}", "Look at a file.", files.get),
    _endpoint("PATCH", "/files/{id}", "Change folder, filename, ref or metadata of a file.", files.change),
    _endpoint("DELETE", "/files/{id}", "Delete a file.", files.delete, 202),
    _endpoint("GET", "/media", "List media.", media.listed),
    _endpoint("POST", "/media", "Make an empty media, or one of the file at a URL.", media.create, 201),
    _endpoint("GET", "/media/{id}", "Look at a media, by its id or alias.", media.get),
    _endpoint("PATCH", "/media/{id}", "Change title, alt or metadata of a media.", media.change),
    _endpoint("DELETE", "/media/{id}", "Delete a media and its files.", media.delete, 202),
    _endpoint("GET", "/tasks", "List tasks; every run of the project is one.", acts.listed),
    _endpoint("POST", "/tasks", "Have something done to a file.", acts.create, 201),
    _endpoint("GET", "/tasks/{id}", "See how far a task, or a step of a workflow, has come.", acts.get),
    _endpoint("GET", "/tasks-config", "See which kinds of task there are.", acts.config),
    _endpoint("GET", "/jobs", "List tasks, under their newest name.", acts.listed),
    _endpoint("POST", "/jobs", "Have something done to an `input`.", acts.create_job, 201),
    _endpoint("GET", "/jobs/{id}", "See how far it has come.", acts.get),
    _endpoint("POST", "/signatures", "Sign an address of the delivery domain.", signatures.create, 201),
    _endpoint("GET", "/automations", "List automations.", automations.listed),
    _endpoint("POST", "/automations", "Have a workflow run on every new media.", automations.create, 201),
    _endpoint("GET", "/automations/{id}", "Look at an automation.", automations.get),
    _endpoint("PATCH", "/automations/{id}", "Change an automation.", automations.change),
    _endpoint("PUT", "/automations/{id}", "The same, as it was earlier.", automations.change),
    _endpoint("DELETE", "/automations/{id}", "Delete an automation.", automations.delete, 202),
    _endpoint("POST", "/automations/{id}/run", "Run an automation on a file or URL.", automations.run, 201),
    _endpoint("GET", "/webhooks/endpoints", "List webhook endpoints.", hooks.listed),
    _endpoint("POST", "/webhooks/endpoints", "Have an address told of topics.", hooks.create, 201),
    _endpoint("GET", "/webhooks/endpoints/{id}", "Look at a webhook endpoint.", hooks.get),
    _endpoint("PATCH", "/webhooks/endpoints/{id}", "Change a webhook endpoint.", hooks.change),
    _endpoint("DELETE", "/webhooks/endpoints/{id}", "Delete a webhook endpoint.", hooks.delete, 202),
    _endpoint("GET", "/events", "List what has happened, the newest first.", hooks.events),
    _endpoint("GET", "/events/{id}", "Look at an event.", hooks.event),
)

DOMAIN = "/d/{project}/{path:.+}"
DELIVERY: Sequence[Endpoint] = (
    _open("GET", DOMAIN, "Fetch a file by its path, or by its id for ever.", delivery.get, None, voice=VOICE),
    _open("PUT", DOMAIN, "Put a file, or a chunk of it, to a path.", delivery.put, BYTES, 201, VOICE),
    _open("POST", DOMAIN, "The same, with an address signed for it.", delivery.put, BYTES, 201, VOICE),
    _open("DELETE", DOMAIN, "Delete the file at a path.", delivery.delete, None, 202, VOICE),
)

ENDPOINTS: Sequence[Endpoint] = (*UPLOADS, *API, *DELIVERY)

UNSPOKEN: Mapping[str, str] = {
    "`/images/upload`, `/videos/upload`": "The host of the client of 2020 is fixed; no other one calls them.",
    "Kinds such as `audio`, `speech`, `subtitles`, `adaptive_video`": "A 400 that says so, unless the project's "
    "`kinds` names a flow for them; what that finds is told in `results`, what it saves are files.",
    "`heic` as the format of an image": "A 400 that names what is written; HEIC is read.",
    "`x` and `y` of a text": "Nobody says what they count from; texts lie where `position` says.",
    "`/runs`": "A run of several tasks is a task of the kind `workflow` here, with the steps in `workflow`.",
    "Limits of 8192 pixels and 4 GB": "Those of this server and project count.",
    "`402`": "Nothing is paid for here.",
}
"""What of the API is not spoken, and what happens instead."""
