"""Which version a client speaks, and so whether it wants answers in an envelope.

The published clients of version 1 say `Accept-Version: 2025-08-20` with every call but one, and pass the caller's own
wish on as `ACCEPT_VERSION`, which they do not follow themselves; those before say who they are and nothing else.
"""

from __future__ import annotations

import re

from aiohttp import web

from pipeline.vendors.ittybit.words import BARE, SUCCEEDED, UPLOADS

LATEST = SUCCEEDED
SDK_LAST = "2025-07-01"
"""What clients speak that are older than version 1."""

_DATE = re.compile(r"20\d\d-\d\d-\d\d")
_AGENT = re.compile(r"ittybit/(?:sdk/)?(\d+)\.", re.IGNORECASE)
_NUMBER = re.compile(r"v?(\d+)\.")


def version_of(request: web.Request) -> str:
    """The version in whose words an answer is to be."""
    said, sdk = _said(request.headers.get("Accept-Version", "")), _sdk(request)
    if said and said >= BARE:
        return said
    if sdk is not None:
        return BARE if sdk else said or SDK_LAST
    return said or _said(request.headers.get("ACCEPT_VERSION", "")) or BARE


def uploading(request: web.Request) -> str:
    """The same where upload addresses are given out and used, which always answer in an envelope."""
    version = version_of(request)
    return version if version < BARE and _said(request.headers.get("Accept-Version", "")) else UPLOADS


def _said(text: str) -> str:
    text = text.strip().lower()
    return LATEST if text == "latest" else text if _DATE.fullmatch(text) else ""


def _sdk(request: web.Request) -> bool | None:
    """Whether it is a published client of version 1 or later; None for what is no published client."""
    agent = _AGENT.match(request.headers.get("User-Agent", ""))
    match = _NUMBER.match(request.headers.get("X-Fern-SDK-Version", "")) or agent
    return int(match.group(1)) >= 1 if match else None
