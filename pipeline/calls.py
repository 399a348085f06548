"""What is asked of a server outside, and what it answered; `pipeline.outbound` does the asking.

Nothing here touches the network, so that node types can speak of calls without loading an HTTP client.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

up_at: ContextVar[float] = ContextVar("up_at", default=math.inf)
"""When, by the clock of the running loop, the time of the node is up that calls."""


@dataclass(frozen=True)
class Enclosure:
    """A whole file to be sent, the name it is sent under, and its type."""

    path: Path
    name: str
    mime: str


@dataclass(frozen=True)
class Form:
    """A multipart form: one file, and text fields before it."""

    file: Enclosure
    part: str = "file"
    """Name of the file's part."""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seal:
    """A message's id and time in the headers of Standard Webhooks (https://www.standardwebhooks.com).

    With a secret (base64, with or without `whsec_`) they and the body, which must be text, are signed too.
    """

    id: str
    secret: str | None = None


Body = bytes | Enclosure | Form | None


@dataclass(frozen=True)
class Call:
    """One request; `url`, values of headers, form fields and the seal's secret may hold `{secrets.<name>}`."""

    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = None
    seal: Seal | None = None
    within: float = 30.0
    """Seconds from looking up the host to the last byte of the answer."""
    room: int | None = None
    """The longest answer that is kept, bytes; None when only its status counts."""
    redirects: int = 0
    """How many redirects a GET follows, each judged like the first address; other methods follow none."""
    by: str = ""
    """The type of the node that calls; its calls are watched, see `pipeline.breakers`."""

    def revealed(self, reveal: Callable[[str], str]) -> Call:
        """The call with `reveal` applied to everything that may hold a secret."""
        body, seal = self.body, self.seal
        if isinstance(body, Form):
            body = replace(body, fields={name: reveal(value) for name, value in body.fields.items()})
        if seal and seal.secret:
            seal = replace(seal, secret=reveal(seal.secret))
        headers = {name: reveal(value) for name, value in self.headers.items()}
        return replace(self, url=reveal(self.url), headers=headers, body=body, seal=seal)


@dataclass(frozen=True)
class Reply:
    """An answer of success; without `path` its body was not wanted."""

    status: int
    path: Path | None = None
    size: int = 0
    sha256: str = ""
    mime: str = ""
    """Told by its bytes; what the server calls them does not count."""
