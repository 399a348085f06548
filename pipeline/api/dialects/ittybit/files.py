"""`/files`: every file of the project, those that were made of others too; new ones are got from a URL."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.ittybit import collecting
from pipeline.api.dialects.ittybit.ask import Ask, object_of, text_of
from pipeline.api.dialects.ittybit.claims import OF_FILE, intake_of, place_of
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing
from pipeline.errors import FetchEnded, FileNotFound
from pipeline.model import Edit, Fetch, File, FileQuery, FileSort, Intake, new_id
from pipeline.records.finding import Order
from pipeline.uploads.fetching import OPEN
from pipeline.vendors.ittybit.files import file_object, own, split, waiting_object
from pipeline.vendors.ittybit.words import ITTYBIT

WAIT = 45.0
"""Seconds that a new file is waited for; the vendor's clients wait for a minute."""
SORTS: Mapping[str, FileSort] = {"created": "created", "updated": "created", "filesize": "size", "filename": "name"}
KINDS: Mapping[str, tuple[str, ...]] = {kind: (f"{kind}/*",) for kind in ("video", "image", "audio")} | {
    "document": ("text/*", "application/pdf", "application/json")
}
NONE = ("none/none",)
"""The type of no file."""


async def listed(ask: Ask) -> web.Response:
    core, query, order = ask.call.core, query_of(ask), order_of(ask)
    files = await collecting.found(core, ask.project, query, ask.page.wanted, order)
    total, _ = await core.records.files.count(ask.project, query)
    shown = files[ask.page.skipped : ask.page.wanted]
    return ask.listed([file_object(ask.view, file) for file in shown], total)


def query_of(ask: Ask) -> FileQuery:
    """Which files a list is of: those of a `kind`, a `folder` or a `status`."""
    kind, status, folder = ask.query("kind"), ask.query("status"), ask.query("folder")
    types = KINDS.get(kind, NONE) if kind else ()
    return FileQuery(types=NONE if status not in ("", "ready") else types, folder=folder.strip("/") or None)


def order_of(ask: Ask) -> Order:
    """What a list is sorted by; raises `BadRequest`."""
    sort, order = ask.query("sort") or "created", ask.query("order") or "desc"
    if sort not in SORTS or order not in ("asc", "desc"):
        raise BadRequest(reason="`sort` is one of created, updated, filesize, and `order` one of asc, desc.")
    return Order(SORTS[sort], order == "desc")


async def get(ask: Ask) -> web.Response:
    found = await known(ask, ask.id("File", "file"))
    told = waiting_object(ask.view, found) if isinstance(found, Fetch) else file_object(ask.view, found)
    return ask.told(told)


async def known(ask: Ask, id: str) -> File | Fetch:
    """The file of this id, or the fetch that is to become it; raises `Missing`."""
    with suppress(FileNotFound):
        return await ask.call.core.files.get(ask.grant, id)
    fetch = await collecting.fetch_of(ask.call.core, ask.grant, id)
    if fetch is None or fetch.file == id:
        raise Missing(what="File")
    return await known(ask, fetch.file) if fetch.file else fetch


async def create(ask: Ask) -> web.Response:
    """A file that is got from its URL; what takes longer is told of as it stands, and goes on."""
    fields = ask.fields()
    found = await fetched(ask, fields, await claimed(ask, fields))
    if isinstance(found, Fetch):
        return ask.told(waiting_object(ask.view, found), 202)
    return ask.told(file_object(ask.view, found), 201)


async def claimed(ask: Ask, fields: Mapping[str, Any]) -> Intake:
    """What a request says of the file that it wants; raises `BadRequest`, or `Missing` for an unknown media."""
    intake = intake_of(fields)
    if fields.get("media_id") is None:
        return intake
    return intake.model_copy(update={"root": (await collecting.named(ask, fields["media_id"])).id})


async def fetched(ask: Ask, fields: Mapping[str, Any], intake: Intake) -> File | Fetch:
    """The file at a URL, or how far that has come; raises what a URL is refused for, and `BadRequest`."""
    url, core, id = text_of(fields, "url", 8000), ask.call.core, new_id()
    if not url:
        raise BadRequest(reason="`url` is required.")
    fetch = await core.fetching.begin(ask.grant, url, intake, place_of(fields).name, id=id, promise=id)
    if fields.get("async") is not True:
        fetch = await core.fetching.wait(ask.grant, fetch.id, WAIT)
    if fetch.status == "success" and fetch.file:
        return await core.files.get(ask.grant, fetch.file)
    if fetch.status not in OPEN:
        raise BadRequest(reason=fetch.error.message if fetch.error else "The file could not be fetched.")
    return fetch


async def change(ask: Ask) -> web.Response:
    """Other `folder`, `filename`, `ref` or `label`; of `metadata` the given keys, null removes one."""
    file = await known(ask, ask.id("File", "file"))
    if isinstance(file, Fetch):
        raise BadRequest(reason="The file has not been fetched yet.")
    edit = edit_of(file, ask.fields())
    return ask.told(file_object(ask.view, await settled(ask.call.core.files.edit(ask.grant, file.id, edit))))


def edit_of(file: File, fields: Mapping[str, Any]) -> Edit:
    """What a request changes of a file."""
    place, said = place_of(fields), dict(own(file))
    for name in OF_FILE:
        if name in fields:
            said[name] = text_of(fields, name)
    merged: dict[str, str | None] = {}
    if "metadata" in fields:
        merged, said["metadata"] = merging(file, object_of(fields, "metadata"))
    folder = "/" if "folder" in fields and fields["folder"] is None else place.folder
    return Edit(name=place.name, folder=folder, merge_metadata=merged, facts={ITTYBIT: said})


def merging(file: File, given: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """What becomes of a file's metadata, and of what of it is no short text."""
    texts, rest = split({key: value for key, value in given.items() if value is not None})
    kept = {key: value for key, value in own(file).get("metadata", {}).items() if key not in given}
    # What was a short text and is none any more goes from where all read it.
    gone = [key for key in given if key not in texts and key in file.metadata]
    return {**texts, **dict.fromkeys(gone)}, {**kept, **rest}


async def delete(ask: Ask) -> web.Response:
    found = await known(ask, ask.id("File", "file"))
    core = ask.call.core
    if isinstance(found, Fetch):
        with suppress(FetchEnded):
            await settled(core.fetching.cancel(ask.grant, found.id))
    else:
        await settled(core.files.delete(ask.grant, found.id))
    return ask.told({"message": "File deleted."}, 202)
