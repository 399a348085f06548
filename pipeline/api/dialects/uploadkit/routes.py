"""File routes: those of the settings, those made over the API, and `default`, which every project has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import sniff
from pipeline.api.dialects.uploadkit.errors import UploadkitRefused, refused
from pipeline.api.endpoint import Call
from pipeline.model import Grant, Hook, Intake, Project, Route, Sheet

KIND = "uploadkit.route"
DEFAULT = "default"
DEFAULT_BODY: Mapping[str, Any] = {"maxFileSize": 50 * 2**20, "maxFileCount": 100, "allowedTypes": ["*/*"]}
"""What a new project's first route allows."""
PLAIN_BODY: Mapping[str, Any] = {"maxFileSize": 4 * 2**20, "maxFileCount": 1, "allowedTypes": []}
"""What is not said of a route that is made over the API."""
MEGABYTES = ((2**20, "MB"), (10**6, "MB"), (2**10, "KB"), (10**3, "KB"))


@dataclass(frozen=True)
class Entry:
    """A route: the largest file in bytes, how many files a page may choose at once, types, and who is told."""

    slug: str
    origin: Literal["settings", "api", "built in"]
    max_size: int | None
    types: Sequence[str]
    max_files: int | None = None
    webhook: str | None = None
    sheet: Sheet | None = None

    @property
    def id(self) -> str:
        return self.sheet.id if self.sheet else self.slug

    def largest(self, project: Project) -> int:
        """The most bytes a file may have, by the route and the project."""
        most = project.limits.max_file_size
        return most if self.max_size is None else min(self.max_size, most)

    def takes(self, project: Project, media_type: str) -> bool:
        """Whether files that are declared so may come; no types are all."""
        return all(not types or sniff.allowed(media_type, types) for types in (project.allowed_types, self.types))

    def intake(self, **claims: Any) -> Intake:
        """The claims of a file that comes by this route."""
        if self.origin != "settings":
            claims |= {"max_size": self.max_size, "types": tuple(self.types) or ("*/*",)}
        hook = Hook(url=self.webhook, events=("file.uploaded",), dialect="uploadkit") if self.webhook else None
        return Intake(route=self.slug, hook=hook, dialect="uploadkit", **claims)


async def find(call: Call, grant: Grant, slug: str) -> Entry:
    """The route of this name; refused when there is none."""
    if slug in grant.project.routes:
        return _of_settings(slug, grant.project.routes[slug])
    sheet = await call.core.records.sheets.named(grant.project.id, KIND, slug)
    if sheet is not None:
        return of_sheet(sheet)
    if slug == DEFAULT:
        return BUILT_IN
    raise refused("route", f"File route '{slug[:100]}' not found")


async def every(call: Call, grant: Grant) -> list[Entry]:
    """All of a project: those of the settings, then those made here, the oldest first."""
    fixed = [_of_settings(slug, route) for slug, route in grant.project.routes.items()]
    made = [of_sheet(sheet) for sheet in await call.core.records.sheets.every(grant.project.id, KIND)]
    known = {entry.slug for entry in fixed}
    found = [*fixed, *(entry for entry in made if entry.slug not in known)]
    return found if any(entry.slug == DEFAULT for entry in found) else [BUILT_IN, *found]


def known(grant: Grant, slug: str | None) -> Grant:
    """The grant for a file of this route, which the settings need not know: its rules are among the file's claims."""
    if slug is None or slug in grant.project.routes:
        return grant
    routes = {**grant.project.routes, slug: Route()}
    return grant.model_copy(update={"project": grant.project.model_copy(update={"routes": routes})})


def too_large(entry: Entry, limit: int) -> UploadkitRefused:
    return refused("size", f"File size exceeds the {_spelt(limit)} limit for route {entry.slug}")


def wrong_type(entry: Entry, project: Project, media_type: str) -> UploadkitRefused:
    allowed = ", ".join([*entry.types] or project.allowed_types)
    return refused("type", f"File type '{media_type}' is not allowed. Allowed types: {allowed}")


def _spelt(size: int) -> str:
    for unit, name in MEGABYTES:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} byte"


def _of_settings(slug: str, route: Route) -> Entry:
    return Entry(slug, "settings", route.max_size, route.types, webhook=route.webhook)


def of_sheet(sheet: Sheet) -> Entry:
    """The route that a document of the API describes."""
    body = {**PLAIN_BODY, **{name: value for name, value in sheet.body.items() if value is not None}}
    return Entry(
        slug=sheet.name or "",
        origin="api",
        max_size=body["maxFileSize"],
        types=tuple(body["allowedTypes"]),
        max_files=body["maxFileCount"],
        webhook=body.get("webhookUrl"),
        sheet=sheet,
    )


BUILT_IN = Entry(
    DEFAULT, "built in", DEFAULT_BODY["maxFileSize"], DEFAULT_BODY["allowedTypes"], DEFAULT_BODY["maxFileCount"]
)
