"""Idempotency-Key: the same POST sent again gets the first answer instead of a second effect."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from aiohttp import web

from pipeline.acts import beside, settled
from pipeline.api.endpoint import Call
from pipeline.api.problems import problem
from pipeline.errors import RecordsUnavailable, RequestInvalid, SafelightError
from pipeline.model import Answer, new_id
from pipeline.records.answers import HELD_SECONDS

HEADER = "Idempotency-Key"
KEPT_HEADERS = ("Content-Type", "Location", "Upload-Offset")
LONGEST_KEY = 255
MADE_AS = web.RequestKey("made_as", str)
"""The id for what a request with a key makes: the same one whenever it is sent again."""

P = TypeVar("P")
Prepare = Callable[[], Awaitable[P]]
Commit = Callable[[P], Coroutine[Any, Any, web.Response]]


class Hold:
    """A key that this request holds while it is answered."""

    def __init__(self, call: Call, key: str) -> None:
        self._answers = call.core.records.answers
        self._place = (call.project, key)
        self._holder = new_id()

    async def claim(self, fingerprint: str, ttl: float) -> Answer | str:
        return await self._answers.claim(*self._place, fingerprint, ttl, self._holder)

    async def last(self) -> None:
        """Renew the claim for ever."""
        while True:
            await asyncio.sleep(HELD_SECONDS / 3)
            with suppress(RecordsUnavailable):
                await self._answers.renew(*self._place, self._holder)

    async def keep(self, made: web.Response) -> None:
        headers = {name: made.headers[name] for name in KEPT_HEADERS if name in made.headers}
        await self._answers.keep(*self._place, self._holder, made.status, headers, body_of(made))

    async def release(self) -> None:
        """Let another request have the key; without the records it lapses by itself."""
        with suppress(RecordsUnavailable):
            await self._answers.release(*self._place, self._holder)


async def once(call: Call, prepare: Prepare[P], commit: Commit[P], *, digest: str = "") -> web.Response:
    """`commit(prepare())`, or the answer given before to the same key; `digest` stands for a body already read.

    `prepare` reads the body and may be cut off; `commit` is done to its end together with keeping its answer, so
    that no effect is without one. When it was done and that could not be told, the next request with the key finds the
    same id under `MADE_AS`. Raises `IdempotencyMismatch` or `IdempotencyInProgress`.
    """
    key = call.header(HEADER)
    if key is None:
        return await settled(commit(await prepare()))
    if not key or len(key) > LONGEST_KEY:
        raise RequestInvalid(reason=f"An {HEADER} has 1 to {LONGEST_KEY} characters.")
    hold = Hold(call, key)
    try:
        found = await hold.claim(_fingerprint(call, digest), call.core.settings.idempotency_ttl)
    except asyncio.CancelledError:  # it may be ours by now
        await settled(hold.release())
        raise
    if isinstance(found, Answer):
        return _replayed(found)
    call.request[MADE_AS] = found
    async with beside(hold.last()):
        try:
            prepared = await prepare()
        except BaseException:
            await settled(hold.release())
            raise
        return await settled(_commit(call, hold, commit, prepared))


async def _commit(call: Call, hold: Hold, commit: Commit[P], prepared: P) -> web.Response:
    """A refusal that would be the same next time is an answer too; any other fault gives the key back."""
    try:
        made = await commit(prepared)
    except SafelightError as error:
        if error.status >= 500 or error.retryable:
            await hold.release()
        else:
            await hold.keep(problem(error, call.request_id))
        raise
    except BaseException:
        await hold.release()
        raise
    await hold.keep(made)
    return made


def body_of(made: web.Response) -> bytes:
    return made.body if isinstance(made.body, bytes) else b""


def _replayed(kept: Answer) -> web.Response:
    return web.Response(status=kept.status, body=kept.body, headers={**kept.headers, "Idempotency-Replayed": "true"})


def _fingerprint(call: Call, digest: str) -> str:
    """What must be the same for two requests to be one; a form's boundary is new each time, so it does not count."""
    request = call.request
    parts = (request.method, request.raw_path, request.content_type, str(request.content_length), digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
