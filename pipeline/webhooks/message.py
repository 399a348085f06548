"""What is told to a webhook, and what a dialect makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pipeline.model import File, Run, Sheet, Webhook


@dataclass(frozen=True)
class Message:
    """An event with what it is about, as that stood when the event was dispatched; None for what is gone.

    A run is as the event left it.
    """

    event: str
    type: str
    project: str
    subject: str
    at: datetime
    base_url: str
    """Where this server is reached."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    file: File | None = None
    run: Run | None = None
    outputs: Mapping[str, File] = field(default_factory=dict)
    """The files a run made, by id."""
    inputs: Mapping[str, File] = field(default_factory=dict)
    """The files it was given, by id."""
    public_key: str | None = None
    """That of the project."""
    sheets: Sequence[Sheet] = ()
    """What the dialect reads of the project's documents."""


@dataclass(frozen=True)
class Posting:
    """One try to send a body: `id` is the same at every try, `at` is not; `secrets` all sign, the newest first."""

    id: str
    at: datetime
    url: str
    body: bytes
    secrets: Sequence[str]


class Dialect(Protocol):
    """How one vendor tells of events."""

    def body(self, message: Message, webhook: Webhook) -> bytes | None:
        """What is posted, UTF-8; None for an event this vendor does not tell of."""

    def headers(self, posting: Posting) -> Mapping[str, str]:
        """Its type and signature; without secrets it is not signed."""
