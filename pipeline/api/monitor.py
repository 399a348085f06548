"""How the server itself is: alive, ready, measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Literal

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.api.metrics import everywhere
from pipeline.api.problems import RETRY_AFTER
from pipeline.describe import Raw
from pipeline.errors import RecordsUnavailable, SafelightError

CHECK_SECONDS = 5.0


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether requests can be served, and what stands in the way."""

    status: Literal["ready", "unavailable"]
    reasons: tuple[str, ...] = Field(description="One sentence for each part that does not work.")
    warnings: tuple[str, ...] = Field(description="What works but could lose records.")


async def livez(call: Call) -> web.Response:
    return answer(Alive())


async def readyz(call: Call) -> web.Response:
    core = call.core
    parts = {"records": core.records.check()} | {
        f"storage `{name}`": storage.check() for name, storage in core.storages.items()
    }
    found = await asyncio.gather(*(_fault(name, check) for name, check in parts.items()))
    reasons = tuple(reason for reason in found if reason)
    if reasons:
        unready = Readiness(status="unavailable", reasons=reasons, warnings=())
        return answer(unready, 503, {"Retry-After": str(RETRY_AFTER), "Cache-Control": "no-store"})
    ready = Readiness(status="ready", reasons=(), warnings=tuple(await core.records.durability()))
    return answer(ready, headers={"Cache-Control": "no-store"})


async def _fault(name: str, check: Awaitable[None]) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except TimeoutError:
        return f"{name}: no answer within {CHECK_SECONDS:g} seconds."
    except SafelightError as error:
        return f"{name}: {error.message}"
    return None


async def metrics(call: Call) -> web.Response:
    try:
        await call.metrics.tell(call.core.records)
        found = await everywhere(call.core.records)
    except RecordsUnavailable:
        found = None
    return web.Response(body=call.metrics.text(found), headers={"Content-Type": CONTENT_TYPE_LATEST})


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET", "/livez", "Whether the process answers.", act=livez, tag="monitor", public=True, answers={200: Alive}
    ),
    Endpoint(
        "GET",
        "/readyz",
        "Whether Redis and the storages work.",
        act=readyz,
        tag="monitor",
        public=True,
        answers={200: Readiness, 503: Readiness},
    ),
    Endpoint(
        "GET",
        "/metrics",
        "Measurements for Prometheus, of all processes together and of this one.",
        act=metrics,
        tag="monitor",
        public=True,
        answers={200: Raw("text/plain", {"type": "string"})},
    ),
)
