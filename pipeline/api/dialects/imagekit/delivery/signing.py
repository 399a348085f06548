"""Signed addresses: `ik-s`, the HMAC-SHA1 under the private key over what stands behind the endpoint and the expiry.

The expiry is `ik-t`, Unix seconds, or 9999999999 where there is none; neither of the two is signed itself, the rest of
the query is. Clients do not agree on what they sign of a path with blanks or letters beyond ASCII: as it is sent, as
it reads, or encoded in one of several ways; and of letters that Unicode can write in two ways they sign either.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from math import inf
from unicodedata import normalize
from urllib.parse import quote, unquote

from pipeline.errors import SignatureExpired, SignatureInvalid
from pipeline.model import Project
from pipeline.signing import secrets_of, signed

NEVER = "9999999999"
"""What is signed for an expiry where there is none."""
PATH_SIGNS = "/:@!$&'()*+,;=~-._"
"""What RFC 3986 lets stand in a path as it is."""
URI_SIGNS = PATH_SIGNS + "?#[]"
"""What `encodeURI` leaves alone (ECMA-262, section 19.2.6.4), and brackets."""

_EXPIRES = re.compile(r"[0-9]{1,12}")
_OWN = ("ik-s=", "ik-t=")


def until(project: Project, tail: str, signature: str | None, expires: str | None) -> float | None:
    """Until when, Unix seconds, an address is signed; None for one that is not.

    `tail` is what stands behind the project as it was sent. Raises `SignatureInvalid` or `SignatureExpired`.
    """
    if not signature:
        return None
    if expires is not None and not _EXPIRES.fullmatch(expires):
        raise SignatureInvalid
    secrets = secrets_of(project)
    fits = False
    for spelling in _spellings(tail):
        message = f"{spelling}{expires or NEVER}".encode(errors="replace")
        fits |= signed(secrets, message, signature, "sha1")
    if not fits:
        raise SignatureInvalid
    if expires is not None and int(expires) < time.time():
        raise SignatureExpired
    return inf if expires is None else float(expires)


def _spellings(tail: str) -> Iterator[str]:
    """What clients may have signed for this target, each once."""
    path, _, query = tail.removeprefix("/").partition("?")
    query = "&".join(part for part in query.split("&") if not part.startswith(_OWN))
    yield from dict.fromkeys(
        f"{one}?{other}" if other else one for one in _written(path, PATH_SIGNS) for other in _queries(query)
    )


def _queries(query: str) -> list[str]:
    return list(dict.fromkeys(_written(query, URI_SIGNS + "/?"))) if query else [""]


def _written(text: str, safe: str) -> Iterator[str]:
    """As it was sent, as it reads, and encoded in the ways that clients do."""
    yield text
    for form in (unquote(text), *(normalize(name, unquote(text)) for name in ("NFC", "NFD"))):
        yield form
        yield form.replace(" ", "%20")
        yield quote(form, safe=safe)
        # As old clients do: a blank stays a blank.
        yield quote(form, safe=f"{safe} %")
