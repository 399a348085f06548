"""Where bytes are fetched without a key; what is private has an address that is signed and ends."""

from __future__ import annotations

import time

from pipeline.api.endpoint import Call

SIGNED_SECONDS = 3600
"""How long the signed address of a private file opens it, at least."""


def content_path(file_id: str) -> str:
    return f"/v1/files/{file_id}/content"


def content_url(call: Call, file_id: str, project: str, *, private: bool) -> str:
    """Where the bytes are fetched without a key; the signed address of one hour stays the same, so caches work."""
    return address(call, content_path(file_id), project, private=private)


def address(call: Call, path: str, project: str, *, private: bool) -> str:
    """Where `path` is fetched without a key."""
    if private:
        expires = (int(time.time()) // SIGNED_SECONDS + 2) * SIGNED_SECONDS
        path = call.access.sign(project, path, expires)
    return call.base_url + path
