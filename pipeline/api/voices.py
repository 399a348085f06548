"""How a dialect speaks where no act of its own does: of errors, also those met at the gate, and on every answer."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from pipeline.api.problems import problem
from pipeline.errors import SafelightError


class Voice:
    """Our own way of speaking; a dialect overrides what its vendor does otherwise."""

    credentials = False
    """Whether pages of other origins may send cookies along, as its vendor's clients do."""

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        """`error` as an answer."""
        return problem(error, request_id)

    def headers(self, request: web.Request) -> Mapping[str, str]:
        """What every answer to `request` has, refusals too."""
        return {}


OURS = Voice()
VOICE = web.RequestKey("voice", Voice)
"""In whose words a request is answered; those that are nobody's are answered in ours."""
