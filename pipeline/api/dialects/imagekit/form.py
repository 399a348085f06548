"""The form of an upload as it arrives: its fields by name, and what came as `file`, whichever of them is first.

Clients send `file` before or after what says who they are, with a filename or without one. So it waits aside until all
of the form is there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from pipeline import sniff
from pipeline.api.bodies import FORM, Form, Part
from pipeline.api.dialects.imagekit.errors import invalid
from pipeline.api.endpoint import Call
from pipeline.errors import BodyEmpty, BodyTypeUnsupported
from pipeline.uploads.aside import Aside

FILE = "file"
SPELLED = 4096
"""Bytes that a file as text may have beyond a third more than its own: what stands before base64, and line ends."""
LONGEST_URL = 8192

_URL = re.compile(rb"\s*https?://", re.IGNORECASE)


@dataclass
class Sent:
    """What a form says: of a field that is told again, the last value counts."""

    fields: dict[str, str] = field(default_factory=dict)
    content: Aside | None = None
    """What came as `file`, as it came."""
    is_named: bool = False
    """Whether that had a filename, so that it can be nothing but the bytes of the file."""

    def get(self, name: str) -> str:
        """The value of a field; "" when it is empty or not there."""
        return self.fields.get(name, "")


@asynccontextmanager
async def reading(call: Call, most: int) -> AsyncIterator[Sent]:
    """What a request sends, until the end of the block; raises `FileTooLarge` for a file of more than `most` bytes."""
    sent = Sent()
    try:
        if call.request.body_exists:
            if call.request.content_type != FORM:
                raise BodyTypeUnsupported(found=call.request.content_type, expected=FORM)
            with suppress(BodyEmpty):
                async for part in Form(call.request, call.body):
                    await _take(call, sent, part, most)
        yield sent
    finally:
        if sent.content is not None:
            sent.content.close()


async def _take(call: Call, sent: Sent, part: Part, most: int) -> None:
    if part.name != FILE:
        sent.fields[part.name] = await part.text()
        return
    if sent.content is not None:
        raise invalid(FILE, "There should be one file in a request.")
    sent.content, sent.is_named = aside(call), part.is_file
    await sent.content.take(part, most if part.is_file else most * 4 // 3 + SPELLED)


def aside(call: Call) -> Aside:
    """A place for bytes until it is known what becomes of them."""
    return Aside(call.core.settings.data_dir / "tmp")


async def head_of(content: Aside) -> bytes:
    """Its first bytes, enough to tell what it is."""
    head = b""
    async for chunk in content:
        head += chunk[: sniff.HEAD_SIZE - len(head)]
        if len(head) >= sniff.HEAD_SIZE:
            break
    return head


async def url_in(content: Aside) -> str | None:
    """The address that was sent in the place of a file, None when that is no address."""
    if content.size > LONGEST_URL or not _URL.match(head := await head_of(content)):
        return None
    try:
        text = head.decode().strip()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and " " not in text else None


def shown(fields: Mapping[str, str], name: str) -> str:
    """A field as an error repeats it."""
    return fields.get(name, "")[:100]
