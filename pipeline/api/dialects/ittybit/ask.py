"""What every request of the API has in common: whom it speaks for, in which version, JSON both ways, pages of lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web

from pipeline.api.bodies import JSON_LIMIT
from pipeline.api.dialects.ittybit import auth
from pipeline.api.dialects.ittybit.errors import BadRequest, Missing, envelope
from pipeline.api.dialects.ittybit.places import address_of
from pipeline.api.dialects.ittybit.versions import version_of
from pipeline.api.endpoint import Act, Call
from pipeline.model import Grant
from pipeline.vendors.ittybit.words import BARE, RENAMED, View, id_of

MOST = 100
DEEPEST = 10_000
"""How many entries a list goes back."""


@dataclass(frozen=True)
class Ask:
    """One request of a server."""

    call: Call
    grant: Grant
    version: str
    body: bytes = b""

    @property
    def project(self) -> str:
        return self.grant.project.id

    @cached_property
    def view(self) -> View:
        return view_of(self.call, self.grant, self.version)

    def fields(self) -> Mapping[str, Any]:
        """The body as an object; none, although a client may call it JSON, is an empty one. Raises `BadRequest`."""
        if not self.body.strip():
            return {}
        try:
            told = orjson.loads(self.body)
        except orjson.JSONDecodeError as cause:
            raise BadRequest(reason="The request body is not valid JSON.") from cause
        if not isinstance(told, dict):
            raise BadRequest(reason="The request body must be a JSON object.")
        return told

    def query(self, name: str) -> str:
        return self.call.request.query.get(name, "")

    def id(self, what: str, *prefixes: str) -> str:
        """The id of ours in the path's place `{id}`; what cannot be one is nobody's: raises `Missing`."""
        id = id_of(self.call.place("id"), *prefixes)
        if id is None:
            raise Missing(what=what)
        return id

    @cached_property
    def page(self) -> Page:
        """Which page of a list is asked for; raises `BadRequest`."""
        default = 12 if self.version < RENAMED else 20
        page, limit = self._number("page", 1), min(self._number("limit", default), MOST)
        if page * limit > DEEPEST:
            raise BadRequest(reason=f"A list goes back {DEEPEST} entries at most.")
        return Page(page, limit)

    def _number(self, name: str, default: int) -> int:
        text = self.query(name) or str(default)
        if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text)):
            raise BadRequest(reason=f"`{name}` must be a positive integer.")
        return int(text)

    # Answers

    def told(self, document: Any, status: int = 200) -> web.Response:
        """One thing."""
        return told(self.call, document, self.version, status)

    def listed(self, rows: Sequence[Any], total: int) -> web.Response:
        """One page of so many."""
        page, url = self.page, self.call.request.rel_url
        pages = -(-total // page.limit)
        places = {"self": page.number, "first": 1, "prev": page.number - 1, "next": page.number + 1, "last": pages}
        query = {name: value for name, value in url.query.items() if name != "page"}
        links = {
            name: f"{self.call.base_url}{url.path}?{urlencode({**query, 'page': number})}"
            if name == "self" or 1 <= number <= max(pages, 1)
            else None
            for name, number in places.items()
        }
        if self.version >= BARE:
            return _answer(list(rows), 200, _headers(links, page, more=page.number < pages))
        meta = {"type": "list", "list": True, "total": total, "limit": page.limit, "page": page.number, "pages": pages}
        return _answer(envelope(self.call.request, list(rows), self.version, 200, meta, links), 200)


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted, pages counted from 1."""

    number: int
    limit: int
    skipped: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "skipped", (self.number - 1) * self.limit)

    @property
    def wanted(self) -> int:
        """How many entries must be known to show it."""
        return self.skipped + self.limit


def view_of(call: Call, grant: Grant, version: str) -> View:
    return View(call.base_url, grant.project.id, version, lambda file: address_of(call, grant.project, file))


def told(call: Call, document: Any, version: str, status: int = 200) -> web.Response:
    """One thing in the shape of a version."""
    if version >= BARE:
        return _answer(document, status)
    return _answer(envelope(call.request, document, version, status, {"type": "object"}), status)


def _answer(document: Any, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(document, default=str), content_type="application/json", headers=headers
    )


def _headers(links: Mapping[str, str | None], page: Page, *, more: bool) -> dict[str, str]:
    spelt = ", ".join(f'<{url}>; rel="{name}"' for name, url in links.items() if url and name != "self")
    return {"Link": spelt, "Has-More": str(more).lower(), "Limit": str(page.limit)}


IttybitAct = Callable[[Ask], Awaitable[web.StreamResponse]]


def spoken(act: IttybitAct) -> Act:
    """The act as an endpoint has it: who asks is known before it is begun."""

    async def answer(call: Call) -> web.StreamResponse:
        grant = await auth.server(call)
        body = await call.body.whole(JSON_LIMIT) if call.request.body_exists else b""
        return await act(Ask(call, grant, version_of(call.request), body))

    return answer


def text_of(fields: Mapping[str, Any], name: str, most: int = 1000) -> str | None:
    """The text of a field, None when it is null or not there; raises `BadRequest`."""
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > most):
        raise BadRequest(reason=f"`{name}` must be a string of at most {most} characters.")
    return value


def object_of(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object in a field, an empty one when it is null or not there; raises `BadRequest`."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(reason=f"`{name}` must be an object.")
    return value
