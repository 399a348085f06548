"""One try to deliver a message, and what follows from how it went.

Any answer of 2xx is success and 410 the wish to hear nothing more (Standard Webhooks, section Operational
considerations); everything else is tried again until the pauses of the settings are used up.
"""

from __future__ import annotations

import random
from datetime import datetime
from time import perf_counter
from uuid import UUID

import structlog

from pipeline.calls import Call
from pipeline.errors import SafelightError, WebhookDisabled
from pipeline.model import Delivery, DeliveryTry, Problem, Webhook, now
from pipeline.outbound import Outbound
from pipeline.records import Records
from pipeline.records.deliveries import Outcome, Verdict
from pipeline.settings import Settings
from pipeline.webhooks.dialects import DIALECTS
from pipeline.webhooks.dispatching import DELIVER, delivery_slip
from pipeline.webhooks.message import Posting
from pipeline.webhooks.targets import Targets

GONE = 410
PING = "webhook.ping"
JITTER = 0.2
"""Part of a pause by which it is made longer or shorter, so that those who wait for one receiver come one by one."""
OVERDUE = 60.0
"""Seconds after which a delivery whose time has come is given a job again, should it have lost its own."""

log = structlog.stdlib.get_logger(__name__)


class Sending:
    """Delivers messages, each as often as need be."""

    def __init__(self, settings: Settings, records: Records, outbound: Outbound, targets: Targets) -> None:
        self._settings = settings
        self._records = records
        self._outbound = outbound
        self._targets = targets

    async def attempt(self, id: str, round: int) -> float | None:
        """Send a message once; the seconds until it is to be sent again, None when there is nothing more to do.

        A round that is over, or was overtaken by a replay, sends nothing. Raises `RecordsUnavailable`.
        """
        begun = await self._records.deliveries.begin(id, round)
        if begun is None:
            return None
        delivery, body = begun
        outcome = await self._outcome(delivery, body)
        told = await self._records.deliveries.settle(delivery, outcome, self._settings.delivery_retention)
        return outcome.wait if told and outcome.verdict == "later" else None

    async def recover(self) -> int:
        """Give a job to every delivery that has waited too long; one whose job is there is left alone."""
        enqueued = 0
        for id, round, project in await self._records.deliveries.overdue(OVERDUE):
            enqueued += await self._records.runs.enqueue(delivery_slip(self._settings.key_prefix, id, round, project))
        return enqueued

    async def _outcome(self, delivery: Delivery, body: bytes) -> Outcome:
        at, began = now(), perf_counter()
        try:
            webhook = await self._targets.find(delivery)
            await self._check(delivery, webhook)
        except SafelightError as error:
            if error.retryable:
                raise
            return Outcome("failed", _tried(at, began, error), judged=False)
        try:
            status = await self._post(delivery, webhook, body)
            return Outcome("delivered", _tried(at, began, status=status), judged=delivery.type != PING)
        except SafelightError as error:
            return self._failed(delivery, _tried(at, began, error))

    async def _check(self, delivery: Delivery, webhook: Webhook) -> None:
        (standing,) = await self._records.webhooks.standings([webhook.id])
        if standing.disabled_at and delivery.type != PING:
            raise WebhookDisabled(id=webhook.id)

    async def _post(self, delivery: Delivery, webhook: Webhook, body: bytes) -> int:
        at, settings = now(), self._settings
        secrets = [secret.value for secret in webhook.secrets if secret.until is None or secret.until > at]
        posting = Posting(f"msg_{UUID(delivery.id).hex}", at, webhook.url, body, secrets)
        headers = DIALECTS[delivery.dialect].headers(posting)
        call = Call(webhook.url, "POST", headers, body, within=settings.webhook_timeout)
        private = settings.projects[delivery.project].allow_private_urls
        return (await self._outbound.send(call, settings.data_dir / "tmp", private=private)).status

    def _failed(self, delivery: Delivery, tried: DeliveryTry) -> Outcome:
        pauses, tries = self._settings.webhook_retries, delivery.tries
        verdict: Verdict = "later" if tries < len(pauses) and delivery.type != PING else "failed"
        if tried.status == GONE:
            verdict = "gone"
        log.info("webhook_failed", delivery=delivery.id, verdict=verdict, status=tried.status, tries=tries + 1)
        wait = pauses[tries] * random.uniform(1 - JITTER, 1 + JITTER) if verdict == "later" else 0.0  # noqa: S311
        return Outcome(verdict, tried, wait, delivery.type != PING, self._settings.webhook_patience)


def _tried(at: datetime, began: float, error: SafelightError | None = None, status: int | None = None) -> DeliveryTry:
    problem = Problem(code=error.code, message=error.message) if error else None
    answered = error.facts.get("answered") if error else status
    return DeliveryTry(at=at, ms=round((perf_counter() - began) * 1000, 1), status=answered, error=problem)


__all__ = ["DELIVER", "Sending"]
