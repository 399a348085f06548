"""What one can do with webhooks: make, change, turn on and off, try out, look at what they were sent, send it again."""

from __future__ import annotations

import secrets as entropy
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

from pipeline.dialing import ANYWHERE, OUTSIDE
from pipeline.errors import (
    AddressRefused,
    DeliveryNotFound,
    DeliveryWaiting,
    WebhookDisabled,
    WebhookFixed,
    WebhookNotFound,
)
from pipeline.model import (
    Delivery,
    DeliveryStatus,
    Grant,
    HookDialect,
    HookEvent,
    HookSecret,
    HookStanding,
    Page,
    Webhook,
    new_id,
    now,
)
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.webhooks.dispatching import Dispatching, delivery_slip
from pipeline.webhooks.message import Message
from pipeline.webhooks.sending import PING, Sending
from pipeline.webhooks.targets import Targets

MOST_SECRETS = 5
"""That sign at once."""
REPLAYED_AT_ONCE = 100


class Webhooks:
    """The verbs on webhooks and their deliveries; `dispatching` and `sending` are what workers do for them."""

    def __init__(
        self, settings: Settings, records: Records, targets: Targets, dispatching: Dispatching, sending: Sending
    ) -> None:
        self._settings = settings
        self._records = records
        self._targets = targets
        self.dispatching = dispatching
        self.sending = sending

    async def list(self, grant: Grant) -> list[tuple[Webhook, HookStanding]]:
        """Those of the project, first those of the settings, with how they fare."""
        found = await self._targets.of_project(grant.project)
        standings = await self._records.webhooks.standings([webhook.id for webhook in found])
        return list(zip(found, standings, strict=True))

    async def get(self, grant: Grant, id: str) -> tuple[Webhook, HookStanding]:
        """One of the project; raises `WebhookNotFound`."""
        try:
            webhook = self._targets.fixed_one(grant.project, id)
        except WebhookNotFound:
            webhook = await self._records.webhooks.get(grant.project.id, id)
        (standing,) = await self._records.webhooks.standings([id])
        return webhook, standing

    async def create(
        self,
        grant: Grant,
        url: str,
        events: Sequence[HookEvent] = (),
        secrets: Sequence[str] = (),
        dialect: HookDialect = "native",
        description: str = "",
    ) -> Webhook:
        """Tell `url` of these events from now on, of all when there are none; without secrets it is not signed.

        Raises `AddressRefused`, `WebhookExists` (an event of the same address) or `WebhooksTooMany`.
        """
        self._check_url(grant, url)
        webhook = Webhook(
            project=grant.project.id,
            url=url,
            events=tuple(dict.fromkeys(events)),
            dialect=dialect,
            secrets=tuple(HookSecret(value=value) for value in secrets),
            description=description,
        )
        return await self._records.webhooks.create(webhook)

    async def change(self, grant: Grant, id: str, **fields: Any) -> Webhook:
        """Give it another `url`, `events`, `description` or `secrets`.

        Raises `WebhookNotFound`, `WebhookFixed`, `WebhookExists` or `AddressRefused`.
        """
        await self._own(grant, id)
        if "url" in fields:
            self._check_url(grant, fields["url"])
        return await self._records.webhooks.change(grant.project.id, id, **fields)

    async def rotate(self, grant: Grant, id: str, secret: str, keep: float) -> Webhook:
        """Sign with `secret` from now on, and with those before it for `keep` seconds more.

        Raises `WebhookNotFound` or `WebhookFixed`.
        """
        webhook = await self._own(grant, id)
        at = now()
        end = at + timedelta(seconds=keep)
        older = [
            old.model_copy(update={"until": min(old.until or end, end)})
            for old in webhook.secrets
            if old.value != secret and (old.until is None or old.until > at)
        ]
        kept = (HookSecret(value=secret), *(older if keep else ()))
        return await self._records.webhooks.change(grant.project.id, id, secrets=kept[:MOST_SECRETS])

    async def delete(self, grant: Grant, id: str) -> Webhook:
        """Tell it nothing more and forget it; raises `WebhookNotFound` or `WebhookFixed`."""
        await self._own(grant, id)
        return await self._records.webhooks.delete(grant.project.id, id)

    async def enable(self, grant: Grant, id: str) -> tuple[Webhook, HookStanding]:
        """Tell it again, from now on; raises `WebhookNotFound`."""
        await self.get(grant, id)
        await self._records.webhooks.enable(grant.project.id, id)
        return await self.get(grant, id)

    async def disable(self, grant: Grant, id: str) -> tuple[Webhook, HookStanding]:
        """Tell it nothing until it is enabled; what is on its way to it fails. Raises `WebhookNotFound`."""
        await self.get(grant, id)
        await self._records.webhooks.disable(grant.project.id, id)
        return await self.get(grant, id)

    async def ping(self, grant: Grant, id: str) -> Delivery:
        """Send it a message to see whether it hears, once, disabled or not; raises `WebhookNotFound`."""
        webhook, _ = await self.get(grant, id)
        message = Message(f"ping-{new_id()}", PING, grant.project.id, id, now(), self._settings.base_url)
        made = self.dispatching.delivery(message, webhook)
        if made is None:
            raise WebhookNotFound(id=id)
        await self._records.deliveries.create(*made, self._settings.delivery_retention)
        return made[0]

    # What was sent

    async def deliveries(
        self,
        grant: Grant,
        cursor: str | None = None,
        limit: int = 50,
        status: DeliveryStatus | None = None,
        webhook: str | None = None,
        event: str | None = None,
    ) -> Page[Delivery]:
        """The project's deliveries, newest first, of one webhook or event if given; raises `CursorInvalid`."""
        project = grant.project.id
        scope = f"event:{project}:{event}" if event else f"webhook:{webhook}" if webhook else f"project:{project}"
        page = await self._records.deliveries.list(scope, cursor, limit, status)
        mine = tuple(one for one in page.items if one.project == project and webhook in (None, one.webhook))
        return page.model_copy(update={"items": mine})

    async def delivery(self, grant: Grant, id: str) -> Delivery:
        """One of the project; raises `DeliveryNotFound`."""
        delivery = await self._records.deliveries.get(id)
        if delivery.project != grant.project.id:
            raise DeliveryNotFound(id=id)
        return delivery

    async def replay(self, grant: Grant, id: str) -> Delivery:
        """Send the same message again; raises `DeliveryNotFound`, `DeliveryWaiting` or `WebhookDisabled`."""
        delivery = await self.delivery(grant, id)
        (standing,) = await self._records.webhooks.standings([delivery.webhook])
        if standing.disabled_at:
            raise WebhookDisabled(id=delivery.webhook)
        if not await self._replay(delivery):
            raise DeliveryWaiting(id=id)
        return await self.delivery(grant, id)

    async def replay_failed(self, grant: Grant, id: str, since: datetime | None = None) -> int:
        """Send again what failed to reach a webhook, since a time or all that is kept; returns how many.

        Raises `WebhookNotFound` or `WebhookDisabled`.
        """
        _, standing = await self.get(grant, id)
        if standing.disabled_at:
            raise WebhookDisabled(id=id)
        return sum([await self._replay(delivery) for delivery in await self._failed(id, since)])

    async def _failed(self, webhook: str, since: datetime | None) -> Sequence[Delivery]:
        found: list[Delivery] = []
        cursor = None
        while True:
            page = await self._records.deliveries.list(f"webhook:{webhook}", cursor, REPLAYED_AT_ONCE, "failed")
            late = [one for one in page.items if since is None or one.created_at >= since]
            found += [one for one in late if one.type != PING]
            cursor = page.next
            if cursor is None or len(late) < len(page.items):
                return found

    async def _replay(self, delivery: Delivery) -> bool:
        settings = self._settings
        again = delivery_slip(settings.key_prefix, delivery.id, delivery.round + 1, delivery.project)
        return await self._records.deliveries.replay(delivery, again, settings.delivery_retention)

    async def _own(self, grant: Grant, id: str) -> Webhook:
        webhook, _ = await self.get(grant, id)
        if webhook.origin != "api":
            raise WebhookFixed(id=id)
        return webhook

    def _check_url(self, grant: Grant, text: str) -> None:
        """Raise `AddressRefused` for what could never be told anything; the rest is judged when it is dialled."""
        guard = ANYWHERE if grant.project.allow_private_urls else OUTSIDE
        host = guard.url(text).host or ""
        try:
            ip_address(host)
        except ValueError:
            return
        if not guard.allows(host):
            raise AddressRefused


def new_secret() -> str:
    """A secret that nobody knows, as Standard Webhooks spell it."""
    return "whsec_" + b64encode(entropy.token_bytes(24)).decode()
