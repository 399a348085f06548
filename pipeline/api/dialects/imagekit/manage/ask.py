"""What every request of the management API has in common: whom it speaks for, JSON both ways, files by their ids."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from pipeline.api.bodies import JSON_LIMIT
from pipeline.api.dialects.imagekit import auth
from pipeline.api.dialects.imagekit.errors import invalid, missing, refused
from pipeline.api.dialects.imagekit.fields import fields_of
from pipeline.api.endpoint import Act, Call
from pipeline.core import Core
from pipeline.errors import FileNotFound, RequestInvalid
from pipeline.model import File, Grant
from pipeline.records import Records
from pipeline.records.lineages import LINEAGE, version_id
from pipeline.shelving import Shelving
from pipeline.vendors.imagekit import Document, file_document

ID_BYTES = 12
NO_VERSION = "The requested file version does not exist."


@dataclass(frozen=True)
class Ask:
    """Whom a request speaks for, and the fields of its body."""

    call: Call
    grant: Grant
    fields: Mapping[str, Any]

    @property
    def core(self) -> Core:
        return self.call.core

    @property
    def records(self) -> Records:
        return self.call.core.records

    @property
    def shelving(self) -> Shelving:
        return self.call.core.shelving

    @property
    def project(self) -> str:
        return self.grant.project.id

    def query(self, name: str) -> str:
        """A parameter of the query; "" when it is not there."""
        return self.call.request.query.get(name, "")

    def text(self, name: str) -> str:
        """A field that has to be there; refused without it."""
        value = self.fields.get(name)
        if value is None or value == "":
            raise missing(name)
        if not isinstance(value, str):
            raise invalid(name, "It should be a string.")
        return value

    def flag(self, *names: str) -> bool:
        """Whether a field is set, by the first of its names that is told; refused for what is neither."""
        value = next((self.fields[name] for name in names if self.fields.get(name) is not None), False)
        if value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, bool):
            raise invalid(names[0], "It should be true or false.")
        return value

    async def documents(self, *found: tuple[File, str]) -> list[Document]:
        """Files as they are shown, each with its type."""
        fields = await fields_of(self.core, self.project)
        return [file_document(self.call.base_url, file, fields, type=type) for file, type in found]

    async def document(self, file: File, type: str = "file") -> Document:
        """One file as it is shown."""
        (shown,) = await self.documents((file, type))
        return shown


AskAct = Callable[[Ask], Awaitable[web.StreamResponse]]


def spoken(act: AskAct) -> Act:
    """The act as an endpoint has it: who asks, and for what, is known before it is begun."""

    async def answer(call: Call) -> web.StreamResponse:
        grant = await auth.server(call)
        return await act(Ask(call, grant, await _fields(call)))

    return answer


async def _fields(call: Call) -> Mapping[str, Any]:
    """The body as an object; clients declare one as JSON also where they send none."""
    text = await call.body.whole(JSON_LIMIT) if call.request.body_exists else b""
    if not text.strip():
        return {}
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as cause:
        raise RequestInvalid(reason="Your request contains invalid JSON.") from cause
    if not isinstance(told, dict):
        raise RequestInvalid(reason="Your request should contain a JSON object.")
    return told


def told(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def nothing() -> web.Response:
    return web.Response(status=204)


def new_id() -> str:
    """24 hex digits that nothing else has."""
    return secrets.token_hex(ID_BYTES)


# Files by their ids


def is_id(text: Any) -> bool:
    return isinstance(text, str) and LINEAGE.fullmatch(text) is not None


async def versions_of(ask: Ask) -> list[File]:
    """Every version of the file in the path, the current one last; raises `FileNotFound`."""
    id = ask.call.place("id").lower()
    if not is_id(id):
        raise invalid("fileId")
    if not (versions := await ask.records.lineages.versions(ask.project, id)):
        raise FileNotFound(id=id)
    return versions


async def current_of(ask: Ask) -> File:
    """The current version of the file in the path; raises `FileNotFound`."""
    return (await versions_of(ask))[-1]


async def version_of(ask: Ask) -> tuple[File, str]:
    """The version in the path, and its type; refused when the file has none such."""
    versions, wanted = await versions_of(ask), ask.call.place("version").lower()
    if not is_id(wanted):
        raise invalid("versionId")
    for version in versions:
        if version_id(version) == wanted:
            return version, type_of(version, versions)
    raise refused(NO_VERSION, 404)


def type_of(version: File, versions: list[File]) -> str:
    """The type of one of the versions of a file, the current one of which is last."""
    return "file" if version.id == versions[-1].id else "file-version"
