"""A server outside that hears webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .desk import Desk

EVENTS = (
    "file.created",
    "file.updated",
    "file.deleted",
    "file-version.created",
    "file-version.deleted",
    "upload.pre-transform.success",
    "upload.pre-transform.error",
    "upload.post-transform.success",
    "upload.post-transform.error",
)
TAGS = [{"name": "cat", "confidence": 91.5, "source": "google-auto-tagging"}, {"name": "sofa", "confidence": 70}]


@dataclass
class Outside:
    """A server that hears webhooks, and finds tags in pictures."""

    address: str = ""
    heard: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.put_nowait((dict(request.headers), await request.read()))
        return web.Response()

    async def find(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"ai_tags": TAGS, "description": "A cat on a sofa", "most": request.headers["X-Most"]})

    async def next(self) -> dict[str, Any]:
        _, body = await asyncio.wait_for(self.heard.get(), 30)
        told: dict[str, Any] = json.loads(body)
        return told

    async def several(self, count: int) -> dict[str, list[dict[str, Any]]]:
        """So many messages by their types."""
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(count):
            told = await self.next()
            found.setdefault(told["type"], []).append(told)
        return found


async def listening(ik: Desk, outside: Outside, events: Sequence[str] = EVENTS) -> str:
    """The secret of a webhook that is told of these events."""
    wish = {"endpoint": f"{outside.address}/hook", "events": events}
    return str((await ik.ok("POST", "/imagekit/v1/accounts/webhooks", wish, 201))["secret"])
