"""Who may do what: API keys become Grants, signed addresses open private files, origins are let in."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from pipeline.errors import (
    KeyInvalid,
    KeyNotAdmin,
    KeyRequired,
    SignatureExpired,
    SignatureInvalid,
    SignatureRequired,
)
from pipeline.model import Grant, Project
from pipeline.signing import secrets_of, signature, signed

BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
EXPOSED = (
    "Location, Retry-After, ETag, Content-Range, Content-Disposition, Accept-Ranges, Upload-Offset, Upload-Length, "
    "Idempotency-Replayed, X-Request-Id, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
    "Tus-Checksum-Algorithm, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Expires, Upload-Complete, "
    "Upload-Limit, Safelight-File, Safelight-Url, Safelight-Run, X-Ik-RequestId, X-RateLimit-Limit, "
    "X-RateLimit-Reset, X-RateLimit-Interval"
)
PREFLIGHT_SECONDS = 7200


PASS = frozenset({"public_key", "signature", "expires", "token"})
"""The names under which a query may say what the headers of a `Pass` say."""


class Pass(NamedTuple):
    """What a page shows instead of an API key: the public key and, where the project wants it, a signature.

    The signature is the HMAC-SHA256, hex, of `<public key>\\n<expires>\\n<token>` under the project's secret key;
    `expires` are Unix seconds, a `token` is good for one request.
    """

    public_key: str
    signature: str | None = None
    expires: str = ""
    token: str = ""


def pass_of(request: web.Request) -> Pass | None:
    """What a page shows, in headers or, as forms and plain links must, in the query; None when it shows no key."""
    key = request.headers.get("X-Public-Key") or request.query.get("public_key")
    if not key:
        return None
    signature = request.headers.get("X-Signature") or request.query.get("signature")
    expires = request.headers.get("X-Expires") or request.query.get("expires", "")
    return Pass(key, signature, expires, request.headers.get("X-Token") or request.query.get("token", ""))


def burning(project: Project, shown: Pass) -> tuple[str, float]:
    """Under which name a token is used up, and for how many seconds that must be known."""
    name = sha256(f"{project.id}\n{shown.token}".encode(errors="replace")).hexdigest()
    return name, max(1.0, int(shown.expires or 0) - time.time() + 60)


class Access:
    """Knows the keys and origins of every project."""

    def __init__(self, projects: Mapping[str, Project], admin_keys: Sequence[str] = ()) -> None:
        self._admins = [key.encode() for key in admin_keys]
        self._projects = projects
        self._keys = [(key.encode(), project) for project in projects.values() for key in project.api_keys]
        self._origins = {origin for project in projects.values() for origin in project.cors_origins}

    def grant(self, authorization: str | None) -> Grant:
        """The grant of an Authorization header; raises `KeyRequired` or `KeyInvalid`."""
        match = BEARER.fullmatch(authorization or "")
        if match is None:
            raise KeyRequired
        return self._of_key(match.group(1).encode(errors="surrogateescape"))

    def check_admin(self, authorization: str | None) -> None:
        """Return when its key may control queues and workers; raises what `grant` does, and `KeyNotAdmin`."""
        self.grant(authorization)
        match = BEARER.fullmatch(authorization or "")
        given = match.group(1).encode(errors="surrogateescape") if match else b""
        if self._admins and not any(hmac.compare_digest(key, given) for key in self._admins):
            raise KeyNotAdmin

    def of_pass(self, shown: Pass, *, continues: bool = False) -> Grant:
        """The grant of a public key; `continues` what was opened under a signature, so none is wanted now.

        Raises `KeyInvalid`, `SignatureRequired`, `SignatureInvalid` or `SignatureExpired`.
        """
        project = next((one for one in self._projects.values() if one.public_key == shown.public_key), None)
        if project is None:
            raise KeyInvalid
        if shown.signature is None:
            if project.require_signed_uploads and not continues:
                raise SignatureRequired
            return Grant(project=project, public=True)
        expires = _expiry(shown.expires)
        message = f"{shown.public_key}\n{expires}\n{shown.token}".encode(errors="replace")
        if not signed(secrets_of(project), message, shown.signature):
            raise SignatureInvalid
        _check_time(expires)
        return Grant(project=project, public=True)

    def sign(self, project_id: str, path: str, expires: int) -> str:
        """`path` with what opens it without a key until `expires` (Unix seconds)."""
        return f"{path}?{urlencode({'expires': expires, 'signature': self._signature(project_id, path, expires)})}"

    def check_signature(self, project_id: str, path: str, expires: str, signature: str) -> None:
        """Return when `path` was signed by us and its time is not over; else raises what is wrong with it."""
        until = _expiry(expires)
        if not signed(self._secrets(project_id), _message(path, until), signature):
            raise SignatureInvalid
        _check_time(until)

    def cors_headers(self, origin: str | None, project: Project | None, *, credentials: bool = False) -> dict[str, str]:
        """What an answer says about the pages that may read it, asked for by a page of `origin` or by none.

        The project's own rule counts; where no project is known yet, any project's does. With `credentials` pages may
        send cookies along, so the origin is named even where every origin may read.
        """
        rules = self._origins if project is None else project.cors_origins
        varies = {} if "*" in rules and not credentials else {"Vary": "Origin"}
        if origin is None or ("*" not in rules and origin not in rules):
            return varies
        allowed = "*" if "*" in rules and not credentials else origin
        if credentials:
            varies |= {"Access-Control-Allow-Credentials": "true"}
        return {**varies, "Access-Control-Allow-Origin": allowed, "Access-Control-Expose-Headers": EXPOSED}

    def _of_key(self, given: bytes) -> Grant:
        """Every key is compared, however early one fits, so that time tells nothing."""
        found: Project | None = None
        for key, project in self._keys:
            if hmac.compare_digest(key, given):
                found = project
        if found is None:
            raise KeyInvalid
        return Grant(project=found)

    def _signature(self, project_id: str, path: str, expires: int) -> str:
        secrets = self._secrets(project_id)
        if not secrets:
            raise SignatureInvalid
        return signature(secrets[0], _message(path, expires))

    def _secrets(self, project_id: str) -> Sequence[bytes]:
        project = self._projects.get(project_id)
        return secrets_of(project) if project else ()


def _message(path: str, expires: int) -> bytes:
    return f"GET\n{path}\n{expires}".encode()


def _expiry(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise SignatureInvalid
    return int(text)


def _check_time(expires: int) -> None:
    if expires < time.time():
        raise SignatureExpired
