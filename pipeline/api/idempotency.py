"""Idempotency-Key: the same POST sent again gets the first answer instead of a second effect."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.endpoint import Call
from pipeline.api.problems import problem
from pipeline.errors import RequestInvalid, SafelightError
from pipeline.model import Answer

HEADER = "Idempotency-Key"
KEPT_HEADERS = ("Content-Type", "Location", "Upload-Offset")
LONGEST_KEY = 255

P = TypeVar("P")
Prepare = Callable[[], Awaitable[P]]
Commit = Callable[[P], Coroutine[Any, Any, web.Response]]


async def once(call: Call, prepare: Prepare[P], commit: Commit[P], *, digest: str = "") -> web.Response:
    """`commit(prepare())`, or the answer given before to the same key; `digest` stands for a body already read.

    `prepare` reads the body and may be cut off; `commit` is done to its end together with keeping its answer, so
    that no effect is without one. Raises `IdempotencyMismatch` or `IdempotencyInProgress`.
    """
    key = call.header(HEADER)
    if key is None:
        return await settled(commit(await prepare()))
    if not key or len(key) > LONGEST_KEY:
        raise RequestInvalid(reason=f"An {HEADER} has 1 to {LONGEST_KEY} characters.")
    answers = call.core.records.answers
    kept = await answers.claim(call.project, key, _fingerprint(call, digest), call.core.settings.idempotency_ttl)
    if kept is not None:
        return _replayed(kept)
    try:
        prepared = await prepare()
    except BaseException:
        await settled(answers.release(call.project, key))
        raise
    return await settled(_commit(call, key, commit, prepared))


async def _commit(call: Call, key: str, commit: Commit[P], prepared: P) -> web.Response:
    """A refusal that would be the same next time is an answer too; any other fault gives the key back."""
    answers = call.core.records.answers
    try:
        made = await commit(prepared)
    except SafelightError as error:
        if error.status >= 500 or error.retryable:
            await answers.release(call.project, key)
        else:
            await _keep(call, key, problem(error, call.request_id))
        raise
    except BaseException:
        await answers.release(call.project, key)
        raise
    await _keep(call, key, made)
    return made


async def _keep(call: Call, key: str, made: web.Response) -> None:
    headers = {name: made.headers[name] for name in KEPT_HEADERS if name in made.headers}
    await call.core.records.answers.keep(call.project, key, made.status, headers, body_of(made))


def body_of(made: web.Response) -> bytes:
    return made.body if isinstance(made.body, bytes) else b""


def _replayed(kept: Answer) -> web.Response:
    return web.Response(status=kept.status, body=kept.body, headers={**kept.headers, "Idempotency-Replayed": "true"})


def _fingerprint(call: Call, digest: str) -> str:
    """What must be the same for two requests to be one; a form's boundary is new each time, so it does not count."""
    request = call.request
    parts = (request.method, request.raw_path, request.content_type, str(request.content_length), digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
