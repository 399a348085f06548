"""What is done to several files at once; where one of them is not there, nothing is done to any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.errors import HELP, invalid, missing, refused, row_of
from pipeline.api.dialects.imagekit.manage.ask import Ask, is_id, told
from pipeline.api.dialects.imagekit.manage.details import removing, texts_of, without_ai_tags
from pipeline.api.dialects.imagekit.wishes import tags_of
from pipeline.files import Act, Outcome
from pipeline.labels import PRINTED
from pipeline.model import Edit, File, Grant

MOST_DELETED = 100
MOST_TAGGED = 50
GONE = "The requested file(s) does not exist."
PARTLY = "Your request could not be completed for some of the files."


async def delete(ask: Ask) -> web.Response:
    ids = await _ids(ask, MOST_DELETED)
    return await _done(ask, "successfullyDeletedFileIds", ids, removing(ask))


async def add_tags(ask: Ask) -> web.Response:
    tags = tags_of(_texts(ask, "tags"))

    def edit(file: File) -> Edit:
        tags_of([*dict.fromkeys((*file.tags, *tags))])
        return Edit(add_tags=tags)

    return await _edited(ask, edit)


async def remove_tags(ask: Ask) -> web.Response:
    tags = tuple(_texts(ask, "tags"))
    return await _edited(ask, lambda file: Edit(remove_tags=tags))


async def remove_ai_tags(ask: Ask) -> web.Response:
    names = _texts(ask, "AITags")
    return await _edited(ask, lambda file: Edit(facts=without_ai_tags(file, names)))


async def _edited(ask: Ask, edit: Any) -> web.Response:
    async def act(grant: Grant, id: str) -> File:
        file = await ask.records.lineages.get(ask.project, id)
        return await ask.core.files.edit(grant, file.id, edit(file), PRINTED)

    ids = await _ids(ask, MOST_TAGGED)
    return await _done(ask, "successfullyUpdatedFileIds", ids, act)


def _texts(ask: Ask, name: str) -> list[str]:
    if not ask.fields.get(name):
        raise missing(name)
    return texts_of(ask.fields[name], name)


async def _ids(ask: Ask, most: int) -> Sequence[str]:
    """The files that are named, each once; refused with those that are not there."""
    ids = [*dict.fromkeys(id.lower() for id in _texts(ask, "fileIds"))]
    if len(ids) > most:
        raise invalid("fileIds", f"It should have at most {most} file ids.")
    gone = [id for id in ids if not is_id(id) or not await ask.records.lineages.versions(ask.project, id)]
    if gone:
        raise refused(GONE, 404, missingFileIds=gone)
    return ids


async def _done(ask: Ask, name: str, ids: Sequence[str], act: Act) -> web.Response:
    """What became of the files; status 207 when something befell one of them meanwhile."""
    outcomes = await settled(ask.core.files.each(ask.grant, ids, act))
    done = [outcome.id for outcome in outcomes if outcome.error is None]
    faults = [_fault(outcome) for outcome in outcomes if outcome.error is not None]
    if not faults:
        return told({name: done})
    return told({name: done, "errors": faults, "message": PARTLY, "help": HELP}, 207)


def _fault(outcome: Outcome) -> dict[str, str]:
    assert outcome.error is not None
    return {"fileId": outcome.id, "error": row_of(outcome.error)[1]}
