"""The addresses of the management API; each is answered with and without a slash at its end, for clients differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.imagekit.errors import VOICE
from pipeline.api.dialects.imagekit.manage import (
    account,
    bulk,
    bulk_jobs,
    custom_fields,
    details,
    folders,
    listing,
    metadata,
    placing,
    purging,
    saved_extensions,
    transformations,
    versions,
    webhooks,
)
from pipeline.api.dialects.imagekit.manage.ask import AskAct, spoken
from pipeline.api.endpoint import Endpoint
from pipeline.describe import Raw

TAG = "imagekit management"
ROOT = "/imagekit/v1"
JSON = Raw("application/json", {})


def _endpoint(method: str, path: str, summary: str, act: AskAct, status: int = 200, also: str = "") -> Endpoint:
    spellings = [f"{ROOT}{path}/", *((f"{ROOT}{also}", f"{ROOT}{also}/") if also else ())]
    return Endpoint(
        method,
        ROOT + path,
        summary,
        act=spoken(act),
        tag=TAG,
        api="imagekit",
        body=JSON if method in ("POST", "PUT", "PATCH") else None,
        answers={status: None if status == 204 else JSON},
        public=True,
        voice=VOICE,
        also=tuple(spellings),
    )


FILES: Sequence[Endpoint] = (
    _endpoint("GET", "/files", "List and search files, versions and folders.", listing.listed),
    _endpoint("GET", "/files/metadata", "See the metadata of what a URL delivers.", metadata.by_url, 200, "/metadata"),
    _endpoint("GET", "/files/{id}/details", "Look at a file.", details.get),
    _endpoint("PATCH", "/files/{id}/details", "Change a file.", details.change),
    _endpoint("DELETE", "/files/{id}", "Delete a file and its versions.", details.delete, 204),
    _endpoint("GET", "/files/{id}/metadata", "See the metadata of a file.", metadata.by_id),
    _endpoint("GET", "/files/{id}/versions", "List the versions of a file.", versions.listed),
    _endpoint("GET", "/files/{id}/versions/{version}", "Look at a version.", versions.get),
    _endpoint("DELETE", "/files/{id}/versions/{version}", "Delete a version.", versions.delete, 204),
    _endpoint("PUT", "/files/{id}/versions/{version}/restore", "Make a version the current one.", versions.restore),
    _endpoint("POST", "/files/batch/deleteByFileIds", "Delete files.", bulk.delete),
    _endpoint("POST", "/files/addTags", "Add tags to files.", bulk.add_tags),
    _endpoint("POST", "/files/removeTags", "Remove tags from files.", bulk.remove_tags),
    _endpoint("POST", "/files/removeAITags", "Remove AI tags from files.", bulk.remove_ai_tags),
    _endpoint("POST", "/files/copy", "Copy a file into a folder.", placing.copy, 204),
    _endpoint("POST", "/files/move", "Move a file into a folder.", placing.move, 204),
    _endpoint("PUT", "/files/rename", "Rename a file.", placing.rename),
    _endpoint("POST", "/files/purge", "Drop what was made of the files at an address.", purging.create, 201),
    _endpoint("GET", "/files/purge/{id}", "See how far a purge has come.", purging.status),
)

FOLDERS: Sequence[Endpoint] = (
    _endpoint("POST", "/folder", "Make a folder.", folders.create, 201),
    _endpoint("DELETE", "/folder", "Delete a folder and all that is in it.", folders.delete, 204),
    _endpoint("POST", "/bulkJobs/copyFolder", "Copy a folder into another.", bulk_jobs.copy),
    _endpoint("POST", "/bulkJobs/moveFolder", "Move a folder into another.", bulk_jobs.move),
    _endpoint("POST", "/bulkJobs/renameFolder", "Rename a folder.", bulk_jobs.rename),
    _endpoint("GET", "/bulkJobs/{id}", "See how far that has come.", bulk_jobs.status),
)

SETTINGS: Sequence[Endpoint] = (
    _endpoint("GET", "/customMetadataFields", "List the fields of custom metadata.", custom_fields.listed),
    _endpoint("POST", "/customMetadataFields", "Define a field.", custom_fields.create, 201),
    _endpoint("PATCH", "/customMetadataFields/{id}", "Change a field.", custom_fields.change),
    _endpoint("DELETE", "/customMetadataFields/{id}", "Delete a field.", custom_fields.delete, 204),
    _endpoint("GET", "/named-transformations", "List named transformations.", transformations.listed),
    _endpoint("POST", "/named-transformations", "Give a transformation a name.", transformations.create, 201),
    _endpoint("GET", "/named-transformations/{id}", "Look at a named transformation.", transformations.get),
    _endpoint("PATCH", "/named-transformations/{id}", "Change a named transformation.", transformations.change),
    _endpoint("DELETE", "/named-transformations/{id}", "Delete a named transformation.", transformations.delete, 204),
    _endpoint("GET", "/saved-extensions", "List saved extensions.", saved_extensions.listed),
    _endpoint("POST", "/saved-extensions", "Save an extension.", saved_extensions.create, 201),
    _endpoint("GET", "/saved-extensions/{id}", "Look at a saved extension.", saved_extensions.get),
    _endpoint("PATCH", "/saved-extensions/{id}", "Change a saved extension.", saved_extensions.change),
    _endpoint("DELETE", "/saved-extensions/{id}", "Delete a saved extension.", saved_extensions.delete, 204),
)

ACCOUNT: Sequence[Endpoint] = (
    _endpoint("GET", "/accounts/webhooks", "List webhooks.", webhooks.listed),
    _endpoint("POST", "/accounts/webhooks", "Have an address told of events.", webhooks.create, 201),
    _endpoint("GET", "/accounts/webhooks/{id}", "Look at a webhook.", webhooks.get),
    _endpoint("PATCH", "/accounts/webhooks/{id}", "Change a webhook.", webhooks.change),
    _endpoint("DELETE", "/accounts/webhooks/{id}", "Delete a webhook.", webhooks.delete, 204),
    _endpoint("GET", "/accounts/origins", "List external storages: none.", account.origins),
    _endpoint("POST", "/accounts/origins", "Refused: storages are named by the settings.", account.no_new_origin),
    _endpoint("GET", "/accounts/origins/{id}", "Refused: there is none.", account.no_origin),
    _endpoint("PUT", "/accounts/origins/{id}", "Refused: there is none.", account.no_origin),
    _endpoint("DELETE", "/accounts/origins/{id}", "Refused: there is none.", account.no_origin),
    _endpoint("GET", "/accounts/url-endpoints", "List URL-endpoints: the default one.", account.endpoints),
    _endpoint("POST", "/accounts/url-endpoints", "Refused: hosts are bound by the settings.", account.no_new_endpoint),
    _endpoint("GET", "/accounts/url-endpoints/{id}", "Look at the default URL-endpoint.", account.endpoint),
    _endpoint("PUT", "/accounts/url-endpoints/{id}", "Refused: hosts are bound by the settings.", account.no_change),
    _endpoint("DELETE", "/accounts/url-endpoints/{id}", "Refused: hosts are bound by the settings.", account.no_change),
    _endpoint("GET", "/accounts/usage", "See what the project has in its storages.", account.usage),
    _endpoint("GET", "/accounts/usage-analytics", "Refused: not kept by project.", account.analytics),
)

ENDPOINTS: Sequence[Endpoint] = (*FILES, *FOLDERS, *SETTINGS, *ACCOUNT)

UNSPOKEN: Mapping[str, str] = {
    "Searches without an index": "Conditions on height, width, updatedAt, embedded metadata and the like are looked at "
    "file by file, and so is what stands in an OR or behind a NOT; after 10,000 files in vain the answer is a 400 that "
    "says so. Sorted by updatedAt, height, width or duration a list has at most 10,000 files.",
    "`RELEVANCE` and `ORIGINAL_CREATION_DATE`": "Sorted by the time of creation: nothing is scored.",
    "`LocationTaken` in searches": "Embedded metadata are what the header told: DateTimeOriginal, GPSLatitude, "
    "GPSLongitude, Orientation and the resolution.",
    "Folders without files": "Those made by `POST /v1/folder` stay; others are there as long as files are in them.",
    "Custom metadata": "At most 50 fields and 512 characters a value, as all metadata here; no path policies.",
    "`PURGE_FAILED`": "What is purged is dropped at once.",
    "Bulk jobs that fail for some files": "`Completed`, and the first hundred `{path, error}` beside it as `errors`.",
    "`DELETE /v1/folder` of very many files": "Workers delete what was in it when it was asked for. The 204 waits for "
    "that, up to 20 seconds; of a folder that takes longer the rest goes after the answer.",
    "Webhooks for folders": "One event for each folder of a tree. Folders are known by their paths: one that is "
    "renamed is told as `folder.deleted` and `folder.created`, and `folder.updated` once with its end; one that no "
    "file is in any more, and that was not made on purpose, is `folder.deleted`.",
    "`quality` in metadata": "Of a JPEG, estimated from its quantisation table by the IJG's scale; 0 for others, and, "
    "with `hasColorProfile` false, for files stored before this was measured.",
    "`GET /v1/metadata?url=` of a transformation": "The metadata of the file that the address is of.",
    "Origins, URL-endpoints": "Told as they are here: no origins and the default endpoint; changes are a 400.",
    "`GET /v1/accounts/usage`": "`mediaLibraryStorageBytes` as it is now; traffic is not counted by project.",
    "`GET /v1/accounts/usage-analytics`": "A 400; `/metrics` has the counts of all projects together.",
}
"""What of the management API is not spoken, and what happens instead."""
