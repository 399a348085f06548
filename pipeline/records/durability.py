"""Whether the record server keeps what it is given."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from pipeline.scripting import RecordClient

NO_LOG = (
    "The record server keeps no append-only file, so what it accepted may be lost when it stops: set `appendonly yes`."
)
NO_FLUSH = (
    "The record server leaves it to the system when its append-only file reaches the disk: "
    "set `appendfsync everysec` or `always`."
)
EVICTS = (
    "The record server drops records when its memory is full (maxmemory-policy {policy}): "
    "set `maxmemory-policy noeviction`."
)
UNTOLD = "The record server does not tell whether it keeps its records (INFO is not permitted)."


async def warnings_about(client: RecordClient) -> list[str]:
    """One sentence for each setting of the server that could lose records."""
    try:
        facts: dict[str, Any] = await client.info("persistence") | await client.info("memory")
    except ResponseError:
        return [UNTOLD]
    policy = facts.get("maxmemory_policy", "noeviction")
    found = []
    if not facts.get("aof_enabled"):
        found.append(NO_LOG)
    elif await _flush(client) == "no":
        found.append(NO_FLUSH)
    if policy != "noeviction":
        found.append(EVICTS.format(policy=policy))
    return found


async def _flush(client: RecordClient) -> str | None:
    try:
        setting = await client.config_get("appendfsync")
    except ResponseError:
        # Hosted servers forbid CONFIG; what they forbid they also set themselves.
        return None
    value = setting.get("appendfsync")
    return value.decode() if isinstance(value, bytes) else value
