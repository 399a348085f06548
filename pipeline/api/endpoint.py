"""What an endpoint is: a described operation and the act behind it; and what the act is given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, get_origin

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from pipeline.api.access import Access
from pipeline.api.bodies import JSON_LIMIT, Body, require_json
from pipeline.api.metrics import Metrics
from pipeline.api.problems import request_invalid
from pipeline.api.sse import Streams
from pipeline.api.voices import OURS, Voice
from pipeline.core import Core
from pipeline.describe import Operation
from pipeline.errors import BodyEmpty, KeyRequired, SafelightError
from pipeline.model import Grant, Project

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

ID = web.RequestKey("id", str)
PROJECT = web.RequestKey("project", Project)
"""The project a request turned out to be about; its origins may read the answer."""

M = TypeVar("M", bound=BaseModel)


@dataclass
class Call:
    """One request on its way through an endpoint."""

    core: Core
    access: Access
    metrics: Metrics
    streams: Streams
    request: web.Request
    request_id: str
    visitor: Grant | None = None
    pass_: frozenset[str] = frozenset()
    """Names in the query that spoke to the gate, and are no parameters of the endpoint."""
    body: Body = field(init=False)

    def __post_init__(self) -> None:
        self.body = Body(self.request, self.core.settings.body_timeout)

    @property
    def grant(self) -> Grant:
        """What the caller may do; raises `KeyRequired` when no key came along."""
        if self.visitor is None:
            raise KeyRequired
        return self.visitor

    def speaks_for(self, grant: Grant) -> None:
        """Note whom a request without a key turned out to speak for; its project's pages may read the answer."""
        self.visitor = grant
        self.request[PROJECT] = grant.project

    @property
    def project(self) -> str:
        return self.grant.project.id

    @property
    def base_url(self) -> str:
        """Where this server is reached: the setting, else the address this request came in by."""
        if self.core.settings.public_url:
            return self.core.settings.public_url.rstrip("/")
        address = self.request.get_extra_info("sockname")
        if not isinstance(address, tuple):
            return self.core.settings.base_url
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"

    def place(self, name: str) -> str:
        """The text in the path's place `{name}`."""
        return self.request.match_info[name]

    def id(self, missing: type[SafelightError]) -> str:
        """The id in the path's place `{id}`; one that cannot be an id raises `missing`."""
        given = self.place("id")
        if not UUID.fullmatch(given):
            raise missing(id=given[:64])
        return given.lower()

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    def query(self, model: type[M]) -> M:
        """The query as `model`, in which a field of many may be told again and again; raises `RequestInvalid`."""
        given = self.request.query
        many = _of_many(model)
        told = {name: given.getall(name) if name in many else given[name] for name in given if name not in self.pass_}
        try:
            return model.model_validate(told)
        except ValidationError as cause:
            raise request_invalid(cause) from cause

    async def json(self, model: type[M]) -> M:
        """The JSON body as `model`; raises `BodyEmpty`, `BodyTypeUnsupported` or `RequestInvalid`."""
        require_json(self.request)
        return parsed(model, await self.body.whole(JSON_LIMIT))


@cache
def _of_many(model: type[BaseModel]) -> frozenset[str]:
    """The fields that may be told again and again."""
    return frozenset(name for name, of in model.model_fields.items() if get_origin(of.annotation) is tuple)


def parsed(model: type[M], text: bytes | str) -> M:
    """JSON text as `model`; raises `BodyEmpty` or `RequestInvalid`."""
    if not text:
        raise BodyEmpty
    try:
        return model.model_validate_json(text)
    except ValidationError as cause:
        raise request_invalid(cause) from cause


Act = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Endpoint(Operation):
    """An operation and the act that answers it, also under other spellings of its path, in the words of `voice`."""

    act: Act = field(kw_only=True)
    voice: Voice = field(default=OURS, kw_only=True)
    also: tuple[str, ...] = field(default=(), kw_only=True)


def answer(shape: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer in this shape."""
    return web.Response(
        status=status,
        body=shape.model_dump_json(by_alias=True).encode(),
        headers=headers,
        content_type="application/json",
    )


def plain(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def digest_of(text: bytes) -> str:
    """What stands for a body that was read before its idempotency key was looked at."""
    return hashlib.sha256(text).hexdigest()
