"""The flow registry: every version of a flow by the hash of its content, and a pointer to the one triggered now.

Versions are never changed or forgotten, so a run that pinned one finds it on any host. Draft, activate, roll back and
pause move the pointer; each move is one atomic step with its event (`flow.activated`, `flow.deactivated`,
`flow.paused`, `flow.resumed`) in the log of the project "".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from redis.asyncio import Redis
from watchfiles import awatch

from pipeline.documents import Complaint
from pipeline.errors import FlowInvalid, FlowNotFound, FlowVersionNotFound, RecordsUnavailable
from pipeline.events import EVENT_CAP
from pipeline.graph.belongings import LACKING, Belongings
from pipeline.graph.flow import Flow, load_flow
from pipeline.model import FlowPointer, FlowVersion, Page, Run, StandingOrder, now
from pipeline.records.base import EPOCH, Room, decode_cursor, paged, score
from pipeline.scripting import RecordClient

PARSED_FLOWS = 256
"""How many parsed flows a process keeps."""
TICK_MILLISECONDS = 1000
SETTLE_MILLISECONDS = 200
"""How long a file must be quiet before it is read, so that a half-written one is not."""

POINT_LUA = """
local function point(id, version, at, title, description, scheduled)
  local key = P .. 'flow:' .. id
  if redis.call('HGET', key, 'active') == version then return end
  redis.call('HSET', key, 'active', version, 'title', title, 'description', description, 'updated_at', at)
  redis.call(scheduled == '1' and 'SADD' or 'SREM', P .. 'flows:scheduled', id)
  emit('flow.activated', '', id, at, cjson.encode({version = version}))
end

local function pointer(id)
  local versions = redis.call('ZRANGE', P .. 'flow-versions:' .. id, 0, -1)
  return {id, '0', {redis.call('HGETALL', P .. 'flow:' .. id), versions}}
end
"""

# A folder's file activates its version once: a restart must not undo a roll-back, a changed file must be taken.
PUT_LUA = (
    POINT_LUA
    + """
local id, version, text, created, at = take(), take(), take(), take(), take()
local title, description, scheduled = take(), take(), take()
local activate, from_folder = take() == '1', take() == '1'
local key = P .. 'flow:' .. id
redis.call('HSET', P .. 'flow-texts:' .. id, version, text)
redis.call('ZADD', P .. 'flow-versions:' .. id, 'NX', created, version)
if redis.call('ZADD', P .. 'flows', 0, id) == 1 then
  redis.call('HSET', key, 'title', title, 'description', description, 'updated_at', at)
end
if from_folder then
  activate = redis.call('HGET', key, 'synced') ~= version
  redis.call('HSET', key, 'synced', version)
end
if activate then point(id, version, at, title, description, scheduled) end
return redis.call('ZSCORE', P .. 'flow-versions:' .. id, version)
"""
)

VERSION_LUA = """
local id, version = take(), take()
if not redis.call('ZSCORE', P .. 'flows', id) then return 'missing' end
local text = redis.call('HGET', P .. 'flow-texts:' .. id, version)
if not text then return false end
return {text, redis.call('ZSCORE', P .. 'flow-versions:' .. id, version)}
"""

POINTER_LUA = POINT_LUA + "return pointer(take())"

ACTIVATE_LUA = POINT_LUA + "point(take(), take(), take(), take(), take(), take())"

DEACTIVATE_LUA = """
local id, at = take(), take()
local key = P .. 'flow:' .. id
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HSET', key, 'updated_at', at)
redis.call('HDEL', key, 'synced')
redis.call('SREM', P .. 'flows:scheduled', id)
if redis.call('HDEL', key, 'active') == 1 then emit('flow.deactivated', '', id, at, '{}') end
return 1
"""

PAUSE_LUA = """
local id, at, paused = take(), take(), take()
local key = P .. 'flow:' .. id
if redis.call('EXISTS', key) == 0 then return 0 end
if (redis.call('HGET', key, 'paused') or '0') ~= paused then
  redis.call('HSET', key, 'paused', paused, 'updated_at', at)
  emit(paused == '1' and 'flow.paused' or 'flow.resumed', '', id, at, '{}')
