"""Signed delivery: a token in the query opens a path, or everything below it, until its time is over.

`exp=<unix>~acl=/<path>/[*]~hmac=<hex>`, the HMAC-SHA256 under the hex-decoded secret over what stands before it; or
`exp=<unix>~hmac=<hex>` over `exp=<unix>~url=<escaped path>`, as the vendor's Python client makes them (Akamai tokens).
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote_plus, unquote

from pipeline.errors import SignatureExpired, SignatureInvalid, SignatureRequired
from pipeline.model import Project

_EXPIRES = re.compile(r"[0-9]{1,12}")


def check(project: Project, path: str, token: str | None) -> None:
    """Return when the project delivers without tokens or this one opens `path`, percent-encoded as it was sent.

    Raises `SignatureRequired`, `SignatureInvalid` or `SignatureExpired`.
    """
    if project.delivery_secret is None:
        return
    if not token:
        raise SignatureRequired
    fields = dict(part.partition("=")[::2] for part in token.split("~"))
    expires, acl, given = fields.get("exp", ""), fields.get("acl"), fields.get("hmac", "")
    messages = [f"exp={expires}~acl={acl}"] if acl else [f"exp={expires}~url={url}" for url in _spellings(path)]
    if not (_EXPIRES.fullmatch(expires) and _is_signed(project.delivery_secret, messages, given)):
        raise SignatureInvalid
    if acl and not _opens(acl, path):
        raise SignatureInvalid
    if int(expires) < time.time():
        raise SignatureExpired


def _is_signed(secret: str, messages: Sequence[str], given: str) -> bool:
    key, fits = bytes.fromhex(secret), False
    for message in messages:
        expected = hmac.new(key, message.encode(errors="replace"), sha256).hexdigest()
        fits |= hmac.compare_digest(expected.encode(), given.lower().encode(errors="replace"))
    return fits


def _opens(acl: str, path: str) -> bool:
    opened, asked = unquote(acl), unquote(path)
    if opened.endswith("/*"):
        return asked.startswith(opened[:-1]) or asked == opened[:-2]
    return asked.rstrip("/") == opened.rstrip("/")


def _spellings(path: str) -> list[str]:
    """The path as clients sign it: with the slash at its end or without."""
    plain = unquote(path).rstrip("/")
    return [_escaped(plain), _escaped(plain + "/")]


def _escaped(path: str) -> str:
    quoted = re.sub(r"%..", lambda found: found[0].lower(), quote_plus(path, safe=","))
    return quoted.replace("~", "%7e")
