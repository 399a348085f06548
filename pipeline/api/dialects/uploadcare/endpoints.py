"""The addresses of Upload and REST API; each ends in a slash and none redirects, for uploads follow no redirect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.uploadcare import (
    from_url,
    groups,
    multipart,
    rest_addons,
    rest_convert,
    rest_copies,
    rest_files,
    rest_groups,
    rest_metadata,
    rest_search,
    rest_webhooks,
    upload,
)
from pipeline.api.dialects.uploadcare.errors import UploadVoice
from pipeline.api.dialects.uploadcare.rest import RestAct, spoken
from pipeline.api.dialects.uploadcare.rest_errors import RestVoice
from pipeline.api.endpoint import Act, Endpoint
from pipeline.describe import Raw

VOICE = UploadVoice()
REST_VOICE = RestVoice()
TAG = "uploadcare upload"
REST_TAG = "uploadcare rest"
JSON_BODY = Raw("application/json", {})
FORM_BODY = Raw("multipart/form-data", {"type": "object"})


def _endpoint(method: str, path: str, summary: str, act: Act, *also: str) -> Endpoint:
    return Endpoint(
        method,
        path,
        summary,
        act=act,
        tag=TAG,
        api="uploadcare",
        body=FORM_BODY if method == "POST" else None,
        answers={200: Raw("application/json", {"type": "object"})},
        public=True,
        voice=VOICE,
        also=also,
    )


UPLOAD: Sequence[Endpoint] = (
    _endpoint("POST", "/base/", "Send files in a form; the answer names the file of each field.", upload.base),
    _endpoint("GET", "/info/", "Look at a file.", upload.info),
    _endpoint(
        "POST", "/multipart/start/", "Begin a large file; the answer says where each part goes.", multipart.start
    ),
    _endpoint("POST", "/multipart/complete/", "Have the parts made the file.", multipart.complete),
    _endpoint("POST", "/from_url/", "Have a file fetched, or be told of the one fetched before.", from_url.begin),
    _endpoint("GET", "/from_url/status/", "See how far a fetch has come.", from_url.status),
    _endpoint("POST", "/group/", "Make a group of files.", groups.create, "/group//"),
    _endpoint("GET", "/group/info/", "Look at a group.", groups.info),
)


def _rest(method: str, path: str, summary: str, act: RestAct, status: int = 200) -> Endpoint:
    return Endpoint(
        method,
        path,
        summary,
        act=spoken(act),
        tag=REST_TAG,
        api="uploadcare",
        body=JSON_BODY if method in ("POST", "PUT", "PATCH") else None,
        answers={status: JSON_BODY if status != 204 else None},
        public=True,
        voice=REST_VOICE,
    )


# What is fixed in an address stands before what is not.
REST: Sequence[Endpoint] = (
    _rest("GET", "/files/", "List files.", rest_files.listed),
    _rest("PUT", "/files/storage/", "Store files.", rest_files.store_many),
    _rest("DELETE", "/files/storage/", "Delete files.", rest_files.delete_many),
    _rest("POST", "/files/local_copy/", "Copy a file.", rest_copies.local_copy, 201),
    _rest("POST", "/files/remote_copy/", "Copy a file to another storage.", rest_copies.remote_copy, 201),
    _rest("POST", "/files/search/", "Find files by name, type, metadata, tags, time and size.", rest_search.search),
    _rest("GET", "/files/{id}/", "Look at a file, also at one that was removed lately.", rest_files.get),
    _rest("PUT", "/files/{id}/storage/", "Store a file.", rest_files.store),
    _rest("DELETE", "/files/{id}/storage/", "Delete a file.", rest_files.delete),
    _rest("GET", "/files/{id}/metadata/", "See the metadata of a file.", rest_metadata.every),
    _rest("GET", "/files/{id}/metadata/{key}/", "See one value of it.", rest_metadata.get),
    _rest("PUT", "/files/{id}/metadata/{key}/", "Set one value of it.", rest_metadata.put),
    _rest("DELETE", "/files/{id}/metadata/{key}/", "Remove one value of it.", rest_metadata.delete, 204),
    _rest("GET", "/files/{id}/tags/", "See the tags of a file.", rest_metadata.tags),
    _rest("PUT", "/files/{id}/tags/", "Give a file these tags and no others.", rest_metadata.put_tags),
    _rest("PATCH", "/files/{id}/tags/", "Remove and add tags.", rest_metadata.patch_tags),
    _rest("GET", "/groups/", "List groups.", rest_groups.listed),
    _rest("GET", "/groups/{id}/", "Look at a group.", rest_groups.get),
    _rest("DELETE", "/groups/{id}/", "Take a group apart; its files stay.", rest_groups.delete, 204),
    _rest("GET", "/project/", "Look at the project.", rest_groups.project),
    _rest("GET", "/webhooks/", "List webhooks.", rest_webhooks.listed),
    _rest("POST", "/webhooks/", "Have an address told of an event.", rest_webhooks.create, 201),
    _rest("DELETE", "/webhooks/unsubscribe/", "Delete the webhooks of an address.", rest_webhooks.unsubscribe, 204),
    _rest("PUT", "/webhooks/{id}/", "Change a webhook.", rest_webhooks.change),
    _rest("DELETE", "/webhooks/{id}/", "Delete a webhook.", rest_webhooks.delete, 204),
    _rest("POST", "/convert/{kind}/", "Convert documents or videos, by flows.", rest_convert.convert),
    _rest("GET", "/convert/{kind}/status/{token}/", "See how far a conversion has come.", rest_convert.status),
    _rest("GET", "/convert/document/{id}/", "See what a document can be converted to.", rest_convert.formats),
    _rest("POST", "/addons/{name}/execute/", "Have an add-on look at a file.", rest_addons.execute),
    _rest("GET", "/addons/{name}/execute/status/", "See what it found.", rest_addons.status),
)

ENDPOINTS: Sequence[Endpoint] = (*UPLOAD, *REST)

UNSPOKEN: Mapping[str, str] = {
    "`POST /submit/`": "No client uses it; `/base/` takes the same files.",
    "`Authorization: Bearer <JWT>` on uploads": "No published client sends it; sign with `signature` and `expire`.",
    "The push channel for `/from_url/`": "Its host is fixed in the clients; they poll when it does not answer.",
    "Parts of `POST /files/search/`": "Names, types, metadata, tags, times and sizes are found, sorted by one of them; "
    "a complaint names what is not, as `phrase.metadata`, `exact.uuid` or `tags.none`. Nothing is fuzzy or scored.",
    "`PUT /groups/<id>/storage/`": "Gone from the REST API since 0.7; store the files.",
    "`save_in_group` of conversions": "Told in `problems`; the files are made, the group is not.",
    "`store` of conversions": "What a flow saves is stored; `output_retention` bounds its life.",
    "`thumbs~N` of video conversions": "`thumbnails_group_uuid` is told, and there is no such group.",
    "`make_public` of remote copies": "A copy is as public as its source.",
    "Rekognition add-ons": "Unless the settings name flows for them in `addons`.",
    "`file.info_updated` for add-ons": "Told of metadata and tags, not of what add-ons found.",
}
"""What of both APIs is not spoken, and what happens instead."""
