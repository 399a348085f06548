"""One-time tickets: an address that takes one file from somebody who has no key, under rules fixed beforehand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from pipeline.errors import TicketUsed
from pipeline.model import Grant, Intake, new_id
from pipeline.records import Records
from pipeline.signing import Seals
from pipeline.uploads.cleaning import Cleaning
from pipeline.uploads.entry import route_of

PURPOSE = "ticket"


class Ticket(NamedTuple):
    """A token that is good for one file until it expires."""

    token: str
    expires_at: datetime


class Tickets:
    """Gives out tickets and lets each be used once, by the first who comes with a sound file."""

    def __init__(self, records: Records, seals: Seals, cleaning: Cleaning) -> None:
        self._records = records
        self._seals = seals
        self._cleaning = cleaning

    def issue(self, grant: Grant, intake: Intake, seconds: float) -> Ticket:
        """A ticket for one file that keeps to `intake`, for so many seconds; raises `RouteUnknown`."""
        route_of(grant, intake)
        expires = int(time.time() + seconds)
        claims = {"id": new_id(), "until": expires, "intake": intake.model_dump(mode="json", exclude_defaults=True)}
        token = self._seals.seal(PURPOSE, grant.project.id, expires, claims)
        return Ticket(token, datetime.fromtimestamp(expires, UTC))

    @contextlib.asynccontextmanager
    async def use(self, token: str) -> AsyncIterator[tuple[Grant, Intake]]:
        """What the ticket allows, while the block takes the file in; it is given back when that fails.

        Raises `TicketUsed`, `SignatureInvalid` or `SignatureExpired`. One that was cut off by the death of the server
        stays used.
        """
        project, claims = self._seals.open(PURPOSE, token)
        name = sha256(str(claims["id"]).encode()).hexdigest()
        if not await self._records.tokens.burn(name, claims["until"] - time.time() + 60):
            raise TicketUsed
        try:
            yield Grant(project=project), Intake.model_validate(claims["intake"])
        except BaseException:
            await self._cleaning.quietly(self._records.tokens.give_back(name))
            raise
