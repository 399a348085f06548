"""What the headers of a tus request claim, read once and refused where they contradict themselves or the protocol."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from pipeline.api.endpoint import UUID, Call
from pipeline.errors import ParamsInvalid, PieceInvalid, RequestInvalid
from pipeline.model import Follow, Intake
from pipeline.uploads.checking import Checksum

HIGHEST = 2**53
METADATA, CONCAT, DRAFT = "metadata", "concat", "draft"
"""The marks of our uploads."""
PARTIAL, FINAL = "partial", "final;"
OWN_KEYS = frozenset({"filename", "filetype", "route", "flow", "params"})
"""Keys of Upload-Metadata that say something to us; all others are the file's metadata."""

_KEY = re.compile(r"[!-+\--~]+")
_params = TypeAdapter(dict[str, Any])


def count(call: Call, name: str) -> int | None:
    """The number of bytes that a header tells, None when it is not there; raises `RequestInvalid`."""
    text = call.header(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or int(text[:17]) > HIGHEST:
        raise RequestInvalid(reason=f"{name} must be a number of bytes.")
    return int(text)


def offset(call: Call) -> int:
    """Where the body goes; raises `RequestInvalid`."""
    given = count(call, "Upload-Offset")
    if given is None:
        raise RequestInvalid(reason="Upload-Offset must say in bytes where the body goes.")
    return given


def size(call: Call) -> int | None:
    """How long the upload will be, None when that is told later (extension creation-defer-length)."""
    given, deferred = count(call, "Upload-Length"), call.header("Upload-Defer-Length")
    if deferred not in (None, "1"):
        raise RequestInvalid(reason="Upload-Defer-Length must be 1.")
    if (given is None) == (deferred is None):
        raise RequestInvalid(reason="Send exactly one of Upload-Length and Upload-Defer-Length.")
    return given


def checksum(call: Call) -> Checksum | None:
    """What the body must come to (extension checksum); raises `RequestInvalid` or `ChecksumUnknown`."""
    header = call.header("Upload-Checksum")
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    try:
        claimed = Checksum(algorithm, b64decode(value, validate=True))
    except (binascii.Error, ValueError) as cause:
        raise RequestInvalid(reason="Upload-Checksum must be an algorithm, a space and a value in base64.") from cause
    if len(claimed.value) != len(claimed.hasher().digest()):
        raise RequestInvalid(reason=f"The value of Upload-Checksum has not the length of a {algorithm}.")
    return claimed


def metadata(call: Call) -> dict[str, str]:
    """The pairs of Upload-Metadata; raises `RequestInvalid`."""
    pairs: dict[str, str] = {}
    header = call.header("Upload-Metadata") or ""
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key):
            raise RequestInvalid(reason="Every key in Upload-Metadata is of printable ASCII, without space or comma.")
        if key in pairs:
            raise RequestInvalid(reason=f"Upload-Metadata has the key `{key[:64]}` twice.")
        pairs[key] = _text(key, value)
    return pairs


def _text(key: str, value: str) -> str:
    try:
        return b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError) as cause:
        raise RequestInvalid(reason=f"`{key[:64]}` in Upload-Metadata is not base64 of UTF-8 text.") from cause


def intake(call: Call, size: int | None, marks: Mapping[str, str]) -> Intake:
    """What the request claims about its file; raises `RequestInvalid` or `ParamsInvalid`."""
    pairs = metadata(call)
    # An empty value says nothing; browsers send one for every field of theirs that was left empty.
    others = {key: value for key, value in pairs.items() if key not in OWN_KEYS and value}
    declared = pairs.get("filetype") or pairs.get("type")
    return Intake(
        name=pairs.get("filename") or pairs.get("name") or "file",
        declared_type=declared if declared and "/" in declared else None,
        declared_size=size,
        metadata=others,
        route=pairs.get("route") or None,
        follow=_follow(pairs, others),
        may_be_empty=True,
        dialect="tus",
        marks={METADATA: call.header("Upload-Metadata") or "", **marks},
    )


def _follow(pairs: Mapping[str, str], metadata: Mapping[str, str]) -> Follow | None:
    flow, params = pairs.get("flow"), pairs.get("params")
    if not flow:
        if params:
            raise RequestInvalid(reason="`params` in Upload-Metadata go with a `flow`.")
        return None
    try:
        return Follow(flow=flow, params=_params.validate_json(params or "{}"), metadata=metadata)
    except ValidationError as cause:
        raise ParamsInvalid(reason="`params` in Upload-Metadata is not a JSON object.") from cause


def concat(call: Call) -> str | None:
    """Upload-Concat as it was sent (extension concatenation); raises `RequestInvalid`."""
    given = call.header("Upload-Concat")
    if given is not None and given != PARTIAL and not given.startswith(FINAL):
        raise RequestInvalid(reason="Upload-Concat must be `partial`, or `final;` and a list of uploads.")
    return given


def members(call: Call, given: str) -> Sequence[str]:
    """The ids in a list of uploads, addresses or paths of ours; raises `RequestInvalid` or `PieceInvalid`."""
    places = given.removeprefix(FINAL).split()
    if not places:
        raise RequestInvalid(reason="Upload-Concat names no uploads.")
    return [_member(call, place) for place in places]


def _member(call: Call, place: str) -> str:
    folders = ("/tus/", urlsplit(call.core.settings.public_url or "").path.rstrip("/") + "/tus/")
    try:
        path = urlsplit(place).path
    except ValueError:
        path = ""
    for folder in folders:
        if path.startswith(folder) and UUID.fullmatch(id := path.removeprefix(folder)):
            return id.lower()
    raise PieceInvalid(id=place[:100], reason="it is none of this server's")
