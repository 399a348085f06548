"""The nouns as records in Redis: durable, changed in atomic steps that carry their events, listed by cursor.

Only these modules, `pipeline.events` and `pipeline.flows` know a key. Any verb raises `RecordsUnavailable` when the
server is away, full or read-only; then nothing was half done.
"""

from __future__ import annotations

from redis.asyncio import Redis

from pipeline.events import EVENT_CAP
from pipeline.hearing import Exchange
from pipeline.records.answers import Answers
from pipeline.records.breakers import Breakers
from pipeline.records.changes import Changes
from pipeline.records.deliveries import Deliveries
from pipeline.records.derivatives import Derivatives
from pipeline.records.durability import warnings_about
from pipeline.records.failures import Failures
from pipeline.records.fetches import Fetches
from pipeline.records.files import Files
from pipeline.records.groups import Groups
from pipeline.records.hauls import Hauls
from pipeline.records.holds import Holds
from pipeline.records.letters import Letters
from pipeline.records.lineages import Lineages
from pipeline.records.notes import Notes
from pipeline.records.outgoing import Outgoing
from pipeline.records.queue import Queues
from pipeline.records.rates import Rates
from pipeline.records.removed import Removals
from pipeline.records.retention import Retention
from pipeline.records.runs import Runs
from pipeline.records.schedules import Schedules
from pipeline.records.series import Series
from pipeline.records.sheets import Sheets
from pipeline.records.stretches import Stretches
from pipeline.records.sweeps import Sweeps
from pipeline.records.tokens import Tokens
from pipeline.records.trails import Trails
from pipeline.records.uploads import Uploads
from pipeline.records.usage import Usages
from pipeline.records.webhooks import Webhooks
from pipeline.records.workers import Workers
from pipeline.scripting import RecordClient


class Records:
    """Every record of the house, a room for each noun."""

    def __init__(self, redis: Redis, prefix: str, event_cap: int = EVENT_CAP, news: Exchange | None = None) -> None:
        client = RecordClient.over(redis)
        self._client = client
        self.uploads = Uploads(client, prefix, event_cap)
        self.failures = Failures(client, prefix, event_cap)
        self.holds = Holds(client, prefix, event_cap)
        self.files = Files(client, prefix, event_cap)
        self.fetches = Fetches(client, prefix, event_cap)
        self.hauls = Hauls(client, prefix, event_cap)
        self.usage = Usages(client, prefix, event_cap)
        self.changes = Changes(client, prefix, event_cap)
        self.derivatives = Derivatives(client, prefix, event_cap)
        self.runs = Runs(client, prefix, event_cap)
        self.queues = Queues(client, prefix, event_cap)
        self.letters = Letters(client, prefix, event_cap)
        self.groups = Groups(client, prefix, event_cap)
        self.rates = Rates(redis, prefix)
        self.tokens = Tokens(client, prefix, event_cap)
        self.answers = Answers(client, prefix, event_cap)
        self.breakers = Breakers(client, prefix, event_cap)
        self.workers = Workers(client, prefix, event_cap)
        self.schedules = Schedules(client, prefix, event_cap)
        self.series = Series(client, prefix, event_cap)
        self.trails = Trails(client, prefix, event_cap, news)
        self.webhooks = Webhooks(client, prefix, event_cap)
        self.deliveries = Deliveries(client, prefix, event_cap)
        self.outgoing = Outgoing(client, prefix, event_cap)
        self.sweeps = Sweeps(client, prefix, event_cap)
        self.stretches = Stretches(client, prefix, event_cap)
        self.removals = Removals(client, prefix, event_cap)
        self.notes = Notes(client, prefix, event_cap)
        self.lineages = Lineages(client, prefix, event_cap)
        self.sheets = Sheets(client, prefix, event_cap)
        self.retention = Retention(client, prefix, event_cap)

    async def check(self) -> None:
        """Return when the server answers; raises `RecordsUnavailable`."""
        await self._client.ping()

    async def durability(self) -> list[str]:
        """One sentence for each reason why the server could lose records; empty when it keeps them."""
        return await warnings_about(self._client)
