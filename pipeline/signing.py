"""Signatures: what a project's secrets vouch for, compared in constant time, and tokens that carry their own claims.

A project's secrets are its `secret_key` and its API keys, in this order: the first one signs, each of them is accepted,
so a secret is changed by putting the new one first and removing the old one later.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from pipeline.errors import SignatureExpired, SignatureInvalid
from pipeline.model import Project

Algorithm = Literal["sha1", "sha256"]
LONGEST_TOKEN = 7500
LATEST = 10**12
"""The furthest expiry that is believed, Unix seconds."""


def secrets_of(project: Project) -> Sequence[bytes]:
    """What vouches for a project, the one that signs first."""
    return [secret.encode() for secret in (project.secret_key, *project.api_keys) if secret]


def signature(secret: bytes, message: bytes, algorithm: Algorithm = "sha256") -> str:
    """The HMAC of a message (RFC 2104), hex."""
    return hmac.new(secret, message, algorithm).hexdigest()


def signed(secrets: Sequence[bytes], message: bytes, given: str, algorithm: Algorithm = "sha256") -> bool:
    """Whether one of the secrets signed the message so; every one is tried, so that time tells nothing."""
    told, fits = given.lower().encode(errors="replace"), False
    for secret in secrets:
        fits |= hmac.compare_digest(signature(secret, message, algorithm).encode(), told)
    return fits


class Seals:
    """Makes and opens tokens: claims in plain sight that nobody else can have made, good for one purpose and time."""

    def __init__(self, projects: Mapping[str, Project]) -> None:
        self._projects = projects

    def seal(self, purpose: str, project: str, expires: float, claims: Mapping[str, Any]) -> str:
        """A token for `purpose` that opens until `expires`, Unix seconds; raises `SignatureInvalid` without secrets."""
        told = _spelled(orjson.dumps([project, int(expires), claims]))
        secrets = self._secrets(project)
        if not secrets:
            raise SignatureInvalid
        return f"{told}.{_spelled(_mac(secrets[0], purpose, told))}"

    def open(self, purpose: str, token: str) -> tuple[Project, Mapping[str, Any]]:
        """Whose token it is and what it claims; raises `SignatureInvalid` or `SignatureExpired`."""
        told, _, mac = token.partition(".")
        try:
            if len(token) > LONGEST_TOKEN:
                raise ValueError
            project, expires, claims = orjson.loads(_read(told))
            given = _read(mac)
        except ValueError as cause:
            raise SignatureInvalid from cause
        fits = False
        for secret in self._secrets(project if isinstance(project, str) else ""):
            fits |= hmac.compare_digest(_mac(secret, purpose, told), given)
        if not fits:
            raise SignatureInvalid
        if expires < time.time():
            raise SignatureExpired
        return self._projects[project], claims

    def _secrets(self, project: str) -> Sequence[bytes]:
        known = self._projects.get(project)
        return secrets_of(known) if known else ()


def _mac(secret: bytes, purpose: str, told: str) -> bytes:
    return hmac.digest(secret, f"{purpose}\n{told}".encode(), hashlib.sha256)


def _spelled(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
