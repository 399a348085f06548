"""What happens is told: to whom, in which words, once, and also when nobody was there to tell it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from standardwebhooks import WebhookVerificationError

from pipeline.acts import ended
from pipeline.editing import Edit
from pipeline.errors import WebhookExists
from pipeline.model import Event, Follow, Hook, Problem, Run, WebhookTarget, now
from pipeline.records.outgoing import Leaving
from tests.webhooks.conftest import FLOW, SECRET, House, Receiver, opened
from workers.webhooks import LEASE, Dispatcher


async def waiting(house: House) -> list[Leaving]:
    async with aclosing(house.core.records.outgoing.follow(0.05)) as batches:
        return list(await anext(batches))


async def ended_as(house: House, run: Run, status: str) -> None:
    """Bring a run to its end as a worker would."""
    runs = house.core.records.runs
    await runs.start(run.id, 1, now())
    if status == "completed":
        await runs.commit(run.id, 1, {}, [], [], now())
    elif status == "failed":
        await runs.fail(run.id, 1, Problem(code="RUN_TIMEOUT", message="It took too long."), {}, now())
    else:
        await house.core.runs.cancel(house.grant, run.id)


async def test_a_file_is_told_as_it_comes_and_goes(house: House, receiver: Receiver) -> None:
    async with house.telling():
        file = await house.send(metadata={"to": "you"})
        await house.settled(2)
        await house.core.files.delete(house.grant, file.id)
        deliveries = await house.settled(3)
    told = {one["type"]: one for one in receiver.told()}
    assert set(told) == {"file.uploaded", "file.stored", "file.deleted"}
    assert all(set(one) == {"type", "timestamp", "data"} for one in told.values())
    for one in told.values():
        data = one["data"]
        assert (data["id"], data["name"], data["size"], data["mime"]) == (file.id, "letter.txt", 11, "text/plain")
        assert (data["project"], data["metadata"], data["sha256"]) == ("demo", {"to": "you"}, file.sha256)
        assert "key" not in data and "storage" not in data
    assert told["file.stored"]["data"]["url"] == f"{house.core.settings.base_url}/v1/files/{file.id}/content"
    assert told["file.deleted"]["data"]["url"] is None
    events = await house.core.events.read("demo", file.id)
    assert {one.event for one in deliveries} == {event.id for event in events}
    assert {datetime.fromisoformat(one["timestamp"]) for one in told.values()} == {event.at for event in events}
    for one in deliveries:
        assert (one.status, one.subject, one.tries) == ("delivered", file.id, 1)
        assert [(tried.status, tried.error) for tried in one.history] == [(204, None)] and one.history[0].ms > 0
    assert await house.core.records.outgoing.count() == 0


async def test_a_change_of_a_file_is_told_with_what_was_before(house: House, receiver: Receiver) -> None:
    async with house.telling():
        file = await house.send(metadata={"to": "you"})
        await house.settled(2)
        await house.core.files.edit(house.grant, file.id, Edit(name="note.txt", merge_metadata={"to": "me"}))
        await house.settled(3)
    (told,) = [one["data"] for one in receiver.told() if one["type"] == "file.updated"]
    assert (told["id"], told["name"], told["metadata"]) == (file.id, "note.txt", {"to": "me"})
    assert set(told["changed"]) == {"name", "metadata"}
    assert (told["previous"]["name"], told["previous"]["metadata"]) == ("letter.txt", {"to": "you"})


async def test_a_message_is_signed_and_a_forged_one_is_found_out(house: House, receiver: Receiver) -> None:
    async with house.telling():
        await house.send()
        deliveries = await house.settled(2)
    assert {heard.headers["webhook-id"] for heard in receiver.heard()} == {
        "msg_" + one.id.replace("-", "") for one in deliveries
    }
    for heard in receiver.heard():
        assert (heard.method, heard.headers["Content-Type"]) == ("POST", "application/json")
        assert SECRET not in heard.body.decode()
    receiver.secret = "whsec_" + "A" * 32
    with pytest.raises(WebhookVerificationError):
        receiver.told()


async def test_a_private_file_has_no_address_in_the_message(house: House, receiver: Receiver) -> None:
    async with house.telling():
        await house.send(private=True)
        await house.settled(2)
    assert {(one["data"]["private"], one["data"]["url"]) for one in receiver.told()} == {(True, None)}


async def test_only_what_was_asked_for_is_told(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    targets = (
        WebhookTarget(url=f"{receiver.url}/kept", events=("file.stored",)),
        WebhookTarget(url=f"{receiver.url}/gone", secret=SECRET, events=("file.deleted", "file.infected")),
    )
    async with opened(redis_url, tmp_path, receiver, {"webhooks": targets}) as house, house.telling():
        file = await house.send()
        await house.core.events.append(Event(type="file.infected", project="demo", subject="u", facts={"name": "x"}))
        await house.core.files.delete(house.grant, file.id)
        await house.settled(3)
    assert [heard.headers.get("webhook-signature") for heard in receiver.heard("/kept")] == [None]
    told = {one["type"]: one["data"] for one in receiver.told("/gone")}
    assert set(told) == {"file.deleted", "file.infected"}
    assert told["file.infected"] == {"id": "u", "project": "demo", "name": "x"}


async def test_the_end_of_a_run_is_told_to_its_flow_too(house: House, receiver: Receiver) -> None:
    hook = Hook(url=f"{receiver.url}/asked", events=("run.completed",))
    file = await house.send(follow=Follow(flow="letters", params={}, metadata={"copy": "1"}, hook=hook))
    assert file.follow is not None
    run = await house.core.runs.get(house.grant, file.follow)
    async with house.telling():
        await ended_as(house, run, "completed")
        await house.settled(5)
        other = await house.core.runs.start(house.grant, "letters", {"doc": [file.id]})
        await ended_as(house, other, "cancelled")  # which nobody is told of
        failed = await house.core.runs.start(house.grant, "letters", {"doc": [file.id]})
        await ended_as(house, failed, "failed")
        await house.settled(7)
    for path in ("/hook", "/flow", "/asked"):
        told, *rest = sorted((one for one in receiver.told(path) if one["type"].startswith("run.")), key=_type)
        assert told["type"] == "run.completed"
        assert [one["data"]["error"]["code"] for one in rest] == ([] if path == "/asked" else ["RUN_TIMEOUT"])
        data = told["data"]
        assert (data["id"], data["flow"], data["status"]) == (run.id, "letters", "completed")
        assert data["metadata"] == {"copy": "1"}
        assert data["inputs"] == {"doc": [file.id]} and data["outputs"] == [] and data["error"] is None


def _type(told: dict[str, Any]) -> str:
    return str(told["type"])


async def test_a_route_and_a_request_may_name_an_address(house: House, receiver: Receiver) -> None:
    hook = Hook(url=f"{receiver.url}/asked", events=("file.stored",))
    async with house.telling():
        await house.send(route="letters", hook=hook)
        await house.send()
        await house.settled(7)
    assert sorted(one["type"] for one in receiver.told("/route")) == ["file.stored", "file.uploaded"]
    assert [one["type"] for one in receiver.told("/asked")] == ["file.stored"]
    assert len(receiver.told("/hook")) == 4


async def test_events_wait_only_for_those_who_may_want_them(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    routes = {"letters": {"webhook": f"{receiver.url}/route"}, "silent": {}}
    async with opened(redis_url, tmp_path, receiver, {"webhooks": (), "routes": routes}) as house:
        await house.send()
        await house.send(route="silent")
        assert await house.core.records.outgoing.count() == 0
        by_route = await house.send(route="letters")
        asked = await house.send(hook=Hook(url=f"{receiver.url}/asked"))
        made = await house.core.webhooks.create(house.grant, f"{receiver.url}/made", dialect="native")
        known = await house.send()
        told = [one.subject for one in await waiting(house)]
        assert told == [file.id for file in (by_route, asked, known) for _ in range(2)]
        await house.core.webhooks.delete(house.grant, made.id)
        await house.send()
        assert await house.core.records.outgoing.count() == len(told)
        async with house.telling():
            await house.settled(4)
    assert [one["data"]["id"] for one in receiver.told("/route")] == [by_route.id] * 2
    assert [one["data"]["id"] for one in receiver.told("/asked")] == [asked.id] * 2


STEPS = ("run.queued", "run.started", "run.cancelled")


async def test_steps_of_runs_are_told_in_their_order_to_who_names_them(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    targets = (
        WebhookTarget(url=f"{receiver.url}/steps", secret=SECRET, events=STEPS),
        WebhookTarget(url=f"{receiver.url}/hook", secret=SECRET),
    )
    receiver.answers["/steps"] = [204, 503]  # which is tried again later and holds nothing up
    async with opened(redis_url, tmp_path, receiver, {"webhooks": targets}) as house:
        file = await house.send()
        run = await house.core.runs.start(house.grant, "letters", {"doc": [file.id]})
        await ended_as(house, run, "cancelled")
        async with house.telling():
            deliveries = await house.settled(5)
        keys = await redis.keys("*deliveries:line*")
    assert sum(one.tries for one in deliveries) == 6 and keys == []
    told = [(one["type"], one["data"]["status"]) for one in receiver.told("/steps")]
    assert [each for place, each in enumerate(told) if each not in told[:place]] == [
        ("run.queued", "queued"), ("run.started", "running"), ("run.cancelled", "cancelled")]  # fmt: skip
    assert {one["type"] for one in receiver.told()} == {"file.uploaded", "file.stored"}


async def test_steps_of_runs_wait_for_nobody_who_did_not_ask(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    async with opened(redis_url, tmp_path, receiver, {"webhooks": ()}) as house:
        every = await house.core.webhooks.create(house.grant, f"{receiver.url}/every")
        file = await house.send()

        async def announced() -> int:
            """How many entries of streams a run costs beyond the two of each of its three events."""
            before = (await redis.info("commandstats"))["cmdstat_xadd"]["calls"]
            run = await house.core.runs.start(house.grant, "letters", {"doc": [file.id]})
            await ended_as(house, run, "completed")
            return int((await redis.info("commandstats"))["cmdstat_xadd"]["calls"]) - before - 6

        assert await announced() == 1, "its end"
        made = await house.core.webhooks.create(house.grant, f"{receiver.url}/steps", STEPS)
        assert await announced() == 3
        await house.core.webhooks.change(house.grant, made.id, events=("file.deleted",))
        with pytest.raises(WebhookExists):  # what it was told of before is another's now
            await house.core.webhooks.change(house.grant, made.id, url=every.url, events=("file.stored",))
        assert await announced() == 1
        await house.core.webhooks.change(house.grant, made.id, events=STEPS)
        assert await announced() == 3
        await house.core.webhooks.delete(house.grant, made.id)
        assert await announced() == 1


async def test_an_address_that_is_named_twice_is_told_once(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    routes = {"letters": {"webhook": f"{receiver.url}/hook"}}
    async with opened(redis_url, tmp_path, receiver, {"routes": routes}) as house, house.telling():
        await house.send(route="letters", hook=Hook(url=f"{receiver.url}/hook"))
        await house.settled(2)
    assert len(receiver.told()) == 2


async def test_nothing_is_lost_when_the_log_is_cut_while_nobody_tells(
    redis_url: str, redis: Redis, tmp_path: Path, receiver: Receiver
) -> None:
    async with opened(redis_url, tmp_path, receiver, {}, event_cap=1000) as house:
        for number in range(1500):
            await house.core.events.append(Event(type="file.infected", project="demo", subject=str(number)))
        assert await redis.xlen("safelight:events:demo") < 1200
        assert await house.core.records.outgoing.count() == 1500
        dispatcher = asyncio.create_task(Dispatcher(house.core).work())
        await house.until(lambda: _nothing_waits(house))
        await ended([dispatcher])
        subjects, cursor = [], None
        while True:
            page = await house.core.webhooks.deliveries(house.grant, cursor, 500)
            subjects += [int(one.subject) for one in page.items]
            if (cursor := page.next) is None:
                break
    assert sorted(subjects) == list(range(1500))


async def _nothing_waits(house: House) -> bool:
    return await house.core.records.outgoing.count() == 0


async def test_two_that_dispatch_at_once_tell_everything_once(house: House, receiver: Receiver) -> None:
    files = [await house.send() for _ in range(20)]
    batch = await waiting(house)
    assert len(batch) == 40
    made = await asyncio.gather(*(house.core.webhooks.dispatching.dispatch(batch) for _ in range(5)))
    assert sum(made) == 40 and await house.core.records.outgoing.count() == 0
    async with house.telling():
        await house.settled(40)
    told = [(one["type"], one["data"]["id"]) for one in receiver.told()]
    assert sorted(told) == sorted((kind, file.id) for file in files for kind in ("file.uploaded", "file.stored"))


async def test_a_dispatcher_that_vanishes_is_followed_by_another(house: House) -> None:
    assert await house.core.records.outgoing.lead("one that is lost at once", 0.5)
    heir, began = Dispatcher(house.core), asyncio.get_running_loop().time()
    work = asyncio.create_task(heir.work())
    await house.send()
    await house.until(lambda: _dispatched(house))
    assert 0.4 < asyncio.get_running_loop().time() - began < 5
    await ended([work])
    assert not await house.core.records.outgoing.lead("another", LEASE)
    await heir.leave()
    assert await house.core.records.outgoing.lead("another", LEASE)


async def _dispatched(house: House) -> bool:
    return len(await house.deliveries()) == 2


async def test_a_project_that_is_gone_keeps_nobody_waiting(house: House, receiver: Receiver) -> None:
    await house.core.events.append(Event(type="file.stored", project="gone", subject="x"))
    async with house.telling():
        await house.send()
        await house.settled(2)
    assert len(receiver.told()) == 2 and await house.core.records.outgoing.count() == 0


async def test_a_message_that_cannot_be_made_keeps_nobody_waiting(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.webhooks.dialects import DIALECTS

    class Broken:
        def body(self, message: object, webhook: object) -> bytes:
            raise ValueError("no words")

    native = DIALECTS["native"]
    monkeypatch.setitem(DIALECTS, "native", Broken())
    await house.send()
    assert await house.core.webhooks.dispatching.dispatch(await waiting(house)) == 0
    monkeypatch.setitem(DIALECTS, "native", native)
    async with house.telling():
        await house.send()
        await house.settled(2)
    assert len(receiver.told()) == 2


def test_the_flow_of_these_tests_is_sound() -> None:
    from pipeline.graph.flow import load_flow

    assert load_flow("letters", FLOW.format(url="http://x")).webhook == "http://x/flow"
