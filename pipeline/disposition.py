"""What a Content-Disposition header says (RFC 6266), as browsers and servers really send it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote


def disposition_name(header: str) -> str | None:
    """The file name a Content-Disposition header gives; `filename*` wins over `filename` (RFC 6266, section 4.3)."""
    plain: str | None = None
    for option in _options(header):
        name, _, value = option.partition("=")
        name, value = name.strip().lower(), value.strip()
        if name == "filename*":
            charset, _, rest = value.partition("'")
            if charset.lower() in ("utf-8", "iso-8859-1"):
                return unquote(rest.partition("'")[2], charset, "replace")
        elif name == "filename":
            plain = value.strip('"')
    return plain


def _options(header: str) -> Iterator[str]:
    """The parts between semicolons, those inside of quotes left alone."""
    start, quoted = 0, False
    for place, character in enumerate(header):
        quoted ^= character == '"' and header[place - 1 : place] != "\\"
        if character == ";" and not quoted:
            yield header[start:place]
            start = place + 1
    yield header[start:]
