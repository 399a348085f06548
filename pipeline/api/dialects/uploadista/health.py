"""How the server is, in the vendor's words: alive, ready, and part by part, as JSON or as one line of text.

Whether it is alive and ready is told to anybody; what its parts say needs an API key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web

from pipeline.api.dialects.uploadista import auth
from pipeline.api.endpoint import Call, plain
from pipeline.errors import SafelightError
from pipeline.model import Grant, now
from pipeline.vendors.uploadista import Document, kind, moment

CHECK_SECONDS = 5.0
STARTED = time.monotonic()
WORDS: Mapping[str, str] = {"healthy": "OK", "degraded": "Degraded", "unhealthy": "Service Unavailable"}


async def health(call: Call) -> web.Response:
    return _answer(call, _head("healthy") | {"version": version("safelight")})


async def ready(call: Call) -> web.Response:
    parts = await _parts(call)
    status = _worst(part["status"] for part in parts.values())
    status = "unhealthy" if status == "unhealthy" else "healthy"
    return _answer(call, _head(status) | {"components": parts}, 503 if status == "unhealthy" else 200)


async def components(call: Call) -> web.Response:
    grant = await auth.may(call, "engine:readiness")
    parts = await _parts(call)
    parts["circuitBreaker"] = await _breakers(call, grant)
    parts["deadLetterQueue"] = await _letters(call, grant)
    status = _worst(part["status"] for part in parts.values())
    return _answer(call, _head(status) | {"components": parts})


def _head(status: str) -> Document:
    uptime = round((time.monotonic() - STARTED) * 1000)
    return {"status": status, "timestamp": moment(now()), "uptime": uptime}


def _answer(call: Call, document: Document, status: int = 200) -> web.Response:
    accepted = call.request.headers.get("Accept", "")
    if "text/plain" in accepted and "application/json" not in accepted:
        response = web.Response(text=WORDS[document["status"]])
    else:
        response = plain(document)
    response.set_status(status)
    response.headers["Cache-Control"] = "no-store"
    return response


async def _parts(call: Call) -> dict[str, Any]:
    """The stores and what events travel through, which is the record server too."""
    core = call.core
    stored = [_part(storage.check()) for storage in core.storages.values()]
    kept, told, *stores = await asyncio.gather(_part(core.records.check()), _part(core.records.check()), *stored)
    worst = max(stores, key=lambda part: (part["status"] == "unhealthy", part["latency"]))
    return {"storage": worst, "kvStore": kept, "eventBroadcaster": told}


async def _part(check: Awaitable[None]) -> Document:
    began, status, message = time.perf_counter(), "healthy", "It answers."
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except TimeoutError:
        status, message = "unhealthy", f"No answer within {CHECK_SECONDS:g} seconds."
    except SafelightError as error:
        status, message = "unhealthy", error.message
    latency = round((time.perf_counter() - began) * 1000, 1)
    return {"status": status, "latency": latency, "message": message, "lastCheck": moment(now())}


async def _breakers(call: Call, grant: Grant) -> Document:
    """Those of the project's nodes whose calls to servers outside failed of late."""
    found = await call.core.records.breakers.list(grant.project.id)
    is_open = [one for one in found if one.state != "closed"]
    circuits = [
        {
            "nodeType": kind(one.type),
            "state": one.state.replace("_", "-"),
            "failureCount": one.failures,
            "timeSinceLastStateChange": round((now() - one.changed_at).total_seconds() * 1000),
        }
        for one in found
    ]
    counts = {"openCircuits": len(is_open), "totalCircuits": len(found)}
    return {"status": "degraded" if is_open else "healthy", **counts, "circuits": circuits}


async def _letters(call: Call, grant: Grant) -> Document:
    """Those that were given up; what failed and is tried again is pending."""
    count = await call.core.records.letters.count(grant.project.id)
    pending = len(await call.core.runs.letters.failing(grant))
    newest = await call.core.runs.letters.list(grant, None, 100)
    oldest = min((letter.added_at for letter in newest.items), default=None)
    told = {"status": "degraded" if count else "healthy", "pendingItems": pending, "exhaustedItems": count}
    return told | ({"oldestItem": moment(oldest)} if oldest else {})


def _worst(statuses: Any) -> str:
    found = set(statuses)
    return next((status for status in ("unhealthy", "degraded") if status in found), "healthy")
