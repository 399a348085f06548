"""What is found out about a picture, asked for by its id or by an address it is delivered at."""

from __future__ import annotations

from aiohttp import web

from pipeline.api.dialects.imagekit.errors import missing, refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, current_of, told
from pipeline.api.dialects.imagekit.manage.purging import file_place, path_in
from pipeline.api.dialects.imagekit.metadata import metadata_of


async def by_id(ask: Ask) -> web.Response:
    return told(await metadata_of(ask.core, await current_of(ask)))


async def by_url(ask: Ask) -> web.Response:
    """The metadata of the file that an address of this project is of, whatever the address makes of it."""
    url = ask.query("url")
    if not url:
        raise missing("url")
    file = await ask.records.lineages.at(ask.project, *file_place(path_in(ask, url)))
    if file is None:
        raise refused(f"{url[:900]} should be accessible using your ImageKit.io account.")
    return told(await metadata_of(ask.core, file))
