"""What is called out when a file is changed or removed, or a group taken apart, for those who remember it.

What is found by a path or a name is another thing when something else takes its place; that is called out too, but only
for what somebody looked up to remember it, so that others pay nothing for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from pipeline.records.base import Room
from pipeline.scripting import RecordClient

CHANNEL = "changed"
PULSE = 0.5
"""Seconds of silence after which the line is asked whether it still stands, and within which it has to say so."""
REDIAL = 0.5
"""Seconds between two tries to listen again."""

HEED_LUA = """
local function heed(project, word) redis.call('SADD', P .. 'heeded:' .. project, word) end

-- Once: who looks again says again that he remembers it.
local function call_heeded(project, word)
  if redis.call('SREM', P .. 'heeded:' .. project, word) == 1 then
    redis.call('PUBLISH', P .. 'changed', project .. '/' .. word)
  end
end
"""

log = structlog.stdlib.get_logger(__name__)


def path_word(project: str, path: str) -> str:
    """What is called out when another file lies at a path (folder and name)."""
    return f"{project}/path:{path}"


def sheet_word(project: str, kind: str, name: str) -> str:
    """What is called out when a document of this name says something else."""
    return f"{project}/sheet:{kind}:{name}"


class LineDead(Exception):
    """The server says nothing any more."""


class Changes(Room):
    """The changes of all files and groups, heard as they are made."""

    async def follow(self, changed: Callable[[str], None], standing: Callable[[bool], None]) -> None:
        """Call `changed` with the id of every file and group that is changed or removed from now on, for ever.

        And with the words of `path_word` and `sheet_word`.

        `standing` is told whether nothing is missed: True once the line stands, False within a second of its end.
        """
        while True:
            client = RecordClient.beside(self._client, self._client.patience)
            try:
                async with client.pubsub() as line:
                    await line.subscribe(self._key(CHANNEL))
                    await self._listen(line, changed, standing)
            except (RedisError, OSError, LineDead) as fault:
                log.warning("changes_unheard", reason=str(fault) or type(fault).__name__)
            finally:
                standing(False)
                await client.aclose()
            await asyncio.sleep(REDIAL)

    async def call_out(self, id: str) -> None:
        """Have whoever remembers something of a file look again."""
        await self._client.execute_command("PUBLISH", self._key(CHANNEL), id)

    async def _listen(self, line: PubSub, changed: Callable[[str], None], standing: Callable[[bool], None]) -> None:
        asked = False
        while True:
            word: Mapping[str, Any] | None = await line.get_message(timeout=PULSE)
            if word is None:
                if asked:
                    raise LineDead("no answer")
                asked = True
                await line.ping()
                continue
            asked = False
            if word["type"] == "subscribe":
                standing(True)
            elif word["type"] == "message":
                changed(word["data"].decode())
