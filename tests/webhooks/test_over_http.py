"""`/v1/webhooks`, `/v1/deliveries` and `safelight webhooks`, as their users meet them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.api.app import create_app
from tests.api.conftest import answering
from tests.webhooks.conftest import SECRET, House, Receiver

SAFELIGHT = str(Path(sys.executable).with_name("safelight"))


@dataclass
class Door:
    """The application of a house, served."""

    house: House
    base: str
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        async with self.session.request(method, self.base + path, **body) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None

    async def refused(self, method: str, path: str, status: int, code: str, **body: Any) -> None:
        assert (await self.ask(method, path, status, **body))["code"] == code

    async def command(self, *words: str) -> tuple[int, Any]:
        """What `safelight webhooks` ends with and says, as JSON where it says any."""
        target = ("--url", self.base, "--key", "demo-key")
        program = await asyncio.create_subprocess_exec(
            SAFELIGHT, "webhooks", *words, *target, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, _ = await program.communicate()
        return program.returncode or 0, json.loads(out) if out.startswith(b"{") else out.decode()


@pytest.fixture
async def door(house: House) -> AsyncIterator[Door]:
    headers: Mapping[str, str] = {"Authorization": "Bearer demo-key"}
    async with (
        answering(create_app(house.core)) as port,
        aiohttp.ClientSession(headers=headers) as session,
        house.telling(),
    ):
        yield Door(house, f"http://127.0.0.1:{port}", session)


async def test_a_webhook_is_made_looked_at_changed_and_deleted(door: Door, receiver: Receiver) -> None:
    wanted = {"url": f"{receiver.url}/made", "events": ["file.stored"], "description": "mine"}
    made = await door.ask("POST", "/v1/webhooks", 201, json=wanted)
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and made["signed"] and made["disabled"] is None
    assert {name: made[name] for name in wanted} == wanted
    path = f"/v1/webhooks/{made['id']}"
    assert await door.ask("GET", path) == made and secret not in json.dumps(await door.ask("GET", "/v1/webhooks"))
    await door.refused("POST", "/v1/webhooks", 409, "WEBHOOK_EXISTS", json=wanted)
    await door.ask("POST", "/v1/files?name=a.txt", 201, data=b"hello")
    await door.house.settled(3)
    receiver.secret = secret
    assert [one["type"] for one in receiver.told("/made")] == ["file.stored"]
    changed = await door.ask("PATCH", path, json={"events": ["run.failed"]})
    assert (changed["events"], changed["url"], changed["description"]) == (["run.failed"], wanted["url"], "mine")
    assert (await door.ask("POST", f"{path}/rotate", json={"secret": SECRET, "keep": "1h"}))["secret"] == SECRET
    assert (await door.ask("POST", f"{path}/disable"))["disabled"]["reason"] == "asked"
    assert (await door.ask("POST", f"{path}/enable"))["disabled"] is None
    await door.ask("DELETE", path, 204)
    await door.refused("GET", path, 404, "WEBHOOK_NOT_FOUND")
    await door.refused("DELETE", path, 404, "WEBHOOK_NOT_FOUND")


async def test_making_one_twice_with_one_key_makes_one(door: Door) -> None:
    wanted = {"json": {"url": "https://example.com/hook"}, "headers": {"Idempotency-Key": "once"}}
    first = await door.ask("POST", "/v1/webhooks", 201, **wanted)
    assert await door.ask("POST", "/v1/webhooks", 201, **wanted) == first
    assert len((await door.ask("GET", "/v1/webhooks"))["items"]) == 2


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"url": "https://example.com/x", "events": ["file.eaten"]}, 400, "REQUEST_INVALID"),
        ({"url": "https://example.com/x", "secret": "no base64!"}, 400, "REQUEST_INVALID"),
        ({"url": "ftp://example.com/x"}, 422, "ADDRESS_REFUSED"),
        ({"url": "not a url"}, 422, "ADDRESS_REFUSED"),
        ({"url": "http://169.254.169.254/latest"}, 422, "ADDRESS_REFUSED"),
        ({}, 400, "REQUEST_INVALID"),
    ],
)
async def test_what_can_be_no_webhook_is_refused(door: Door, wanted: Any, status: int, code: str) -> None:
    await door.refused("POST", "/v1/webhooks", status, code, json=wanted)


async def test_one_of_the_settings_is_shown_and_kept(door: Door) -> None:
    (fixed,) = (await door.ask("GET", "/v1/webhooks"))["items"]
    assert (fixed["origin"], fixed["created_at"], fixed["signed"]) == ("settings", None, True)
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        body = {"json": {}} if method != "DELETE" else {}
        await door.refused(method, f"/v1/webhooks/{fixed['id']}{path}", 409, "WEBHOOK_FIXED", **body)


async def test_the_log_shows_every_try_and_replays(door: Door, receiver: Receiver) -> None:
    receiver.answers["/hook"] = [500] * 8
    file = await door.ask("POST", "/v1/files?name=a.txt", 201, data=b"hello")
    await door.house.settled(2)
    (fixed,) = (await door.ask("GET", "/v1/webhooks"))["items"]
    assert fixed["failures"] == 8 and fixed["failing_since"]
    page = await door.ask("GET", f"/v1/webhooks/{fixed['id']}/deliveries?status=failed&limit=1")
    (one,) = page["items"]
    assert page["next"] and one["subject"] == file["id"] and one["status"] == "failed"
    assert [tried["status"] for tried in one["tries"]] == [500] * 4 and one["tries"][0]["error"][
        "code"
    ] == "CALL_FAILED"
    assert await door.ask("GET", f"/v1/deliveries/{one['id']}") == one
    assert [found["id"] for found in (await door.ask("GET", f"/v1/deliveries?event={one['event']}"))["items"]] == [
        one["id"]
    ]
    await door.ask("POST", f"/v1/deliveries/{one['id']}/replay", 202)
    await door.house.until(lambda: _delivered(door, 1))
    assert (await door.ask("POST", f"/v1/webhooks/{fixed['id']}/replay"))["count"] == 1
    await door.house.until(lambda: _delivered(door, 2))
    assert len((await door.ask("GET", "/v1/deliveries?status=delivered"))["items"]) == 2
    await door.refused("POST", f"/v1/deliveries/{file['id']}/replay", 404, "DELIVERY_NOT_FOUND")
    async with door.session.get(f"{door.base}/metrics") as answer:
        metrics = await answer.text()
    assert 'safelight_webhook_deliveries_total{outcome="delivered"} 2.0' in metrics
    assert 'safelight_webhook_deliveries_total{outcome="failed"} 2.0' in metrics
    assert 'safelight_webhook_deliveries_total{outcome="retried"} 6.0' in metrics
    assert "safelight_webhook_events_waiting 0.0" in metrics


async def _delivered(door: Door, number: int) -> bool:
    return len(await door.house.deliveries("delivered")) == number


async def test_the_command_line_makes_pings_and_replays(door: Door, receiver: Receiver) -> None:
    receiver.answers["/broken"] = [500]
    broken = await door.ask("POST", "/v1/webhooks", 201, json={"url": f"{receiver.url}/broken"})
    code, made = await door.command("add", f"{receiver.url}/made", "--event", "file.deleted", "--json")
    assert code == 0 and made["secret"].startswith("whsec_")
    listed, heard, unheard, replayed = await asyncio.gather(
        door.command("ls"),
        door.command("ping", made["id"]),
        door.command("ping", broken["id"], "--json"),
        door.command("replay", made["id"]),
    )
    assert listed[0] == 0 and made["id"] in listed[1] and "file.deleted" in listed[1] and "settings" in listed[1]
    assert heard[0] == 0 and heard[1].startswith("answered 204 after ")
    assert unheard[0] == 1 and [one["status"] for one in unheard[1]["tries"]] == [500]
    assert replayed == (0, "0 sent again.\n")
