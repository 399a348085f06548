"""`Content-Range` of a chunk: `bytes 0-99/1000`, or with `=` behind `bytes` as the documentation has it.

Its sample ends the first chunk at the byte behind its last and the last one at its last byte, so that clients do both;
how many bytes the body has says which.
"""

from __future__ import annotations

import re

from pipeline.api.dialects.ittybit.errors import BadRequest
from pipeline.api.endpoint import Call
from pipeline.uploads.ranging import Span

_RANGE = re.compile(r"bytes[ =] *(\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII | re.IGNORECASE)


def read_span(call: Call) -> Span:
    """Which bytes a request brings; without a header all of them. Raises `BadRequest`."""
    header, length = call.header("Content-Range"), call.request.content_length
    if header is None:
        if length is None:
            raise BadRequest(reason="`Content-Length` or `Content-Range` is required.")
        return Span(0, length, length)
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        raise BadRequest(reason="`Content-Range` must be such as `bytes=0-16777215/100000000`.")
    start, end, total = map(int, match.groups())
    size = end - start + 1 if length is None else length
    if size not in (end - start, end - start + 1):
        raise BadRequest(reason=f"`Content-Range` says {end - start + 1} bytes, and the body has {size}.")
    return Span(start, size, total)


def is_ranged(call: Call) -> bool:
    """Whether a request brings only a part of a file."""
    return call.header("Content-Range") is not None
