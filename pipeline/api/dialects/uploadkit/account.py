"""Logs, usage, projects and keys: told as far as the house knows them; what the settings decide is changed there."""

from __future__ import annotations

from datetime import UTC, timedelta
from hashlib import sha256
from typing import Any

from aiohttp import web

from pipeline.api.dialects.uploadkit import auth, rows
from pipeline.api.dialects.uploadkit.errors import refused
from pipeline.api.dialects.uploadkit.files import newest
from pipeline.api.dialects.uploadkit.params import LogQuery, query
from pipeline.api.dialects.uploadkit.routers import owner
from pipeline.api.endpoint import Call, plain
from pipeline.model import FileQuery, Project, now
from pipeline.records.removed import Removed
from pipeline.vendors.uploadkit import Document, file_row

LOGGED = ("id", "key", "name", "size", "type", "status", "createdAt", "updatedAt")
PREFIX = 12
"""Characters of a key that are shown."""
KEY_ID = 24
"""Hex digits by which a key is known."""
TEST = "uk_test_"
"""What keys begin with that are for trying things out."""


async def logs(call: Call) -> web.Response:
    """Files since a time, newest first, with those that were deleted lately."""
    grant = await auth.server(call)
    wish = query(call, LogQuery)
    since = wish.since if wish.since.tzinfo else wish.since.replace(tzinfo=UTC)
    kept = [one for one in await newest(call, grant, wish.limit) if rows.id_and_birth(one)[1] > since]
    found = [rows.of(call, one) for one in kept]
    gone = await call.core.records.removals.list(grant.project.id, None, down=True, passed=0, limit=wish.limit)
    found += [_deleted(one) for one in gone if one.file.created_at > since]
    found.sort(key=lambda row: str(row["createdAt"]), reverse=True)
    told = [{name: row[name] for name in LOGGED} for row in found[: wish.limit]]
    return plain({"logs": told, "count": len(told)})


def _deleted(one: Removed) -> Document:
    return file_row(one.file.model_copy(update={"updated_at": one.at}), None, "DELETED")


# Usage


async def usage(call: Call) -> web.Response:
    grant = await auth.server(call)
    return plain({"usage": await _used(call, grant.project), "limits": _limits(grant.project)})


async def history(call: Call) -> web.Response:
    """This month alone: what earlier ones used is not remembered."""
    grant = await auth.server(call)
    return plain({"history": [await _used(call, grant.project)]})


async def _used(call: Call, project: Project) -> Document:
    """What the project has, and how many of this month's uploads there still are; nobody counts bytes that go out."""
    month = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    kept = await call.core.records.usage.get(project.id)
    uploads, _ = await call.core.records.files.count(
        project.id, FileQuery(since=month, before=month + timedelta(days=32), made=False)
    )
    return {"period": f"{month:%Y-%m}", "storageUsed": kept.bytes, "bandwidth": None, "uploads": uploads}


def _limits(project: Project) -> Document:
    return {
        "maxFileSizeBytes": project.limits.max_file_size,
        "maxStorageBytes": project.limits.max_storage,
        "maxFiles": project.limits.max_files,
        "maxBandwidthBytes": None,
        "maxUploadsPerMonth": None,
        "maxProjects": None,
        "maxApiKeys": None,
        "requestsPerMinute": project.limits.requests_per_minute,
    }


# Projects and keys


async def projects(call: Call) -> web.Response:
    """The key's own; a key knows of no other."""
    grant = await auth.server(call)
    return plain({"projects": [_project(grant.project)]})


async def project(call: Call) -> web.Response:
    return plain({"project": _project((await owner(call)).project)})


def _project(project: Project) -> Document:
    return {"id": project.id, "_id": project.id, "name": project.id, "slug": project.id}


async def keys(call: Call) -> web.Response:
    grant = await owner(call)
    return plain({"keys": [_key(grant.project, key) for key in grant.project.api_keys]})


def _key(project: Project, key: str) -> dict[str, Any]:
    id, prefix = sha256(key.encode()).hexdigest()[:KEY_ID], key[: min(PREFIX, len(key) // 2)]
    is_test = key.startswith(TEST)
    return {"id": id, "_id": id, "keyPrefix": prefix, "name": "", "projectId": project.id, "isTest": is_test}


async def fixed(call: Call) -> web.Response:
    """Refuse to make, change or remove projects and keys."""
    await auth.server(call)
    raise refused("settings", "Projects and API keys are made, changed and removed in the settings of this server.")
