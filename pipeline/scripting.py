"""Scripts on the record server; those that are called at about the same time go there together.

While some are on their way the next calls gather, so that a busy process pays for a round trip once and not once a
call. Each is an atomic step of its own all the same, and what one is refused for is no other's concern. Everything that
speaks to the server goes through `RecordClient`, which is why one that is away looks the same from every verb.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, Self

from hiredis import pack_command
from redis.asyncio import Connection, ConnectionPool, Redis
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as Unanswered
from redis.typing import EncodableT

from pipeline.errors import RecordsUnavailable

PATIENCE = 5.0
"""Seconds for which an answer is waited."""
RETRY_AFTER = 2
TOGETHER = 256
"""Calls that go together at most."""
AWAY = (Unconnected, Unanswered, TimeoutError, OSError, OutOfMemoryError, ReadOnlyError)
"""What a server that is away, full or read-only looks like."""

# Servers before 7 wrap an error met inside a script, so the code is not always the first word.
_REFUSALS = re.compile(r"(?:^|[ -])(?:OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|LOADING|BUSY) ")


def is_away(fault: Exception) -> bool:
    """Whether the server cannot serve anybody now, whatever was asked of it."""
    return isinstance(fault, AWAY) or (isinstance(fault, ResponseError) and bool(_REFUSALS.search(str(fault))))


class Call(NamedTuple):
    """A command as it is sent, and what is told of its reply: that, or the error in its place."""

    command: bytes
    over: asyncio.Future[Any]


class Line:
    """The way of scripts to the server of `redis`, on one of its connections; each round takes `patience` seconds."""

    def __init__(self, redis: Redis, patience: float) -> None:
        self._pool = redis.connection_pool
        self._patience = patience
        self._waiting: list[Call] = []
        self._going: asyncio.Task[None] | None = None

    async def call(self, *words: EncodableT) -> Any:
        """The reply to a command, or its `ResponseError` as a value; raises `RecordsUnavailable`."""
        loop = asyncio.get_running_loop()
        packed: Any = words
        call = Call(pack_command(packed), loop.create_future())
        self._waiting.append(call)
        if self._going is None:
            self._going = loop.create_task(self._go())
        reply = await call.over
        if isinstance(reply, Exception) and is_away(reply):
            raise RecordsUnavailable(retry_after=RETRY_AFTER) from reply
        return reply

    async def _go(self) -> None:
        """Carry what waits, and what came meanwhile, until nothing is left."""
        connection: Connection | None = None
        try:
            while self._waiting:
                waiting = [call for call in self._waiting if not call.over.done()]  # some callers may be gone
                calls, self._waiting = waiting[:TOGETHER], waiting[TOGETHER:]
                try:
                    async with asyncio.timeout(self._patience):
                        connection = connection or await self._connected()
                        _tell(calls, await _carried(connection, [call.command for call in calls]))
                except AWAY as fault:
                    # Who came while nothing was heard has waited long enough.
                    silent = self._waiting if isinstance(fault, TimeoutError) else []
                    self._waiting = self._waiting[len(silent) :]
                    _tell([*calls, *silent], [fault] * (len(calls) + len(silent)))
                except BaseException:
                    _tell(calls, [Unconnected("cut off")] * len(calls))
                    raise
        finally:
            self._going = None  # in the very step that found nobody waiting
            if connection is not None:
                connection.socket_timeout = self._pool.connection_kwargs.get("socket_timeout")
                await self._pool.release(connection)

    async def _connected(self) -> Connection:
        connection: Connection = await self._pool.get_connection()
        connection.socket_timeout = None  # a timer for each reply costs more than reading it; ours is for all of them
        return connection


async def _carried(connection: Connection, commands: Sequence[bytes]) -> Sequence[Any]:
    async def again(fault: Exception) -> None:
        await connection.disconnect()
        if not isinstance(fault, tuple(connection.retry_on_error)):
            raise fault

    replies: Sequence[Any] = await connection.retry.call_with_retry(partial(_exchanged, connection, commands), again)
    return replies


async def _exchanged(connection: Connection, commands: Sequence[bytes]) -> Sequence[Any]:
    await connection.send_packed_command(b"".join(commands))
    return [await _reply(connection) for _ in commands]


async def _reply(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refusal:
        return refusal


def _tell(calls: Iterable[Call], replies: Iterable[Any]) -> None:
    for call, reply in zip(calls, replies, strict=True):
        if not call.over.done():  # its caller may be gone
            call.over.set_result(reply)


class RecordClient(Redis):
    """A Redis client to which a server that is away, full, read-only or silent for too long is `RecordsUnavailable`."""

    patience: float = PATIENCE

    @classmethod
    def over(cls, redis: Redis) -> Self:
        """A client on the connections of `redis`."""
        return cls(connection_pool=redis.connection_pool)

    @classmethod
    def beside(cls, redis: Redis, patience: float) -> Self:
        """A client of the same server, with connections of its own, that waits up to `patience` seconds; close it."""
        pool = redis.connection_pool
        settings = pool.connection_kwargs | {"socket_timeout": None}
        client = cls(connection_pool=ConnectionPool(connection_class=pool.connection_class, **settings))
        client.auto_close_connection_pool = True
        client.patience = patience
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        execute: Callable[..., Awaitable[Any]] = super().execute_command
        try:
            async with asyncio.timeout(self.patience):
                return await execute(*args, **options)
        except (*AWAY, ResponseError) as cause:
            if is_away(cause):
                raise RecordsUnavailable(retry_after=RETRY_AFTER) from cause
            raise

    @cached_property
    def line(self) -> Line:
        """The way of its scripts."""
        return Line(self, self.patience)


class Script:
    """A script that the server knows by its digest; given it once more when it has forgotten it."""

    def __init__(self, line: Line, script: str) -> None:
        self.script = script
        self._line = line
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, args: Iterable[EncodableT] = ()) -> Any:
        """What it returns; raises `RecordsUnavailable`, or `ResponseError` for one that is broken."""
        arguments = tuple(args)
        reply = await self._line.call("EVALSHA", self._sha, 0, *arguments)
        if isinstance(reply, NoScriptError):
            reply = await self._line.call("EVAL", self.script, 0, *arguments)
        if isinstance(reply, ResponseError):
            raise reply
        return reply
