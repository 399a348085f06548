"""What is asked of webhooks over the native API, and what it tells of them and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from pipeline.api.dialects.native.shapes import Ask, Paging, Shape
from pipeline.model import (
    Base64Secret,
    Delivery,
    DeliveryStatus,
    DeliveryTry,
    HookEvent,
    HookStanding,
    Webhook,
)
from pipeline.units import Seconds

DAY = 86_400.0


class WebhookAsk(Ask):
    """An address to be told of events."""

    url: str = Field(max_length=2000, description="http or https; no redirect is followed.")
    events: tuple[HookEvent, ...] = Field(default=(), description="Left out, all but the steps of runs.")
    secret: Base64Secret | None = Field(
        default=None,
        max_length=200,
        description="Signs messages: base64, with or without `whsec_`. Left out, one is made.",
    )
    description: str = Field(default="", max_length=500)


class WebhookChange(Ask):
    """What is to be different; the rest stays."""

    url: str | None = Field(default=None, max_length=2000)
    events: tuple[HookEvent, ...] | None = None
    description: str | None = Field(default=None, max_length=500)


class RotateAsk(Ask):
    """A secret to sign with from now on."""

    secret: Base64Secret | None = Field(default=None, max_length=200, description="Left out, one is made.")
    keep: Seconds = Field(default=DAY, ge=0, le=30 * DAY, description="How long the secrets before it sign beside it.")


class ReplayAsk(Ask):
    """Which failed deliveries are sent again."""

    since: datetime | None = Field(default=None, description="Those made since then; left out, all that are kept.")


class DeliveriesQuery(Paging):
    status: DeliveryStatus | None = None
    event: str | None = Field(default=None, max_length=64, description="Id of an event.")


class DisabledShape(Shape):
    """Since when a webhook is told nothing, and why: it was `asked` for, it answered 410, or was `failing` for days."""

    at: datetime
    reason: Literal["asked", "gone", "failing"]


class WebhookShape(Shape):
    """An address that is told of events, and how it fares."""

    id: str
    url: str
    events: tuple[HookEvent, ...] = Field(description="Empty for all but the steps of runs.")
    description: str
    dialect: str
    origin: str = Field(description="`api`, or `settings`, where it is changed then.")
    signed: bool
    disabled: DisabledShape | None = Field(description="Null while it is told.")
    failing_since: datetime | None = Field(description="The first failure since the last success.")
    failures: int = Field(description="Tries that failed since the last success.")
    delivered_at: datetime | None = Field(description="The last success.")
    created_at: datetime | None


class SecretShape(WebhookShape):
    """A webhook with the secret that signs its messages, told this once."""

    secret: str


class DeliveryShape(Shape):
    """A message to a webhook and every try to bring it there."""

    id: str
    webhook: str
    url: str
    event: str = Field(description="Id of the event in the log.")
    type: str
    subject: str
    status: DeliveryStatus
    created_at: datetime
    next_at: datetime | None = Field(description="When it is tried again.")
    tries: tuple[DeliveryTry, ...] = Field(description="The last fifty, the oldest first.")


def webhook_fields(webhook: Webhook, standing: HookStanding) -> dict[str, object]:
    kept = webhook.model_dump(include={"id", "url", "events", "description", "dialect", "origin"})
    fares = standing.model_dump(include={"failing_since", "failures", "delivered_at"})
    disabled = None
    if standing.disabled_at:
        disabled = DisabledShape(at=standing.disabled_at, reason=standing.reason or "asked")
    made = webhook.created_at if webhook.origin == "api" else None
    return {**kept, **fares, "signed": bool(webhook.secrets), "disabled": disabled, "created_at": made}


def webhook_shape(webhook: Webhook, standing: HookStanding) -> WebhookShape:
    return WebhookShape.model_validate(webhook_fields(webhook, standing))


def secret_shape(webhook: Webhook, standing: HookStanding) -> SecretShape:
    told = webhook_fields(webhook, standing)
    return SecretShape.model_validate(told | {"secret": webhook.secrets[0].value})


def delivery_shape(delivery: Delivery) -> DeliveryShape:
    kept = delivery.model_dump(exclude={"project", "dialect", "origin", "round", "tries", "history"})
    return DeliveryShape(**kept, tries=delivery.history)
