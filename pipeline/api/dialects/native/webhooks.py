"""`/v1/webhooks` and `/v1/deliveries`: who is told of events, what they were sent, and sending it again."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.bodies import JSON_LIMIT, require_json
from pipeline.api.dialects.native.files import IDEMPOTENCY
from pipeline.api.dialects.native.runs import asked
from pipeline.api.dialects.native.shapes import CountShape, Listing
from pipeline.api.dialects.native.webhook_shapes import (
    DeliveriesQuery,
    DeliveryShape,
    ReplayAsk,
    RotateAsk,
    SecretShape,
    WebhookAsk,
    WebhookChange,
    WebhookShape,
    delivery_shape,
    secret_shape,
    webhook_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer, digest_of, parsed
from pipeline.api.idempotency import once
from pipeline.errors import (
    AddressRefused,
    DeliveryNotFound,
    DeliveryWaiting,
    WebhookDisabled,
    WebhookExists,
    WebhookFixed,
    WebhookNotFound,
    WebhooksTooMany,
)
from pipeline.model import HookStanding
from pipeline.webhooks.verbs import new_secret


async def listed(call: Call) -> web.Response:
    found = await call.core.webhooks.list(call.grant)
    return answer(Listing[WebhookShape](items=tuple(webhook_shape(*one) for one in found), next=None))


async def create(call: Call) -> web.Response:
    require_json(call.request)
    text = await call.body.whole(JSON_LIMIT)
    ask = parsed(WebhookAsk, text)

    async def ready() -> WebhookAsk:
        return ask

    async def make(ask: WebhookAsk) -> web.Response:
        secrets = [ask.secret or new_secret()]
        made = await call.core.webhooks.create(call.grant, ask.url, ask.events, secrets, description=ask.description)
        headers = {"Location": f"{call.base_url}/v1/webhooks/{made.id}", "Cache-Control": "no-store"}
        return answer(secret_shape(made, HookStanding()), 201, headers)

    return await once(call, ready, make, digest=digest_of(text))


async def get(call: Call) -> web.Response:
    return answer(webhook_shape(*await call.core.webhooks.get(call.grant, call.id(WebhookNotFound))))


async def change(call: Call) -> web.Response:
    id, ask = call.id(WebhookNotFound), await call.json(WebhookChange)
    fields = {name: value for name, value in ask if name in ask.model_fields_set and value is not None}
    await settled(call.core.webhooks.change(call.grant, id, **fields))
    return answer(webhook_shape(*await call.core.webhooks.get(call.grant, id)))


async def rotate(call: Call) -> web.Response:
    id, ask = call.id(WebhookNotFound), await asked(call, RotateAsk)
    made = await settled(call.core.webhooks.rotate(call.grant, id, ask.secret or new_secret(), ask.keep))
    _, standing = await call.core.webhooks.get(call.grant, id)
    return answer(secret_shape(made, standing), headers={"Cache-Control": "no-store"})


async def delete(call: Call) -> web.Response:
    await settled(call.core.webhooks.delete(call.grant, call.id(WebhookNotFound)))
    return web.Response(status=204)


async def enable(call: Call) -> web.Response:
    return answer(webhook_shape(*await settled(call.core.webhooks.enable(call.grant, call.id(WebhookNotFound)))))


async def disable(call: Call) -> web.Response:
    return answer(webhook_shape(*await settled(call.core.webhooks.disable(call.grant, call.id(WebhookNotFound)))))


async def ping(call: Call) -> web.Response:
    delivery = await settled(call.core.webhooks.ping(call.grant, call.id(WebhookNotFound)))
    headers = {"Location": f"{call.base_url}/v1/deliveries/{delivery.id}"}
    return answer(delivery_shape(delivery), 202, headers)


async def replay_failed(call: Call) -> web.Response:
    id, ask = call.id(WebhookNotFound), await asked(call, ReplayAsk)
    count = await settled(call.core.webhooks.replay_failed(call.grant, id, ask.since))
    return answer(CountShape(count=count))


# What was sent


async def of_webhook(call: Call) -> web.Response:
    return await _deliveries(call, call.id(WebhookNotFound))


async def deliveries(call: Call) -> web.Response:
    return await _deliveries(call, None)


async def _deliveries(call: Call, webhook: str | None) -> web.Response:
    query = call.query(DeliveriesQuery)
    page = await call.core.webhooks.deliveries(
        call.grant, query.cursor, query.limit, query.status, webhook, query.event
    )
    return answer(Listing[DeliveryShape](items=tuple(delivery_shape(one) for one in page.items), next=page.next))


async def delivery(call: Call) -> web.Response:
    return answer(delivery_shape(await call.core.webhooks.delivery(call.grant, call.id(DeliveryNotFound))))


async def replay(call: Call) -> web.Response:
    again = await settled(call.core.webhooks.replay(call.grant, call.id(DeliveryNotFound)))
    return answer(delivery_shape(again), 202)


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/webhooks",
        "List the project's webhooks and how they fare.",
        act=listed,
        tag="webhooks",
        answers={200: Listing[WebhookShape]},
    ),
    Endpoint(
        "POST",
        "/v1/webhooks",
        "Have an address told of events.",
        act=create,
        tag="webhooks",
        headers=IDEMPOTENCY,
        body=WebhookAsk,
        answers={201: SecretShape},
        errors=(AddressRefused, WebhookExists, WebhooksTooMany),
    ),
    Endpoint(
        "GET",
        "/v1/webhooks/{id}",
        "Look at a webhook.",
        act=get,
        tag="webhooks",
        answers={200: WebhookShape},
        errors=(WebhookNotFound,),
    ),
    Endpoint(
        "PATCH",
        "/v1/webhooks/{id}",
        "Change its address, events or description.",
        act=change,
        tag="webhooks",
        body=WebhookChange,
        answers={200: WebhookShape},
        errors=(WebhookNotFound, WebhookFixed, WebhookExists, AddressRefused),
    ),
    Endpoint(
        "DELETE",
        "/v1/webhooks/{id}",
        "Tell it nothing more.",
        act=delete,
        tag="webhooks",
        answers={204: None},
        errors=(WebhookNotFound, WebhookFixed),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{id}/rotate",
        "Sign with a new secret; those before it sign beside it for a while.",
        act=rotate,
        tag="webhooks",
        body=RotateAsk,
        answers={200: SecretShape},
        errors=(WebhookNotFound, WebhookFixed),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{id}/enable",
        "Tell it again, from now on.",
        act=enable,
        tag="webhooks",
        answers={200: WebhookShape},
        errors=(WebhookNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{id}/disable",
        "Tell it nothing until it is enabled.",
        act=disable,
        tag="webhooks",
        answers={200: WebhookShape},
        errors=(WebhookNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{id}/ping",
        "Send it a message, once, to see whether it hears.",
        act=ping,
        tag="webhooks",
        answers={202: DeliveryShape},
        errors=(WebhookNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{id}/replay",
        "Send again what failed to reach it.",
        act=replay_failed,
        tag="webhooks",
        body=ReplayAsk,
        answers={200: CountShape},
        errors=(WebhookNotFound, WebhookDisabled),
    ),
    Endpoint(
        "GET",
        "/v1/webhooks/{id}/deliveries",
        "List what it was sent, newest first.",
        act=of_webhook,
        tag="webhooks",
        query=DeliveriesQuery,
        answers={200: Listing[DeliveryShape]},
        errors=(WebhookNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/deliveries",
        "List what webhooks were sent, newest first, all or of one event.",
        act=deliveries,
        tag="webhooks",
        query=DeliveriesQuery,
        answers={200: Listing[DeliveryShape]},
    ),
    Endpoint(
        "GET",
        "/v1/deliveries/{id}",
        "Look at a delivery and every try.",
        act=delivery,
        tag="webhooks",
        answers={200: DeliveryShape},
        errors=(DeliveryNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/deliveries/{id}/replay",
        "Send the same message again.",
        act=replay,
        tag="webhooks",
        answers={202: DeliveryShape},
        errors=(DeliveryNotFound, DeliveryWaiting, WebhookDisabled),
    ),
)
