"""How delivery tells of errors: a status and one sentence, which pages of every origin may read."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from pipeline.api.problems import asked_headers
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError

CODE = "Safelight-Error"
"""The header with the stable code of what went wrong."""


class DeliveryVoice(Voice):
    """404 for whatever is not there or not public, 400 for whatever cannot be made; the code is in a header."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        headers = {"Cache-Control": "no-store", CODE: error.code}
        headers |= asked_headers(error, error.status)
        return web.Response(status=_status(error), text=f"{error.message}\n", headers=headers)

    def headers(self, request: web.Request) -> Mapping[str, str]:
        return {}


def _status(error: SafelightError) -> int:
    if error.status in (404, 410):
        return 404
    return 400 if error.status in (413, 415, 422) else error.status
