"""What the fields of an upload's form ask for: texts, read once and refused by the name of the field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from pipeline import labels
from pipeline.api.dialects.imagekit import query
from pipeline.api.dialects.imagekit.errors import invalid, missing
from pipeline.api.dialects.imagekit.form import Sent
from pipeline.api.dialects.imagekit.paths import folder_of, name_of
from pipeline.errors import TagInvalid
from pipeline.model import Region

TAGS_LENGTH = 500
"""Characters of all tags of an upload together."""
LONGEST_URL = 2000
MOST_POSTS = 5
MOST_EXTENSIONS = 20
KINDS = ("transformation", "gif-to-video", "thumbnail", "abs")
"""Of transformations that are made when the file is there."""
FLAGS: Mapping[str, bool] = {
    "useUniqueFileName": True,
    "isPublished": True,
    "isPrivateFile": False,
    "overwriteFile": True,
    "overwriteTags": True,
    "overwriteAITags": True,
    "overwriteCustomMetadata": True,
}
"""Fields that are true or false, and what they are when they are not there."""

_COORDINATES = re.compile(r"\s*(\d{1,7})\s*,\s*(\d{1,7})\s*,\s*(\d{1,7})\s*,\s*(\d{1,7})\s*")


@dataclass(frozen=True)
class Post:
    """A transformation of the file to be made as soon as it is there."""

    type: str
    value: str = ""
    protocol: str | None = None

    @property
    def document(self) -> dict[str, str]:
        """It as it was sent."""
        told = {"type": self.type, "value": self.value, "protocol": self.protocol}
        return {name: text for name, text in told.items() if text}


@dataclass(frozen=True)
class Wish:
    """What an upload asks for; None where it says nothing."""

    name: str
    folder: str
    flags: Mapping[str, bool]
    private: bool | None
    tags: tuple[str, ...] | None
    region: Region | None
    custom: Mapping[str, Any] | None
    description: str
    asked: Sequence[str]
    extensions: Sequence[Mapping[str, Any]]
    webhook: str | None
    pre: str | None
    posts: Sequence[Post]
    checks: query.Tree | None

    @property
    def needs_fields(self) -> bool:
        """Whether anything in it is about custom metadata."""
        return self.custom is not None or self.checks is not None or "customMetadata" in self.asked


def wish_of(sent: Sent) -> Wish:
    """What a form asks for; refused with the first field that cannot be read."""
    if not sent.get("fileName"):
        raise missing("fileName")
    pre, posts = _transformation(sent)
    return Wish(
        name=name_of(sent.get("fileName")),
        folder=folder_of(sent.get("folder")),
        flags={name: flag(sent, name, usual) for name, usual in FLAGS.items()},
        private=flag(sent, "isPrivateFile", False) if sent.get("isPrivateFile") else None,
        tags=tags_of(sent.get("tags").split(",")) if sent.get("tags") else None,
        region=coordinates_of(sent.get("customCoordinates")) if sent.get("customCoordinates") else None,
        custom=_custom(sent),
        description=sent.get("description"),
        asked=[word.strip() for word in sent.get("responseFields").split(",")],
        extensions=extensions_of(_json(sent, "extensions")),
        webhook=webhook_of(sent.get("webhookUrl")),
        pre=pre,
        posts=posts,
        checks=_checks(sent),
    )


def flag(sent: Sent, name: str, usual: bool) -> bool:
    text = sent.get(name).strip().lower()
    if text not in ("", "true", "false"):
        raise invalid(name, "It should be either true or false.")
    return text == "true" if text else usual


def tags_of(given: Sequence[str]) -> tuple[str, ...]:
    """Tags as they are kept; refused when they are too long together or one of them has a `%`."""
    if sum(map(len, given)) > TAGS_LENGTH:
        raise invalid("tags", f"The maximum length of all characters should not exceed {TAGS_LENGTH}.")
    if any("%" in tag for tag in given):
        raise invalid("tags", "% is not allowed.")
    try:
        return labels.tags(given, labels.PRINTED)
    except TagInvalid as cause:
        raise invalid("tags", cause.message) from cause


def coordinates_of(text: str) -> Region:
    """`x,y,width,height` as a region."""
    match = _COORDINATES.fullmatch(text)
    if match is None or not int(match.group(3)) or not int(match.group(4)):
        raise invalid("customCoordinates", "It should be in the format x,y,width,height.")
    x, y, width, height = map(int, match.groups())
    return Region(x=x, y=y, width=width, height=height)


def extensions_of(given: Any) -> Sequence[Mapping[str, Any]]:
    """Extensions as they are asked for, each with its `name`."""
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MOST_EXTENSIONS:
        raise invalid("extensions", f"It should be an array of at most {MOST_EXTENSIONS} extensions.")
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise invalid("extensions", "Every extension should be an object with a name.")
    return given


def webhook_of(text: str) -> str | None:
    """The address that is told of extensions."""
    if text and not _is_address(text):
        raise invalid("webhookUrl", "It should be a valid URL.")
    return text or None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return (
        text.isprintable() and len(text) <= LONGEST_URL and parts.scheme in ("http", "https") and bool(parts.hostname)
    )


def _custom(sent: Sent) -> Mapping[str, Any] | None:
    given = _json(sent, "customMetadata")
    if given is not None and not isinstance(given, dict):
        raise invalid("customMetadata", "It should be a JSON object.")
    return given


def _transformation(sent: Sent) -> tuple[str | None, Sequence[Post]]:
    given = _json(sent, "transformation")
    if given is None:
        return None, ()
    if not isinstance(given, dict) or not given or given.keys() - {"pre", "post"}:
        raise invalid("transformation", "It should be a JSON object with pre, post or both.")
    pre, posts = given.get("pre"), given.get("post", [])
    if pre is not None and (not isinstance(pre, str) or not pre):
        raise invalid("transformation", "pre should be a transformation string.")
    if not isinstance(posts, list) or len(posts) > MOST_POSTS:
        raise invalid("transformation", f"post should be an array of at most {MOST_POSTS} objects.")
    return pre, [_post(one) for one in posts]


def _post(given: Any) -> Post:
    if not isinstance(given, dict) or given.get("type") not in KINDS:
        raise invalid("transformation", f"The type of a post-transformation should be one of {', '.join(KINDS)}.")
    type, value, protocol = given["type"], given.get("value", ""), given.get("protocol")
    if not isinstance(value, str) or (not value and type in ("transformation", "abs")):
        raise invalid("transformation", f"A post-transformation of type {type} needs a value.")
    if type == "abs" and protocol not in ("hls", "dash"):
        raise invalid("transformation", "The protocol of a post-transformation of type abs should be hls or dash.")
    return Post(type, value, protocol if type == "abs" else None)


def _checks(sent: Sent) -> query.Tree | None:
    if not sent.get("checks"):
        return None
    try:
        return query.parse(sent.get("checks"))
    except query.QueryInvalid as cause:
        raise invalid("checks", str(cause)) from cause


def _json(sent: Sent, name: str) -> Any:
    if not sent.get(name):
        return None
    try:
        return orjson.loads(sent.get(name))
    except ValueError as cause:
        raise invalid(name, "It should be valid JSON.") from cause
