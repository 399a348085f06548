"""Who may do what: API keys become Grants, signed addresses open private files, origins are let in."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from pipeline.errors import KeyInvalid, KeyNotAdmin, KeyRequired, SignatureExpired, SignatureInvalid
from pipeline.model import Grant, Project

BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
EXPOSED = (
    "Location, Retry-After, ETag, Content-Range, Content-Disposition, Accept-Ranges, Upload-Offset, Upload-Length, "
    "Idempotency-Replayed, X-Request-Id"
)
PREFLIGHT_SECONDS = 7200


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

    def sign(self, project_id: str, path: str, expires: int) -> str:
        """`path` with what opens it without a key until `expires` (Unix seconds)."""
        return f"{path}?{urlencode({'expires': expires, 'signature': self._signature(project_id, path, expires)})}"

    def check_signature(self, project_id: str, path: str, expires: str, signature: str) -> None:
        """Return when `path` was signed by us and its time is not over; else raises what is wrong with it."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            raise SignatureInvalid
        wanted = self._signature(project_id, path, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode(errors="replace")):
            raise SignatureInvalid
        if int(expires) < time.time():
            raise SignatureExpired

    def cors_headers(self, origin: str | None, project: Project | None) -> dict[str, str]:
        """What an answer says about the pages that may read it, asked for by a page of `origin` or by none.

        The project's own rule counts; where no project is known yet, any project's does.
        """
        rules = self._origins if project is None else project.cors_origins
        varies = {} if "*" in rules else {"Vary": "Origin"}
        if origin is None or ("*" not in rules and origin not in rules):
            return varies
        allowed = "*" if "*" in rules else origin
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
        project = self._projects.get(project_id)
        secrets = [project.secret_key, *project.api_keys] if project else []
        secret = next((secret for secret in secrets if secret), None)
        if secret is None:
            raise SignatureInvalid
        return hmac.new(secret.encode(), f"GET\n{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
