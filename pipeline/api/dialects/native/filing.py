"""`/v1/files/{id}/...`: what a file is filed under, whether it stays, copies of it; and the same for many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, RootModel, model_validator

from pipeline.acts import settled
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import IDEMPOTENCY, file_shape
from pipeline.api.dialects.native.finding import FILTERED, Filters
from pipeline.api.dialects.native.shapes import LABEL_LENGTH, Ask, FileShape, Metadata, Shape
from pipeline.api.endpoint import UUID, Call, Endpoint, answer, digest_of, parsed, plain
from pipeline.api.idempotency import once
from pipeline.errors import (
    FileNotFound,
    FolderInvalid,
    MetadataInvalid,
    MetadataKeyNotFound,
    NameInvalid,
    QuotaExceeded,
    RegionInvalid,
    StorageFull,
    TagInvalid,
    UploadBusy,
)
from pipeline.files import BATCH, Act, Copying, Outcome
from pipeline.model import Edit, File, Problem, Region, new_id

Label = Annotated[str, Field(max_length=LABEL_LENGTH)]


class EditAsk(Ask):
    """What is to be changed; what is left out stays as it is."""

    name: Label | None = None
    folder: Label | None = Field(default=None, description="`/` is the root.")
    tags: tuple[Label, ...] | None = Field(default=None, description="These and no others.")
    add_tags: tuple[Label, ...] = ()
    remove_tags: tuple[Label, ...] = ()
    metadata: Mapping[str, str | None] | None = Field(default=None, description="Key by key; null removes one.")
    private: bool | None = None
    published: bool | None = Field(default=None, description="False, it is delivered to nobody without an API key.")
    description: str | None = Field(default=None, max_length=LABEL_LENGTH)
    region: Region | None = Field(default=None, description="Null removes it.")

    def edit(self) -> Edit:
        given = {name: getattr(self, name) for name in self.model_fields_set - {"metadata"}}
        return Edit(**given, merge_metadata=self.metadata or {})


class TagsAsk(Ask):
    tags: tuple[Label, ...]


class TagsChangeAsk(Ask):
    """Which tags go and which come, in this order."""

    remove: tuple[Label, ...] = ()
    add: tuple[Label, ...] = ()


class TagsShape(Shape):
    tags: tuple[str, ...]


class MetadataAsk(RootModel[dict[str, str]]):
    """All metadata of a file."""


class MetadataChangeAsk(RootModel[dict[str, str | None]]):
    """Metadata to set; null removes a key."""


class ValueAsk(RootModel[str]):
    """One value, as a JSON string."""


class CopyAsk(Ask):
    """How the copy is to differ; what is left out is as it was."""

    storage: Label | None = Field(default=None, description="Another of the storages in the settings.")
    name: Label | None = None
    folder: Label | None = None
    store: bool | None = Field(default=None, description="Left out, as the project says.")
    private: bool | None = None
    metadata: Metadata | None = None
    tags: tuple[Label, ...] | None = None


class BatchAsk(Ask):
    """What is done to which files: to those named, or to the next hundred that are looked for."""

    act: Literal["store", "unstore", "delete", "edit"]
    ids: tuple[Label, ...] | None = Field(default=None, min_length=1, max_length=BATCH)
    filter: Filters | None = None
    cursor: str | None = Field(default=None, description="`next` of the answer before, for a filter.")
    edit: EditAsk | None = Field(default=None, description="For `edit`.")

    @model_validator(mode="after")
    def _whole(self) -> BatchAsk:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or a filter")
        if (self.act == "edit") != (self.edit is not None):
            raise ValueError("an edit goes with the act `edit`")
        return self


class OutcomeShape(Shape):
    """What became of one file: itself, or why not."""

    id: str
    file: FileShape | None
    error: Problem | None


class BatchShape(Shape):
    items: tuple[OutcomeShape, ...] = Field(description="In the order of the ids.")
    next: str | None = Field(description="Send it as `cursor` to go on with the filter; null when all were seen.")


async def change(call: Call) -> web.Response:
    return await _edited(call, (await call.json(EditAsk)).edit())


async def metadata(call: Call) -> web.Response:
    return plain(dict((await _own(call)).metadata))


async def replace_metadata(call: Call) -> web.Response:
    return await _described(call, Edit(metadata=(await call.json(MetadataAsk)).root))


async def merge_metadata(call: Call) -> web.Response:
    return await _described(call, Edit(merge_metadata=(await call.json(MetadataChangeAsk)).root))


async def value(call: Call) -> web.Response:
    return plain(_value(call, await _own(call)))


async def set_value(call: Call) -> web.Response:
    key, ask = call.place("key"), await call.json(ValueAsk)
    file = await _edit(call, Edit(merge_metadata={key: ask.root}))
    return plain(file.metadata[key])


async def delete_value(call: Call) -> web.Response:
    _value(call, await _own(call))
    await _edit(call, Edit(merge_metadata={call.place("key"): None}))
    return web.Response(status=204)


async def tags(call: Call) -> web.Response:
    return answer(TagsShape(tags=(await _own(call)).tags))


async def replace_tags(call: Call) -> web.Response:
    ask = await call.json(TagsAsk)
    return answer(TagsShape(tags=(await _edit(call, Edit(tags=ask.tags))).tags))


async def change_tags(call: Call) -> web.Response:
    ask = await call.json(TagsChangeAsk)
    file = await _edit(call, Edit(add_tags=ask.add, remove_tags=ask.remove))
    return answer(TagsShape(tags=file.tags))


async def store(call: Call) -> web.Response:
    return answer(file_shape(call, await settled(call.core.files.keep(call.grant, call.id(FileNotFound)))))


async def unstore(call: Call) -> web.Response:
    return answer(file_shape(call, await settled(call.core.files.unkeep(call.grant, call.id(FileNotFound)))))


async def copy(call: Call) -> web.Response:
    file_id, text = call.id(FileNotFound), b""
    if call.request.body_exists:
        require_json(call.request)
        text = await call.body.whole(JSON_LIMIT)
    wish = Copying(**dict(parsed(CopyAsk, text or b"{}")))

    async def ready() -> Copying:
        return wish

    async def make(wish: Copying) -> web.Response:
        file = await call.core.files.copy(call.grant, file_id, wish)
        return answer(file_shape(call, file), 201, {"Location": f"{call.base_url}/v1/files/{file.id}"})

    return await once(call, ready, make, digest=digest_of(file_id.encode() + text))


async def batch(call: Call) -> web.Response:
    ask = await call.json(BatchAsk)
    files, act = call.core.files, ACTS[ask.act](call, ask)
    if ask.ids is not None:
        outcomes, cursor = await settled(files.each(call.grant, [_spelt(id) for id in ask.ids], act)), None
    else:
        query = (ask.filter or Filters()).query()
        outcomes, cursor = await settled(files.each_of(call.grant, query, act, ask.cursor))
    rows = zip(ask.ids or [outcome.id for outcome in outcomes], outcomes, strict=True)
    return answer(BatchShape(items=tuple(_told(call, id, outcome) for id, outcome in rows), next=cursor))


def _editing(call: Call, ask: BatchAsk) -> Act:
    edit = (ask.edit or EditAsk()).edit()
    return lambda grant, id: call.core.files.edit(grant, id, edit)


ACTS: Mapping[str, Callable[[Call, BatchAsk], Act]] = {
    "store": lambda call, ask: call.core.files.keep,
    "unstore": lambda call, ask: call.core.files.unkeep,
    "delete": lambda call, ask: call.core.files.delete,
    "edit": _editing,
}


def _told(call: Call, id: str, outcome: Outcome) -> OutcomeShape:
    error, file = outcome.error, outcome.file
    return OutcomeShape(
        id=id,
        file=file_shape(call, file) if file else None,
        error=Problem(code=error.code, message=error.message) if error else None,
    )


def _spelt(id: str) -> str:
    """An id as files have them; what can be none becomes one that no file has."""
    return id.lower() if UUID.fullmatch(id) else new_id()


async def _own(call: Call) -> File:
    return await call.core.files.get(call.grant, call.id(FileNotFound))


async def _edit(call: Call, edit: Edit) -> File:
    return await settled(call.core.files.edit(call.grant, call.id(FileNotFound), edit))


async def _edited(call: Call, edit: Edit) -> web.Response:
    return answer(file_shape(call, await _edit(call, edit)))


async def _described(call: Call, edit: Edit) -> web.Response:
    return plain(dict((await _edit(call, edit)).metadata))


def _value(call: Call, file: File) -> str:
    key = call.place("key")
    if key not in file.metadata:
        raise MetadataKeyNotFound(key=key[:64])
    return file.metadata[key]


def _endpoint(method: str, path: str, summary: str, **more: object) -> Endpoint:
    return Endpoint(method, f"/v1/files/{{id}}{path}", summary, tag="files", **more)  # type: ignore[arg-type]


KNOWN = (FileNotFound,)
EDITING = (FileNotFound, FolderInvalid, MetadataInvalid, NameInvalid, RegionInvalid, TagInvalid, UploadBusy)
DESCRIBING = (FileNotFound, MetadataInvalid, UploadBusy)
TAGGING = (FileNotFound, TagInvalid, UploadBusy)
OF_ONE_KEY = (FileNotFound, MetadataKeyNotFound)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/v1/files/batch",
        "Store, delete or change up to a hundred files.",
        act=batch,
        tag="files",
        body=BatchAsk,
        answers={200: BatchShape},
        errors=FILTERED,
    ),
    _endpoint("PATCH", "", "Change what a file is filed under.", act=change, body=EditAsk,
              answers={200: FileShape}, errors=EDITING),
    _endpoint("POST", "/store", "Keep a file for good.", act=store, answers={200: FileShape},
              errors=(*KNOWN, UploadBusy)),
    _endpoint("DELETE", "/store", "Let a stored file expire.", act=unstore, answers={200: FileShape},
              errors=(*KNOWN, UploadBusy)),
    _endpoint("POST", "/copies", "Copy a file.", act=copy, headers=IDEMPOTENCY, body=CopyAsk,
              answers={201: FileShape},
              errors=(FileNotFound, FolderInvalid, MetadataInvalid, QuotaExceeded, StorageFull, TagInvalid)),
    _endpoint("GET", "/metadata", "See the metadata of a file.", act=metadata, answers={200: MetadataAsk},
              errors=KNOWN),
    _endpoint("PUT", "/metadata", "Replace the metadata of a file.", act=replace_metadata, body=MetadataAsk,
              answers={200: MetadataAsk}, errors=DESCRIBING),
    _endpoint("PATCH", "/metadata", "Set or remove some metadata of a file.", act=merge_metadata,
              body=MetadataChangeAsk, answers={200: MetadataAsk}, errors=DESCRIBING),
    _endpoint("GET", "/metadata/{key}", "See one value.", act=value, answers={200: ValueAsk}, errors=OF_ONE_KEY),
    _endpoint("PUT", "/metadata/{key}", "Set one value.", act=set_value, body=ValueAsk, answers={200: ValueAsk},
              errors=DESCRIBING),
    _endpoint("DELETE", "/metadata/{key}", "Remove one value.", act=delete_value, answers={204: None},
              errors=(*OF_ONE_KEY, UploadBusy)),
    _endpoint("GET", "/tags", "See the tags of a file.", act=tags, answers={200: TagsShape}, errors=KNOWN),
    _endpoint("PUT", "/tags", "Replace the tags of a file.", act=replace_tags, body=TagsAsk,
              answers={200: TagsShape}, errors=TAGGING),
    _endpoint("PATCH", "/tags", "Add or remove tags of a file.", act=change_tags, body=TagsChangeAsk,
              answers={200: TagsShape}, errors=TAGGING),
)  # fmt: skip
