"""One-time tickets: an address that takes one file from somebody who has no key, under rules fixed beforehand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

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

    async def look(self, token: str) -> tuple[Grant, Intake, str]:
        """What the ticket allows, without using it, and a name that only it has; raises what `use` does."""
        project, claims = self._seals.open(PURPOSE, token)
        name = _name(claims)
        if await self._records.tokens.is_burnt(name):
            raise TicketUsed
        return Grant(project=project), Intake.model_validate(claims["intake"]), name

    def name(self, token: str) -> tuple[Grant, str]:
        """Whose ticket it is, used or not, and the name that only it has; raises `SignatureInvalid`, ..."""
        project, claims = self._seals.open(PURPOSE, token)
        return Grant(project=project), _name(claims)

    @contextlib.asynccontextmanager
    async def use(self, token: str) -> AsyncIterator[tuple[Grant, Intake]]:
        """What the ticket allows, while the block takes the file in; it is given back when that fails.

        Raises `TicketUsed`, `SignatureInvalid` or `SignatureExpired`. One that was cut off by the death of the server
        stays used.
        """
        project, claims = self._seals.open(PURPOSE, token)
        name = _name(claims)
        if not await self._records.tokens.burn(name, claims["until"] - time.time() + 60):
            raise TicketUsed
        try:
            yield Grant(project=project), Intake.model_validate(claims["intake"])
        except BaseException:
            await self._cleaning.quietly(self._records.tokens.give_back(name))
            raise


def _name(claims: Mapping[str, Any]) -> str:
    return sha256(str(claims["id"]).encode()).hexdigest()
