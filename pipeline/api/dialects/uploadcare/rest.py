"""What every request of the REST API has in common: the version it accepts, whom it speaks for, JSON both ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from pipeline.api.bodies import is_json
from pipeline.api.dialects.uploadcare import auth
from pipeline.api.dialects.uploadcare.rest_errors import NotAcceptable, complaint
from pipeline.api.endpoint import UUID, Act, Call
from pipeline.errors import FileNotFound, RequestInvalid
from pipeline.model import File, Grant
from pipeline.vendors.uploadcare import VENDOR_TYPE, Document, rest_file

ACCEPTED = frozenset({VENDOR_TYPE, "application/vnd.uploadcare-v0.6+json", "application/json", "*/*", ""})


@dataclass(frozen=True)
class Ask:
    """Whom a request speaks for, and its body."""

    call: Call
    grant: Grant
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises `RequestInvalid`."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as cause:
            raise RequestInvalid(reason=f"JSON parse error - {cause}") from cause

    def fields(self) -> Mapping[str, Any]:
        """The body as an object, also when a form says it; raises `RequestInvalid`."""
        if not is_json(self.call.request):
            return dict(parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True))
        told = self.json() if self.body else {}
        if not isinstance(told, dict):
            raise RequestInvalid(reason="Invalid data. Expected a dictionary.")
        return told

    def query(self, name: str) -> str:
        return self.call.request.query.get(name, "")

    @property
    def id(self) -> str:
        """The file in the path; what cannot be an id is of no file."""
        return self.call.id(FileNotFound)

    @property
    def project(self) -> str:
        return self.grant.project.id

    def shown(self, file: File, **more: Any) -> Document:
        return rest_file(self.call.base_url, file, **more)


RestAct = Callable[[Ask], Awaitable[web.StreamResponse]]


def spoken(act: RestAct) -> Act:
    """The act as an endpoint has it: who asks, and in which version, is known before it is begun."""

    async def answer(call: Call) -> web.StreamResponse:
        accepted = (call.header("Accept") or "").partition(";")[0].strip().lower()
        if accepted not in ACCEPTED and "," not in accepted:
            raise NotAcceptable
        return await act(Ask(call, *await auth.server(call)))

    return answer


def told(document: Any, status: int = 200, media_type: str = VENDOR_TYPE) -> web.Response:
    """JSON whose type has no charset: clients compare all of the header."""
    return web.Response(status=status, body=orjson.dumps(document), headers={"Content-Type": media_type})


def nothing() -> web.Response:
    return web.Response(status=204)


def truth(value: Any) -> bool | None:
    """A flag as a client may spell it; None for what says neither."""
    if isinstance(value, bool) or value is None:
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def required(fields: Mapping[str, Any], name: str) -> str:
    """The text of a field; complains when it is not there."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise complaint(name, "This field is required.")
    return value


def is_id(value: Any) -> bool:
    return isinstance(value, str) and UUID.fullmatch(value) is not None
