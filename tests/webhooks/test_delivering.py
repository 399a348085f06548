"""Receivers that are away, slow, gone or forbidden, and messages that are sent again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis
from standardwebhooks import Webhook as Verifier

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
from pipeline.model import Delivery, Grant, HookStanding, Project, Webhook, now
from pipeline.webhooks.verbs import new_secret
from tests.webhooks.conftest import SECRET, House, Receiver, opened


async def only(house: House) -> tuple[Webhook, HookStanding]:
    (found,) = await house.core.webhooks.list(house.grant)
    return found


async def log(house: House) -> list[str]:
    return [event.type for event in await house.core.events.read("demo", None, None, 1000)]


def statuses(delivery: Delivery) -> list[int | None]:
    return [tried.status for tried in delivery.history]


async def test_a_receiver_that_is_down_hears_when_it_is_up_again(house: House, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [503, 500, 404, 503]
    async with house.telling():
        await house.send()
        deliveries = await house.settled(2)
    assert {one.status for one in deliveries} == {"delivered"}
    tried = sorted(status for one in deliveries for status in statuses(one) if status)
    assert tried == [204, 204, 404, 500, 503, 503]
    problems = {one.error.code for delivery in deliveries for one in delivery.history if one.error}
    assert problems == {"CALL_FAILED", "CALL_REJECTED"}
    # Every try of a message has its id, and its own time.
    assert len({heard.headers["webhook-id"] for heard in receiver.heard()}) == 2 and len(receiver.told()) == 6
    _, standing = await only(house)
    assert (standing.failures, standing.failing_since, standing.disabled_at) == (0, None, None)
    assert standing.delivered_at is not None
    totals = await house.core.records.series.totals()
    assert {words[1]: count for words, count in totals.items() if words[0] == "webhooks"} == {
        "delivered": 2,
        "retried": 4,
    }


async def test_the_pauses_are_those_of_the_settings_made_a_little_uneven(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answers["/hook"] = [500] * 20
    async with opened(redis_url, tmp_path, receiver, {}, webhook_retries=(100.0, 7000.0)) as house:
        await house.send()
        async with house.telling():
            await house.until(lambda: _tried(house, 1))
        began = [one.history[0].at for one in await house.deliveries()]
        waits = [one.next_at - at for one, at in zip(await house.deliveries(), began, strict=True) if one.next_at]
        assert all(timedelta(seconds=79) < wait < timedelta(seconds=121) for wait in waits) and len(set(waits)) == 2
        for one in await house.deliveries():
            pause = await house.core.webhooks.sending.attempt(one.id, one.round)
            assert pause is not None and 5600 <= pause <= 8400
            assert await house.core.webhooks.sending.attempt(one.id, one.round) is None
        assert {one.status for one in await house.deliveries()} == {"failed"}


async def _tried(house: House, times: int) -> bool:
    found = await house.deliveries()
    return len(found) == 2 and all(len(one.history) == times for one in found)


async def test_what_was_given_up_can_be_sent_again(house: House, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [503] * 16
    async with house.telling():
        await house.send()
        failed = await house.settled(2)
        assert [(one.status, one.tries) for one in failed] == [("failed", 4), ("failed", 4)]
        late = now()
        await house.send()
        assert {one.status for one in await house.settled(4)} == {"failed"}
        webhook, standing = await only(house)
        assert standing.failures == 16 and standing.failing_since is not None
        again = await house.core.webhooks.replay(house.grant, failed[0].id)
        assert (again.round, again.tries, again.status) == (2, 0, "waiting")
        await house.until(lambda: _delivered(house, 1))
        assert await house.core.webhooks.replay_failed(house.grant, webhook.id, late) == 2
        assert await house.core.webhooks.replay_failed(house.grant, webhook.id) == 1
        await house.until(lambda: _delivered(house, 4))
    deliveries = await house.deliveries()
    assert [statuses(one) for one in deliveries] == [[503, 503, 503, 503, 204]] * 4
    ids = {heard.headers["webhook-id"] for heard in receiver.heard()}
    assert len(ids) == 4, "a message that is sent again is known by its id"


async def _delivered(house: House, number: int) -> bool:
    return len(await house.deliveries("delivered")) == number


async def test_of_many_replays_one_is_sent(house: House, receiver: Receiver) -> None:
    async with house.telling():
        await house.send()
        first, *_ = await house.settled(2)
    results = await asyncio.gather(
        *(house.core.webhooks.replay(house.grant, first.id) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(one, Delivery) for one in results) == 1
    assert {type(one) for one in results} == {Delivery, DeliveryWaiting}
    async with house.telling():
        await house.settled(2)
    assert len(receiver.heard()) == 3


async def test_410_disables_and_says_so(house: House, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [410, 410]
    async with house.telling():
        await house.send()
        await house.settled(2)
        webhook, standing = await only(house)
        assert standing.reason == "gone" and standing.disabled_at is not None
        heard = len(receiver.heard())
        await house.send()
        await house.until(lambda: _nothing_waits(house))
        assert len(receiver.heard()) == heard and len(await house.deliveries()) == 2
        (told,) = [event for event in await house.core.events.read("demo", webhook.id) if event.type.startswith("web")]
        assert (told.type, told.facts) == ("webhook.disabled", {"reason": "gone", "url": webhook.url})
        failed = await house.deliveries("failed")
        with pytest.raises(WebhookDisabled):
            await house.core.webhooks.replay(house.grant, failed[0].id)
        with pytest.raises(WebhookDisabled):
            await house.core.webhooks.replay_failed(house.grant, webhook.id)
        receiver.answers.clear()
        _, standing = await house.core.webhooks.enable(house.grant, webhook.id)
        assert standing == HookStanding(delivered_at=standing.delivered_at)
        assert await house.core.webhooks.replay_failed(house.grant, webhook.id) == len(failed)
        await house.send()
        deliveries = await house.settled(4)
    assert {one.status for one in deliveries} == {"delivered"}
    assert (await log(house)).count("webhook.enabled") == 1


async def _nothing_waits(house: House) -> bool:
    return await house.core.records.outgoing.count() == 0


async def test_failing_for_days_disables(redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [503] * 100
    async with opened(redis_url, tmp_path, receiver, {}, webhook_patience=0.05) as house, house.telling():
        await house.send()
        deliveries = await house.settled(2)
        _, standing = await only(house)
        assert {one.status for one in deliveries} == {"failed"}
        assert standing.reason == "failing" and standing.failures >= 4
        assert (await log(house)).count("webhook.disabled") == 1


async def test_a_receiver_that_does_not_answer_is_not_waited_for(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    never = asyncio.Event()

    async def silent(request: web.Request, body: bytes) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    receiver.outside.answers = {"/hook": silent}
    settings = {"webhook_timeout": 0.5, "webhook_retries": ()}
    async with opened(redis_url, tmp_path, receiver, {}, **settings) as house, house.telling():
        await house.send()
        deliveries = await house.settled(2)
        never.set()
    assert [one.history[0].error.message for one in deliveries if one.history[0].error] == [
        "The server that was called gave no answer to go on with: it did not end within 0.5 seconds."
    ] * 2


async def test_an_inner_address_is_not_called(redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver) -> None:
    closed = {"allow_private_urls": False}
    async with opened(redis_url, tmp_path, receiver, closed) as house, house.telling():
        await house.send()
        deliveries = await house.settled(2)
        for url in ("http://127.0.0.1/x", "http://[::1]/x", "http://10.1.2.3/x", "ftp://example.com/x", "http://u@h/x"):
            with pytest.raises(AddressRefused):
                await house.core.webhooks.create(house.grant, url)
    assert receiver.outside.heard == []
    assert {one.status for one in deliveries} == {"failed"} and len(deliveries[0].history) == 4
    assert {tried.error.code for one in deliveries for tried in one.history if tried.error} == {"ADDRESS_REFUSED"}


async def test_a_redirect_is_not_followed(house: House, receiver: Receiver) -> None:
    async def elsewhere(request: web.Request, body: bytes) -> web.StreamResponse:
        raise web.HTTPFound(f"{receiver.url}/elsewhere")

    receiver.outside.answers = {"/hook": elsewhere}
    async with house.telling():
        await house.send()
        deliveries = await house.settled(2)
    assert {one.status for one in deliveries} == {"failed"} and statuses(deliveries[0]) == [302] * 4
    assert receiver.heard("/elsewhere") == []


async def test_a_ping_tells_whether_it_hears_and_counts_for_nothing(house: House, receiver: Receiver) -> None:
    webhook, _ = await only(house)
    receiver.answers["/hook"] = [204, 410]
    async with house.telling():
        ping = await house.core.webhooks.ping(house.grant, webhook.id)
        (heard,) = await house.settled(1)
        assert heard.id == ping.id and (heard.status, heard.type) == ("delivered", "webhook.ping")
        await house.core.webhooks.disable(house.grant, webhook.id)
        await house.core.webhooks.ping(house.grant, webhook.id)
        second = (await house.settled(2))[1]
    assert (second.status, statuses(second)) == ("failed", [410])
    assert [(one["type"], one["data"]) for one in receiver.told()] == [
        ("webhook.ping", {"id": webhook.id, "project": "demo"})
    ] * 2
    _, standing = await only(house)
    assert standing.reason == "asked" and standing.delivered_at is None and standing.failures == 0


async def test_what_is_on_its_way_to_a_webhook_that_is_turned_off_or_deleted_ends(house: House) -> None:
    made = await house.core.webhooks.create(house.grant, f"{house.receiver.url}/made", ("file.stored",))
    webhook, _ = await only_fixed(house)
    house.receiver.answers["/hook"] = [503] * 100
    house.receiver.answers["/made"] = [503] * 100
    await house.send()
    async with house.telling():
        await house.until(lambda: _begun(house))
        await house.core.webhooks.disable(house.grant, webhook.id)
        await house.core.webhooks.delete(house.grant, made.id)
        deliveries = await house.settled(3)
    assert {one.status for one in deliveries} == {"failed"}
    last = {one.webhook: one.history[-1].error for one in deliveries}
    assert {id: error.code for id, error in last.items() if error} == {
        webhook.id: "WEBHOOK_DISABLED",
        made.id: "WEBHOOK_NOT_FOUND",
    }


async def only_fixed(house: House) -> tuple[Webhook, HookStanding]:
    return next(one for one in await house.core.webhooks.list(house.grant) if one[0].origin == "settings")


async def _begun(house: House) -> bool:
    found = await house.deliveries()
    return len(found) == 3 and all(one.history for one in found)


# Webhooks made over the API


async def test_a_secret_is_changed_without_a_message_lost(house: House, receiver: Receiver) -> None:
    webhooks, old, new = house.core.webhooks, new_secret(), new_secret()
    made = await webhooks.create(house.grant, f"{receiver.url}/made", ("file.stored",), [old])
    assert made.number == 1 and (await webhooks.get(house.grant, made.id))[0] == made
    async with house.telling():
        await webhooks.rotate(house.grant, made.id, new, keep=60)
        await house.send()
        await house.settled(3)
        (heard,) = receiver.heard("/made")
        assert len(heard.headers["webhook-signature"].split()) == 2
        for secret in (old, new):
            Verifier(secret).verify(heard.body, dict(heard.headers))
        rotated = await webhooks.rotate(house.grant, made.id, new, keep=0)
        assert [secret.value for secret in rotated.secrets] == [new]
        await house.send()
        await house.settled(6)
        later = receiver.heard("/made")[-1]
    receiver.secret = new
    Verifier(new).verify(later.body, dict(later.headers))
    assert len(later.headers["webhook-signature"].split()) == 1


async def test_a_project_tells_an_address_of_an_event_once(house: House) -> None:
    webhooks, url = house.core.webhooks, "https://example.com/hook"
    first = await webhooks.create(house.grant, url, ("file.stored", "run.failed"))
    other = await webhooks.create(house.grant, url, ("file.deleted",))
    for events in (("run.failed",), ()):
        with pytest.raises(WebhookExists, match=first.id):
            await webhooks.create(house.grant, url, events)
    with pytest.raises(WebhookExists, match=r"run\.failed"):
        await webhooks.change(house.grant, other.id, events=("run.failed",))
    changed = await webhooks.change(house.grant, other.id, url="https://example.com/other", events=())
    assert changed.events == () and changed.updated_at > other.updated_at
    assert (await webhooks.create(house.grant, url, ("file.deleted",))).number > other.number
    await webhooks.delete(house.grant, first.id)
    await webhooks.create(house.grant, url, ("file.stored",))
    raced = await asyncio.gather(
        *(webhooks.create(house.grant, "https://example.com/raced") for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(one, Webhook) for one in raced) == 1
    assert {type(one) for one in raced} == {Webhook, WebhookExists}


async def test_there_are_only_so_many(house: House) -> None:
    for number in range(100):
        await house.core.webhooks.create(house.grant, f"https://example.com/{number}")
    with pytest.raises(WebhooksTooMany):
        await house.core.webhooks.create(house.grant, "https://example.com/one-more")
    assert len(await house.core.webhooks.list(house.grant)) == 101


async def test_what_belongs_to_others_is_not_there(house: House) -> None:
    stranger = Grant(project=Project(id="other"))
    fixed, _ = await only(house)
    made = await house.core.webhooks.create(house.grant, "https://example.com/hook")
    async with house.telling():
        await house.core.webhooks.ping(house.grant, fixed.id)
        (delivery,) = await house.settled(1)
    for id in (fixed.id, made.id):
        with pytest.raises(WebhookNotFound):
            await house.core.webhooks.get(stranger, id)
        with pytest.raises(WebhookNotFound):
            await house.core.webhooks.delete(stranger, id)
    with pytest.raises(DeliveryNotFound):
        await house.core.webhooks.replay(stranger, delivery.id)
    assert (await house.core.webhooks.deliveries(stranger, webhook=fixed.id)).items == ()
    for act in (house.core.webhooks.delete, house.core.webhooks.change):
        with pytest.raises(WebhookFixed):
            await act(house.grant, fixed.id)
    with pytest.raises(WebhookFixed):
        await house.core.webhooks.rotate(house.grant, fixed.id, SECRET, 0)


# The log


async def test_deliveries_are_found_by_webhook_event_and_status(house: House, receiver: Receiver) -> None:
    receiver.answers["/made"] = [410]
    made = await house.core.webhooks.create(house.grant, f"{receiver.url}/made", ("file.stored",))
    async with house.telling():
        file = await house.send()
        await house.settled(3)
    (gone,) = await house.deliveries("failed")
    assert gone.webhook == made.id and await house.deliveries(webhook=made.id) == [gone]
    (stored,) = [event for event in await house.core.events.read("demo", file.id) if event.type == "file.stored"]
    assert {one.webhook for one in await house.deliveries(event=stored.id)} == {made.id, gone.webhook} | {
        (await only_fixed(house))[0].id
    }
    assert await house.deliveries("failed", event=stored.id) == [gone] and await house.deliveries("waiting") == []
    pages, cursor = [], None
    while True:
        page = await house.core.webhooks.deliveries(house.grant, cursor, 1)
        pages += page.items
        if (cursor := page.next) is None:
            break
    assert pages == list(reversed(await house.deliveries())) and len(pages) == 3


async def test_the_log_is_cut_but_nothing_on_its_way_goes(
    house: House, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.records import deliveries as room

    for name in ("CREATING_LUA", "CREATE_LUA", "SETTLE_LUA"):
        cut = getattr(room, name).replace("webhook = 1000", "webhook = 3")
        assert cut != getattr(room, name)
        monkeypatch.setattr(room, name, cut)
    webhook, _ = await only(house)
    for _ in range(20):
        await house.core.webhooks.ping(house.grant, webhook.id)
    assert len(await house.deliveries(webhook=webhook.id)) == 20
    async with house.telling():
        await house.until(lambda: _all_heard(house, 20))
        await house.settled(1)
    assert len(await house.deliveries(webhook=webhook.id)) <= 3 + 10
    ttl = house.core.settings.delivery_retention
    for key in await redis.keys("safelight:deliver*"):
        assert key == b"safelight:deliveries:due" or 0 < await redis.ttl(key) <= ttl


async def _all_heard(house: House, number: int) -> bool:
    return len(house.receiver.heard()) == number


async def test_a_delivery_that_lost_its_job_gets_another(
    house: House, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, _ = await only(house)
    lost = await house.core.webhooks.ping(house.grant, webhook.id)
    kept = await house.core.webhooks.ping(house.grant, webhook.id)
    await redis.delete(f"arq:job:webhook:{lost.id}:1")
    await redis.zrem("safelight:queue:errands", f"webhook:{lost.id}:1")
    assert await house.core.webhooks.sending.recover() == 0
    monkeypatch.setattr("pipeline.webhooks.sending.OVERDUE", -1.0)
    assert await house.core.webhooks.sending.recover() == 1
    async with house.telling():
        assert {one.id for one in await house.settled(2)} == {lost.id, kept.id}
    assert len(house.receiver.heard()) == 2
    assert await house.core.webhooks.sending.recover() == 0
