"""`transformation` of an upload: `pre`, what is made of the file before it is stored, and `post`, what is made after.

The bytes that came for a `pre` are a file only while it is made: kept for nobody, private, under a name of no meaning.
What is made behind an upload is the very thing that its address delivers, only sooner; its end is told by an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.acts import settled
from pipeline.api.dialects.imagekit.delivery import recipe_of
from pipeline.api.dialects.imagekit.delivery.addresses import FILM, THUMBNAIL
from pipeline.api.dialects.imagekit.delivery.steps import steps_of
from pipeline.api.dialects.imagekit.errors import invalid
from pipeline.api.dialects.imagekit.storing import Look, Storing
from pipeline.api.dialects.imagekit.wishes import Post, Wish
from pipeline.api.endpoint import Call
from pipeline.delivery import Recipe, ahead
from pipeline.errors import DerivativePending, RecordsUnavailable, RequestInvalid, SafelightError
from pipeline.files import Copying
from pipeline.model import Derivative, Event, File, Intake, new_id
from pipeline.records.lineages import lineage_of
from pipeline.vendors.imagekit import address_of, path_of

GIF = "image/gif"
PDF = "application/pdf"
TIMES = 3
"""How often a `pre` is waited for, each time as long as a delivery."""
SUFFIXES: Mapping[str, str] = {"gif-to-video": FILM, "thumbnail": THUMBNAIL}
"""What stands behind the path of what is made, by the kind of a `post`."""


def check_transformation(wish: Wish, mime: str) -> None:
    """Refuse what cannot be read, and what cannot be done to a file of this type."""
    for text in filter(None, (wish.pre, *(post.value for post in wish.posts))):
        try:
            steps_of(text.removeprefix("tr:"))
        except RequestInvalid as cause:
            raise invalid("transformation", cause.message) from cause
    if wish.pre and not mime.startswith("image/"):
        raise invalid("transformation", "A pre-transformation can be applied to images only.")
    for post in wish.posts:
        _check_kind(post, mime)


def _check_kind(post: Post, mime: str) -> None:
    if post.type == "abs":
        raise invalid("transformation", "Adaptive bitrate streaming is not available on this server.")
    if post.type == "gif-to-video" and mime != GIF:
        raise invalid("transformation", "A post-transformation of type gif-to-video can be applied to GIF files only.")
    if not mime.startswith(("image/", "video/")) and not (post.type == "thumbnail" and mime == PDF):
        raise invalid("transformation", "A post-transformation can be applied to images and videos only.")


# Before it is stored


async def transformed(call: Call, storing: Storing, pre: str) -> File:
    """The file that the transformation makes of what came; refused when it makes nothing of it."""
    claims = Intake(
        name=new_id(), declared_size=storing.content.bytes.size, store=False, private=True, dialect="imagekit"
    )
    wish = storing.wish
    telling = {"stage": "pre", "request": call.request_id, "transformation": pre, "name": wish.name}
    telling["path"] = f"/{wish.folder}/{wish.name}" if wish.folder else f"/{wish.name}"
    original = await storing.taken(claims, _anything)
    try:
        made = await _derived(call, original, pre)
        file = await storing.file(lambda intake, look: _copied(call, original, made, intake, look))
    except SafelightError as error:
        await _told(call, ahead.failed(original, error.code, error.message, telling))
        raise
    finally:
        with suppress(SafelightError):  # by itself it expires
            await settled(call.core.files.delete(call.grant, original.id))
    await _told(call, ahead.made(file, made, telling))
    return file


async def _told(call: Call, event: Event) -> None:
    with suppress(RecordsUnavailable):  # what was done is done, told or not
        await call.core.events.append(event)


def _anything(file: File) -> None:
    """The checks are for what is made of it."""


async def _derived(call: Call, original: File, pre: str) -> Derivative:
    try:
        recipe = await recipe_of(call.core, call.grant.project, original, pre, opens_private=not call.grant.public)
        for _ in range(TIMES - 1):
            try:
                return await call.core.delivering.whole(recipe)
            except DerivativePending:
                continue
        return await call.core.delivering.whole(recipe)
    except SafelightError as error:
        if error.status >= 500 and not isinstance(error, DerivativePending):
            raise
        raise invalid("transformation", f"The pre-transformation could not be applied. {error.message}") from error


async def _copied(call: Call, original: File, made: Derivative, intake: Intake, look: Look) -> File:
    """What was made, as the file that was asked for."""
    taken = ("name", "folder", "metadata", "tags", "facts", "region", "private", "published", "description", "source")
    told: dict[str, Any] = {name: getattr(intake, name) for name in taken}
    told |= {name: getattr(made, name) for name in ("storage", "key", "size", "mime", "sha256", "image")}
    source = original.model_copy(update={**told, "stored_at": original.created_at, "expires_at": None})
    look(source)
    copying = Copying(store=True, lineage=intake.lineage, version=intake.version)
    return await call.core.files.duplicate(call.grant, source, copying)


# Behind it


async def make_posts(call: Call, file: File, posts: Sequence[Post]) -> None:
    """Have everything made that was asked for; what cannot be is told by its event too."""
    for number, post in enumerate(posts):
        telling = _telling(call, file, post, number)
        try:
            await call.core.delivering.ahead(await _behind(call, file, post), telling)
        except SafelightError as error:
            await _told(call, ahead.failed(file, error.code, error.message, telling))


async def _behind(call: Call, file: File, post: Post) -> Recipe:
    """How it is made; pages that were let in for one upload lay no private pictures over it."""
    suffix, opens_private = _suffix(post, file), not call.grant.public
    return await recipe_of(call.core, call.grant.project, file, post.value, suffix, opens_private=opens_private)


def _telling(call: Call, file: File, post: Post, number: int) -> Mapping[str, Any]:
    return {
        "stage": "post",
        "number": number,
        "request": call.request_id,
        "transformation": post.document,
        "file": lineage_of(file),
        "name": file.name,
        "path": path_of(file),
        "address": address_of(file, post.value, _suffix(post, file)),
    }


def _suffix(post: Post, file: File) -> str:
    """What stands behind its path; a thumbnail of a picture is a picture at its own."""
    return "" if post.type == "thumbnail" and file.mime.startswith("image/") else SUFFIXES.get(post.type, "")
