"""What is percent-encoded in an address of delivery: decoded once, or refused, so that no part means two things."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pipeline.errors import RequestInvalid

_HIDDEN = re.compile(r"%(?:2f|5c|00)", re.IGNORECASE)


def check_open(path: str) -> None:
    """Raise `RequestInvalid` for a path that hides slashes, backslashes or NULs in its encoding."""
    if _HIDDEN.search(path):
        raise RequestInvalid(reason="A path has no encoded slashes, backslashes or NULs.")


def decoded(text: str) -> str:
    """Percent-encoding undone; raises `RequestInvalid` where that is no text."""
    try:
        found = unquote_to_bytes(text).decode()
    except UnicodeDecodeError as cause:
        raise RequestInvalid(reason="What is percent-encoded in an address has to be UTF-8.") from cause
    if any(sign < " " and sign not in "\n\t" for sign in found):
        raise RequestInvalid(reason="An address has no control characters.")
    return found
