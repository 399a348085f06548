"""Calls to servers outside go through here: who has failed too often of late is not called again for a while.

What counts is the outside's fault: no connection, no end in time, broken off, a status of 500 or more, a scanner that
does not answer. A status of 4xx, an answer of no use and an address that is refused by us do not.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from yarl import URL

from pipeline.calls import up_at
from pipeline.errors import (
    AnswerInvalid,
    CallFailed,
    CallRejected,
    CircuitOpen,
    FileInfected,
    RecordsUnavailable,
    ScannerUnavailable,
    ScanTooLarge,
)
from pipeline.model import new_id
from pipeline.records import Records
from pipeline.records.breakers import Asked, Callee, Rules, Word
from pipeline.settings import Settings

ANSWERED = (CallFailed, CallRejected, AnswerInvalid, FileInfected, ScanTooLarge)
"""Faults that somebody outside has told of, unless he said no word."""
CONFIDED = "secrets."
"""What a URL names its secrets by."""

log = structlog.stdlib.get_logger(__name__)


class Breakers:
    """Watches calls for every process together; with `breaker_failures: 0` it only looks on."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._records = records.breakers
        times = settings.breaker_window, settings.breaker_reset
        self._rules = Rules(settings.breaker_failures, *times, settings.breaker_probes)

    @asynccontextmanager
    async def over(self, callee: Callee) -> AsyncIterator[None]:
        """The block is a call; raises `CircuitOpen` instead of beginning it, with `retry_after` in seconds."""
        if not self._rules.failures or not callee.place:
            yield
            return
        mark = new_id()
        asked = await self._asked(callee, mark)
        try:
            yield
        except BaseException as fault:
            await self._note(callee, mark, asked, word_of(fault))
            raise
        await self._note(callee, mark, asked, "passed")

    async def _asked(self, callee: Callee, mark: str) -> Asked:
        try:
            asked = await self._records.ask(callee, mark, self._rules)
        except RecordsUnavailable:  # whoever needs the records says so himself
            log.warning("breaker_unasked", type=callee.type, place=callee.place)
            return Asked()
        if asked.wait:
            seconds = math.ceil(asked.wait)
            raise CircuitOpen(seconds=seconds, retry_after=seconds)
        return asked

    async def _note(self, callee: Callee, mark: str, asked: Asked, word: Word) -> None:
        if word != "failed" and not asked.probe:
            return
        try:
            await self._records.note(callee, mark, asked.turn, word, self._rules)
        except RecordsUnavailable:
            log.warning("breaker_untold", type=callee.type, place=callee.place)


def word_of(fault: BaseException) -> Word:
    """What a call that ended so says of whom it went to; `unknown` when it says nothing."""
    if isinstance(fault, CallFailed):
        return "failed" if fault.facts.get("answered", 500) >= 500 else "passed"
    if isinstance(fault, ScannerUnavailable):
        return "failed"
    if isinstance(fault, asyncio.CancelledError) and asyncio.get_running_loop().time() >= up_at.get():
        return "failed"
    return "passed" if isinstance(fault, ANSWERED) else "unknown"


def place_of(written: str, spoken: str) -> str:
    """Host and port of a URL as all may see them: where a secret is part of them, a fingerprint; empty without one.

    `written` is the URL with its secrets still named, `spoken` the one that is called.
    """
    try:
        url = URL(spoken)
        host, port = url.raw_host or "", url.port
    except ValueError:
        return ""
    if not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    place = host if url.is_default_port() or not port else f"{host}:{port}"
    if CONFIDED in written and place not in written.lower():
        return f"hidden-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    return place
