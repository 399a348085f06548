"""`/files/<uuid>/metadata/` and `/files/<uuid>/tags/`: what a file is filed under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.uploadcare.rest import Ask, nothing, told
from pipeline.api.dialects.uploadcare.rest_errors import complaint
from pipeline.errors import MetadataKeyNotFound, RequestInvalid
from pipeline.model import Edit, File


async def every(ask: Ask) -> web.Response:
    return told(dict((await _file(ask)).metadata))


async def get(ask: Ask) -> web.Response:
    return told((await _file(ask)).metadata[await _known_key(ask)])


async def put(ask: Ask) -> web.Response:
    value, key = ask.json(), ask.call.place("key")
    if not isinstance(value, str):
        raise RequestInvalid(reason="Not a valid string.")
    is_new = key not in (await _file(ask)).metadata
    file = await settled(_edited(ask, Edit(merge_metadata={key: value})))
    return told(file.metadata[key], 201 if is_new else 200)


async def delete(ask: Ask) -> web.Response:
    key = await _known_key(ask)
    await settled(_edited(ask, Edit(merge_metadata={key: None})))
    return nothing()


async def tags(ask: Ask) -> web.Response:
    return told({"tags": list((await _file(ask)).tags)})


async def put_tags(ask: Ask) -> web.Response:
    return await _retag(ask, Edit(tags=_words(ask, "tags", needed=True)))


async def patch_tags(ask: Ask) -> web.Response:
    """Those to delete go before those to add come."""
    return await _retag(ask, Edit(add_tags=_words(ask, "add"), remove_tags=_words(ask, "delete")))


async def _retag(ask: Ask, edit: Edit) -> web.Response:
    before = (await _file(ask)).tags
    after = (await settled(_edited(ask, edit))).tags
    added = [tag for tag in after if tag not in before]
    return told({"tags": list(after), "added": added, "deleted": [tag for tag in before if tag not in after]})


def _words(ask: Ask, name: str, *, needed: bool = False) -> Sequence[str]:
    words: Any = ask.fields().get(name)
    if words is None and not needed:
        return ()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise complaint(name, "Expected a list of strings.")
    return tuple(words)


async def _known_key(ask: Ask) -> str:
    key = ask.call.place("key")
    if key not in (await _file(ask)).metadata:
        raise MetadataKeyNotFound(key=key[:64])
    return key


async def _file(ask: Ask) -> File:
    return await ask.call.core.files.get(ask.grant, ask.id)


async def _edited(ask: Ask, edit: Edit) -> File:
    return await ask.call.core.files.edit(ask.grant, ask.id, edit)
