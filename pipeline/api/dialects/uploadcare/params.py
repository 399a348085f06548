"""What a request of the Upload API says: its query, its form and its files as one, however a client spelt them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from pipeline import labels
from pipeline.api.bodies import FORM, JSON_LIMIT, Form, Part
from pipeline.api.dialects.uploadcare.errors import FORM_ERRORS, is_true, refused
from pipeline.api.endpoint import Call
from pipeline.errors import BodyEmpty, BodyTypeUnsupported, FieldsTooMany, FileTooLarge, MetadataKeyDoubled
from pipeline.storage.base import PIECE
from pipeline.uploads.aside import Aside

FIELDS = 200
"""Fields of one request, but for those that list files."""
FILES = 100
URLENCODED = "application/x-www-form-urlencoded"
LATER = 64 * 1024
"""Bytes of a second or further file that wait in memory; the first may have more."""

_METADATA = re.compile(r"metadata\[(.*)]", re.DOTALL)
_PLACE = re.compile(r"files\[(\d{0,9})]")


@dataclass(frozen=True)
class Sent:
    """A part with a filename: the field it came in, what it claims, and its bytes."""

    field: str
    name: str
    media_type: str | None
    content: Aside


@dataclass
class Params:
    """Everything a request says; a name told again means its last value. Leaving the block forgets the files."""

    pairs: list[tuple[str, str]] = field(default_factory=list)
    files: list[Sent] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def get(self, name: str) -> str:
        """The value of a field; "" when it is empty or not there, which mean the same."""
        return next((value for key, value in reversed(self.pairs) if key == name), "")

    def flag(self, name: str) -> bool | None:
        """Whether a field that is 0 or 1 is set; None when it is not there."""
        text = self.get(name)
        return is_true(text) if text else None

    def listed_files(self) -> Sequence[str]:
        """The values of `files[]`, `files[N]` or `files`: by N, then as they came."""
        placed = [(_place(key), value) for key, value in self.pairs if key == "files" or _PLACE.fullmatch(key)]
        return [value for _, value in sorted(placed, key=lambda pair: pair[0]) if value]

    def metadata(self) -> dict[str, str]:
        """The values of `metadata[<key>]`; raises the kind of `MetadataInvalid` that says what is wrong with them."""
        found: dict[str, str] = {}
        for name, value in self.pairs:
            if match := _METADATA.fullmatch(name):
                if match.group(1) in found:
                    raise MetadataKeyDoubled(key=match.group(1)[: labels.SHOWN])
                found[match.group(1)] = value
        return labels.metadata(found)

    def tags(self) -> tuple[str, ...]:
        """The words of `tags`; raises `TagInvalid`."""
        return labels.tags(self.get("tags").split(","))

    def add(self, pairs: Iterable[tuple[str, str]], most: int) -> None:
        """Take more fields in; refused when they are too many or have a NUL."""
        self.pairs += pairs
        if len(self.pairs) > most:
            raise FieldsTooMany(most=most)
        if any("\0" in text for pair in self.pairs for text in pair):
            raise refused("NullCharactersForbiddenError")

    def hold(self, content: Aside) -> Aside:
        self._stack.callback(content.close)
        return content


def _place(key: str) -> int:
    match = _PLACE.fullmatch(key)
    return int(match.group(1)) if match and match.group(1) else 0


async def read(call: Call, *, most: int = FIELDS) -> Params:
    """The query and the body of a request, of at most so many fields; files in it are passed over.

    Raises what the vendor calls a body that cannot be parsed.
    """
    params = Params()
    params.add(call.request.query.items(), most)
    if not call.request.body_exists:
        return params
    if call.request.content_type == FORM:
        try:
            async for part in Form(call.request, call.body, most):
                if not part.is_file:
                    params.add([(part.name, await part.text())], most)
        except BodyEmpty:
            return params
    else:
        params.add(await _urlencoded(call, most), most)
    _note_errors(call, params)
    return params


async def read_files(call: Call, most_bytes: int) -> Params:
    """The same with the files of the body, each of at most `most_bytes`; to be used as a block, which forgets them."""
    if (call.request.content_length or 0) > most_bytes * FILES:
        raise refused("RequestSizeLimitExceededError")
    params = Params()
    params.add(call.request.query.items(), FIELDS)
    if call.request.content_type != FORM or not call.request.body_exists:
        return params
    try:
        async for part in Form(call.request, call.body, FIELDS):
            await _take(call, params, part, most_bytes)
    except BaseException:
        params.__exit__(None, None, None)
        raise
    _note_errors(call, params)
    return params


async def _take(call: Call, params: Params, part: Part, most_bytes: int) -> None:
    if not part.is_file:
        params.add([(part.name, await part.text())], FIELDS)
        _note_errors(call, params)
        return
    if len(params.files) == FILES:
        raise refused("FilesNumberLimitExceededError")
    if "\0" in part.name or "\0" in (part.filename or ""):
        raise refused("NullCharactersForbiddenError")
    content = params.hold(Aside(call.core.settings.data_dir / "tmp", LATER if params.files else PIECE))
    try:
        await content.take(part, most_bytes)
    except FileTooLarge as cause:
        raise refused("RequestSizeLimitExceededError") from cause
    params.files.append(Sent(part.name, part.filename or "", part.media_type, content))


async def _urlencoded(call: Call, most: int) -> Sequence[tuple[str, str]]:
    text = await call.body.whole(JSON_LIMIT)
    if call.request.content_type != URLENCODED:
        if not text:
            return []
        raise BodyTypeUnsupported(found=call.request.content_type, expected=URLENCODED)
    if text.count(b"&") >= most:
        raise FieldsTooMany(most=most)
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except ValueError as cause:
        raise refused("PostRequestParserFailedError") from cause


def _note_errors(call: Call, params: Params) -> None:
    if is_true(params.get("jsonerrors")):
        call.request[FORM_ERRORS] = True