end
return 1
"""

LIST_LUA = (
    POINT_LUA
    + """
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYLEX', P .. 'flows', take(), '+', 'LIMIT', 0, take())) do
  rows[#rows + 1] = pointer(id)
end
return rows
"""
)

log = structlog.get_logger(__name__)


class FlowRegistry(Room):
    """The flows that can be triggered, the same on every host."""

    def __init__(self, redis: Redis, prefix: str, event_cap: int = EVENT_CAP) -> None:
        super().__init__(RecordClient.over(redis), prefix, event_cap)
        self._parsed: OrderedDict[tuple[str, str], Flow] = OrderedDict()
        self._logged: dict[Path, Sequence[Complaint]] = {}

    async def put(self, flow_id: str, text: str, *, activate: bool = True) -> FlowVersion:
        """Keep a flow document, comments and all, and make it the active version unless told not to.

        Content that is already known keeps its version and takes the newer text. Raises `FlowInvalid`.
        """
        return await self._put(load_flow(flow_id, text), activate=activate)

    async def get(self, flow_id: str, version: str | None = None) -> Flow:
        """A version of the flow, the active one by default; raises `FlowNotFound` or `FlowVersionNotFound`.

        A paused flow is returned too; whether it may be triggered is told by `pointer`.
        """
        wanted = version or await self._active(flow_id)
        found = self._parsed.get((flow_id, wanted))
        if found is None:
            kept = await self.version(flow_id, wanted)
            found = load_flow(flow_id, kept.text)
        self._remember(flow_id, wanted, found)
        return found

    async def of(self, carrier: Run | StandingOrder) -> Flow:
        """The flow of a run or an order, also of one that carries it and of which nothing is in the registry.

        Raises `FlowNotFound` or `FlowVersionNotFound`.
        """
        if carrier.graph is None:
            return await self.get(carrier.flow, carrier.version)
        known = self._parsed.get((carrier.flow, carrier.version))
        found = known or load_flow(carrier.flow, carrier.graph)
        self._remember(carrier.flow, carrier.version, found)
        return found

    async def version(self, flow_id: str, version: str | None = None) -> FlowVersion:
        """The text of a version, the active one by default; raises `FlowNotFound` or `FlowVersionNotFound`."""
        wanted = version or await self._active(flow_id)
        found = await self._call(VERSION_LUA, flow_id, wanted)
        if found == b"missing":
            raise FlowNotFound(id=flow_id)
        if not found:
            raise FlowVersionNotFound(id=flow_id, version=wanted)
        return _version(flow_id, wanted, found[0].decode(), found[1])

    async def pointer(self, flow_id: str) -> FlowPointer:
        """Which version is active, and all there are; raises `FlowNotFound`."""
        _, _, row = await self._call(POINTER_LUA, flow_id)
        if not row[0]:
            raise FlowNotFound(id=flow_id)
        return _pointer(flow_id, row)

    async def activate(self, flow_id: str, version: str) -> FlowPointer:
        """Make `version` the active one; raises `FlowNotFound` or `FlowVersionNotFound`."""
        flow = await self.get(flow_id, version)
        await self._call(ACTIVATE_LUA, flow_id, version, now().isoformat(), *_told(flow))
        return await self.pointer(flow_id)

    async def deactivate(self, flow_id: str) -> FlowPointer:
        """Leave the flow without an active version; raises `FlowNotFound`."""
        return await self._turned(flow_id, await self._call(DEACTIVATE_LUA, flow_id, now().isoformat()))

    async def pause(self, flow_id: str) -> FlowPointer:
        """Mark the flow as not to be triggered; raises `FlowNotFound`."""
        return await self._turned(flow_id, await self._call(PAUSE_LUA, flow_id, now().isoformat(), 1))

    async def resume(self, flow_id: str) -> FlowPointer:
        """Let the flow be triggered again; raises `FlowNotFound`."""
        return await self._turned(flow_id, await self._call(PAUSE_LUA, flow_id, now().isoformat(), 0))

    async def sync(self, folder: Path) -> list[Complaint]:
        """Load every `*.yaml` of `folder` and return all faults: a changed one becomes active, a broken one does not.

        A flow that names an `asset:` which is not there is broken. A folder that is not there holds no flows.
        """
        complaints: list[Complaint] = []
        for path in _flow_files(folder):
            complaints += await self._load(path)
        return complaints

    async def watch(self, folder: Path) -> None:
        """Follow the `*.yaml` of `folder` for ever: a change becomes active, a file deleted meanwhile is deactivated.

        A broken file is logged and leaves the active version; one that lacks an `asset:` is taken once that is there.
        What cannot be recorded is tried again, and a folder that is not there is waited for.
        """
        # Only a folder that is there can tell of changes.
        while not folder.is_dir():  # noqa: ASYNC110
            await asyncio.sleep(TICK_MILLISECONDS / 1000)
        pending: set[Path] | None = None
        changes = awatch(
            folder,
            debounce=SETTLE_MILLISECONDS,
            rust_timeout=TICK_MILLISECONDS,
            yield_on_timeout=True,
            recursive=False,
        )
        async for changed in changes:
            if pending is None:
                pending = set(_flow_files(folder))
            touched = set(filter(_is_flow, (Path(path) for _, path in changed)))
            for path in touched:
                self._logged.pop(path, None)
            pending |= touched
            pending = {path for path in sorted(pending) if not await self._follow(path)}

    async def list(self, cursor: str | None = None, limit: int = 50) -> Page[FlowPointer]:
        """Every flow by its id; raises `CursorInvalid`."""
        _, last = decode_cursor(cursor)
        rows = await self._call(LIST_LUA, f"({last}" if last else "-", limit + 1)
        return paged([(row[0], row[1], row) for row in rows], limit, lambda row: _pointer(row[0].decode(), row[2]))

    async def scheduled(self) -> Sequence[str]:
        """The flows whose active version runs by itself, paused ones too, by their ids."""
        members: set[bytes] = await self._client.execute_command("SMEMBERS", self._key("flows", "scheduled"))
        return sorted(member.decode() for member in members)

    async def _active(self, flow_id: str) -> str:
        active = await self._client.execute_command("HGET", self._key("flow", flow_id), "active")
        if active is None:
            raise FlowNotFound(id=flow_id)
        return str(active.decode())

    async def _put(self, flow: Flow, *, activate: bool = True, from_folder: bool = False) -> FlowVersion:
        at = now()
        wishes = (int(activate), int(from_folder))
        arguments = (flow.id, flow.version, flow.text, score(at), at.isoformat(), *_told(flow), *wishes)
        created = await self._call(PUT_LUA, *arguments)
        self._remember(flow.id, flow.version, flow)
        return _version(flow.id, flow.version, flow.text, created)

    def _remember(self, flow_id: str, version: str, flow: Flow) -> None:
        self._parsed[flow_id, version] = flow
        self._parsed.move_to_end((flow_id, version))
        if len(self._parsed) > PARSED_FLOWS:
            self._parsed.popitem(last=False)

    async def _turned(self, flow_id: str, known: int) -> FlowPointer:
        if not known:
            raise FlowNotFound(id=flow_id)
        return await self.pointer(flow_id)

    async def _load(self, path: Path) -> Sequence[Complaint]:
        try:
            text = path.read_text("utf-8")
            await self._put(load_flow(path.stem, text, str(path), Belongings.of(path.parent)), from_folder=True)
        except FlowInvalid as error:
            complaints: Sequence[Complaint] = error.facts["complaints"]
            return complaints
        except (OSError, UnicodeDecodeError) as error:
            return [Complaint(str(path), 0, 0, "FLOW_UNREADABLE", f"The file cannot be read: {error}.")]
        return []

    async def _follow(self, path: Path) -> bool:
        """Whether the state of a watched file was taken over, or never can be before the file is changed."""
        try:
            if path.exists():
                return await self._take(path)
            await self._forget(path)
        except RecordsUnavailable as error:
            log.warning("flow waits for the record server", file=str(path), error=error.code)
            return False
        return True

    async def _take(self, path: Path) -> bool:
        complaints = await self._load(path)
        if complaints != self._logged.get(path, []):
            for complaint in complaints:
                log.error("flow file is broken", complaint=str(complaint))
        self._logged[path] = complaints
        return not complaints or any(complaint.code not in LACKING for complaint in complaints)

    async def _forget(self, path: Path) -> None:
        self._logged.pop(path, None)
        try:
            await self.deactivate(path.stem)
        except FlowNotFound:
            # A file that was broken from its first day to its last never became a flow.
            return
        log.info("flow deactivated", flow=path.stem)


def _flow_files(folder: Path) -> Sequence[Path]:
    return sorted(filter(_is_flow, folder.iterdir())) if folder.is_dir() else []


def _is_flow(path: Path) -> bool:
    # A name with a dot in front is an editor's lock or a half-made copy.
    return path.suffix == ".yaml" and not path.name.startswith(".")


def _told(flow: Flow) -> tuple[str, str, int]:
    """What its pointer says of a version."""
    return flow.title, flow.description, int(flow.schedule is not None)


def _version(flow_id: str, version: str, text: str, created: bytes) -> FlowVersion:
    created_at = EPOCH + timedelta(microseconds=int(created))
    return FlowVersion(flow=flow_id, version=version, text=text, created_at=created_at)


def _pointer(flow_id: str, row: Any) -> FlowPointer:
    flat_pairs, versions = row
    fields = {name.decode(): value.decode() for name, value in zip(flat_pairs[::2], flat_pairs[1::2], strict=True)}
    return FlowPointer(
        id=flow_id,
        active=fields.get("active"),
        paused=fields.get("paused") == "1",
        title=fields["title"],
        description=fields["description"],
        versions=tuple(version.decode() for version in versions),
        updated_at=fields["updated_at"],
    )
