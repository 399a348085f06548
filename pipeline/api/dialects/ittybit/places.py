"""Where the bytes of a project's files are fetched and put: `/ittybit/d/<project>/`, its delivery domain here.

A file is at its folder and name, and for ever at `file_<id>/<name>`. Addresses are signed with the HMAC-SHA256, in
base64url, of method, domain, path and expiry under the project's secret; what is private opens to such only.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import quote, urlencode

from pipeline.api.dialects.ittybit.errors import MethodUnsigned
from pipeline.api.endpoint import Call
from pipeline.errors import SignatureExpired, SignatureInvalid
from pipeline.model import File, Project
from pipeline.signing import secrets_of
from pipeline.vendors.ittybit.files import DOMAINS, lasting_path, path_of

LASTS = 3600
"""Seconds for which an address of a private file opens it, at least."""
LATEST = 12
"""Digits of the furthest expiry that is believed."""


def domain_of(call: Call, project: Project) -> str:
    """A project's delivery domain, as `https://<domain>/<path>` would be made of it."""
    return f"{call.base_url.partition('://')[2]}{path_of(project.id)}"


def is_open(project: Project, file: File) -> bool:
    """Whether anybody may fetch a file."""
    return not file.private and file.published and project.delivery_secret is None


def address_of(call: Call, project: Project, file: File) -> str:
    """Where a file's bytes are fetched without a key; of what is not open to all, signed for an hour or two."""
    path = lasting_path(file)
    if is_open(project, file):
        return f"{call.base_url}{path_of(project.id)}/{quote(path)}"
    expiry = (int(time.time()) // LASTS + 2) * LASTS
    return signed(call, project, path, expiry, "get")[1]


def signed(call: Call, project: Project, path: str, expiry: int, method: str) -> tuple[str, str]:
    """A signature, and the address that has it; raises `SignatureInvalid` for a project without secrets."""
    secrets = secrets_of(project)
    if not secrets:
        raise SignatureInvalid
    told = _signature(secrets[0], project, path, expiry, method)
    query = urlencode({"expiry": expiry, "method": method, "signature": told})
    return told, f"{call.base_url}{path_of(project.id)}/{quote(path)}?{query}"


def check(project: Project, path: str, query: Mapping[str, str], method: str) -> None:
    """Return when an address was signed for this method and its time is not over.

    Raises `MethodUnsigned`, `SignatureInvalid` or `SignatureExpired`.
    """
    expiry, given = query.get("expiry", ""), query.get("signature", "").replace("+", "-").replace("/", "_").rstrip("=")
    if query.get("method", method).lower() != method:
        raise MethodUnsigned(method=method.upper())
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= LATEST):
        raise SignatureInvalid
    fits = False
    for secret in secrets_of(project):
        told = _signature(secret, project, path, int(expiry), method)
        fits |= hmac.compare_digest(told.encode(), given.encode(errors="replace"))
    if not fits:
        raise SignatureInvalid
    if int(expiry) < time.time():
        raise SignatureExpired


def _signature(secret: bytes, project: Project, path: str, expiry: int, method: str) -> str:
    message = f"{method}\n{path_of(project.id)}\n{path}\n{expiry}"
    return base64.urlsafe_b64encode(hmac.digest(secret, message.encode(), sha256)).decode().rstrip("=")


__all__ = ["DOMAINS", "address_of", "check", "domain_of", "is_open", "signed"]
