"""A transformation outside of an address: what is made of an upload before it is stored, or behind that."""

from __future__ import annotations

from pipeline.api.dialects.imagekit.delivery.reading import Wish, made_of, plan_of
from pipeline.core import Core
from pipeline.delivery import Recipe
from pipeline.errors import RequestInvalid
from pipeline.model import File, Project


async def recipe_of(
    core: Core, project: Project, file: File, text: str, suffix: str = "", *, opens_private: bool = True
) -> Recipe:
    """What a transformation makes of a file, in the file's own format unless it says another.

    `suffix` is one of the endings of addresses: `THUMBNAIL` for a picture of a video or a document, `FILM` for a video
    of a GIF file; `opens_private` says whether private pictures may be laid over it. Raises `RequestInvalid` for a
    transformation that cannot be done to this file, or does nothing to it.
    """
    plan = await plan_of(core, project, [text.removeprefix("tr:")])
    made = await made_of(plan, Wish(file, suffix, format="orig"), opens_private)
    if made.making is None:
        raise RequestInvalid(reason="The transformation leaves the file as it is.")
    return made.making.recipe
