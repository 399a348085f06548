"""`/files/local_copy/` and `/files/remote_copy/`: files of their own, of a file or of what operations make of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.delivery import making, operations
from pipeline.api.dialects.uploadcare.delivery.urls import target_of
from pipeline.api.dialects.uploadcare.groups import member
from pipeline.api.dialects.uploadcare.rest import Ask, required, told, truth
from pipeline.api.dialects.uploadcare.rest_errors import complaint
from pipeline.errors import SafelightError
from pipeline.files import Copying
from pipeline.model import File
from pipeline.sniff import extension
from pipeline.vendors.uploadcare import filename

_BLANK = re.compile(r"\$\{(\w+)}")


async def local_copy(ask: Ask) -> web.Response:
    """`store` left out or false, it lasts as long as any file that nobody stored."""
    fields = ask.fields()
    source, metadata = await _source(ask, fields), fields.get("metadata")
    if metadata is not None and not _is_texts(metadata):
        raise complaint("metadata", "Expected a dictionary of strings.")
    wish = Copying(store=bool(truth(fields.get("store"))), metadata=metadata)
    file = await settled(ask.call.core.files.duplicate(ask.grant, source, wish))
    return told({"type": "file", "result": ask.shown(file)}, 201)


async def remote_copy(ask: Ask) -> web.Response:
    """A copy in the storage that the settings call `target`, named by a pattern."""
    fields = ask.fields()
    source, target = await _source(ask, fields), required(fields, "target")
    if target not in ask.call.core.storages:
        raise complaint("target", "Remote storage not found.")
    path = PurePosixPath(_patterned(str(fields.get("pattern") or "${default}"), source))
    folder = "" if str(path.parent) == "." else str(path.parent)
    wish = Copying(storage=target, name=path.name, folder=folder, store=True)
    made = await settled(ask.call.core.files.duplicate(ask.grant, source, wish))
    return told({"type": "url", "result": f"s3://{target}/{made.key}"}, 201)


async def _source(ask: Ask, fields: Mapping[str, Any]) -> File:
    """The file that is meant, or what the operations behind it make of it."""
    try:
        id, effects = member(required(fields, "source"))
    except SafelightError as cause:
        raise complaint("source", "Expected a UUID or a CDN URL of a file.") from cause
    file = await ask.call.core.files.get(ask.grant, id)
    return await _made(ask, file, effects) if effects else file


async def _made(ask: Ask, file: File, effects: str) -> File:
    """What a worker makes of the file, as if it were one; overlays of other files are not drawn."""
    try:
        draft = operations.read(target_of(f"/-/{effects}", operations.WANTING).steps)
        if draft.kind != "picture" or draft.overlays:
            raise complaint("source", "Sources with these operations are not copied.")
        recipe = making.picture(draft, file, {}, "").recipe
        made = await ask.call.core.delivering.derivative(recipe)
    except SafelightError as cause:
        if cause.retryable:
            raise
        raise complaint("source", cause.message) from cause
    name = f"{PurePosixPath(file.name).stem}.{extension(made.mime)}"
    facts = {"mime": made.mime, "size": made.size, "sha256": made.sha256, "image": made.image, "facts": {}}
    return file.model_copy(update={"storage": made.storage, "key": made.key, "name": name, "region": None, **facts})


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _patterned(pattern: str, file: File) -> str:
    name = PurePosixPath(filename(file))
    values = {"uuid": file.id, "filename": name.stem, "ext": name.suffix, "effects": ""}
    values["auto_filename"] = f"{file.id}{name.suffix}"
    values["default"] = f"{file.id}/{name}"
    return _BLANK.sub(lambda match: values.get(match.group(1), ""), pattern).lstrip("/") or str(name)
