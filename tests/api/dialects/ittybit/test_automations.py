"""Automations: workflows that run on every new media, whichever API it came by, or when they are told to."""

from __future__ import annotations

import pytest

from tests.api.house import photo

from .desk import BARE, NEWER, OLDER, Desk

TRIGGER = {"kind": "event", "event": "media.created"}
STEP = {"kind": "image", "ref": "auto-thumb", "width": 12}


@pytest.fixture(autouse=True)
async def alone(it: Desk) -> None:
    """Every test begins without automations."""
    for automation in await it.ok("GET", "/automations?limit=100"):
        await it.ok("DELETE", f"/automations/{automation['id']}", status=202)


async def test_from_its_making_to_its_end(it: Desk) -> None:
    asked = {"name": "Thumbs", "description": "D", "trigger": TRIGGER, "workflow": [STEP], "status": "active"}
    made = await it.ok("POST", "/automations", asked, 201, headers={"Accept-Version": ""})
    assert {name: made[name] for name in asked} == asked
    assert (made["id"][:5], made["object"]) == ("auto_", "automation")
    assert made["created"] == made["updated"]
    assert await it.ok("GET", f"/automations/{made['id']}") == made
    assert [one["id"] for one in await it.ok("GET", "/automations")] == [made["id"]]
    listed = await it.ok("GET", "/automations?page=2&limit=1", headers=OLDER)
    assert (listed["data"], listed["meta"]["total"]) == ([], 1)
    changed = await it.ok("PATCH", f"/automations/{made['id']}", {"name": "Other", "status": "paused"})
    assert (changed["name"], changed["status"], changed["workflow"], changed["trigger"]) == (
        "Other", "paused", [STEP], TRIGGER)  # fmt: skip
    assert changed["updated"] > made["updated"]
    put = await it.ok("PUT", f"/automations/{made['id']}", {"workflow": [{"kind": "image"}]}, headers=OLDER)
    assert put["data"]["workflow"] == [{"kind": "image"}]
    gone = await it.ask("DELETE", f"/automations/{made['id']}")
    assert (gone.status, gone.document) == (202, {"message": "Automation deleted."})
    for method in ("GET", "PATCH", "DELETE"):
        assert await it.refused(method, f"/automations/{made['id']}", 404) == "Automation not found."


async def test_it_runs_on_every_new_media_and_on_nothing_else(it: Desk) -> None:
    made = await it.ok("POST", "/automations", {"trigger": TRIGGER, "workflow": [STEP]}, 201)
    uploaded = (await it.upload(photo(100, 50)))["id"]
    native = (await it.house.send(photo(90, 45), "n.jpg", key="it-demo-key"))["id"].replace("-", "")
    put = await it.ok("PUT", f"{it.house.base}/ittybit/d/demo/a/b.jpg", data=photo(80, 40), status=201)
    got = await it.ok("POST", "/files", {"url": put["url"]}, 201)  # stored by a worker
    await it.settled()
    for id in (uploaded, f"med_{native}", put["media_id"], got["media_id"]):
        media = await it.ok("GET", f"/media/{id}")
        assert set(media["urls"]) == {"original", "auto-thumb"}, id
    task = next(one for one in await it.ok("GET", "/tasks") if one["automation_id"] == made["id"])
    assert (task["kind"], task["status"], task["created_by"]) == ("workflow", "completed", made["id"])
    added = await it.ok("POST", "/files", {"url": put["url"], "media_id": uploaded}, 201)
    other = await Desk(it.house, "it-other-key").upload()
    await it.ok("PATCH", f"/automations/{made['id']}", {"status": "paused"})
    paused = await it.upload()
    await it.settled()
    assert len((await it.ok("GET", f"/media/{added['media_id']}"))["files"]) == 3
    assert len((await Desk(it.house, "it-other-key").ok("GET", f"/media/{other['id']}"))["files"]) == 1
    assert len((await it.ok("GET", f"/media/{paused['id']}"))["files"]) == 1


async def test_conditions_of_an_earlier_shape(it: Desk) -> None:
    trigger = {"event": "media.ready", "conditions": [{"prop": "media.kind", "value": "image"}]}
    await it.ok(
        "POST", "/automations", {"trigger": trigger, "tasks": [STEP]}, 201, headers={"Accept-Version": "2025-01-01"}
    )
    picture, text = await it.upload(), await it.upload(b"plain text", "a.txt")
    await it.settled()
    assert "auto-thumb" in (await it.ok("GET", f"/media/{picture['id']}"))["urls"]
    assert len((await it.ok("GET", f"/media/{text['id']}"))["files"]) == 1


async def test_one_that_is_run_when_it_is_told_to(it: Desk) -> None:
    made = await it.ok("POST", "/automations", {"workflow": [STEP]}, 201, headers=NEWER)
    assert "trigger" not in made and isinstance(made["created_at"], int)
    media = await it.upload()
    await it.settled()
    assert len((await it.ok("GET", f"/media/{media['id']}"))["files"]) == 1
    run = await it.ok("POST", f"/automations/{made['id']}/run", {"media_id": media["id"]}, 201)
    ended = await it.finished(run)
    assert (ended["automation_id"], ended["output"]["ref"]) == (made["id"], "auto-thumb")
    by_url = await it.ok("POST", f"/automations/{made['id']}/run", {"url": media["urls"]["original"]}, 201)
    assert (await it.finished(by_url))["output"]["width"] == 12
    sent = await it.upload(workflow_id=made["id"])
    task = await it.run(kind="workflow", workflow_id=made["id"], media_id=sent["id"])
    assert task["automation_id"] == made["id"]
    await it.settled()
    assert len((await it.ok("GET", f"/media/{sent['id']}"))["files"]) == 3
    assert (
        await it.refused("POST", f"/automations/{made['id']}/run", 400, {}) == "Either `file_id` or `url` is required."
    )


REFUSED = [
    ({}, "`workflow` must be a list"),
    ({"workflow": []}, "`workflow` must be a list"),
    ({"workflow": [{"kind": "nonsense"}], "trigger": TRIGGER}, "Unknown task kind `nonsense`."),
    ({"workflow": [STEP], "trigger": {"kind": "event", "event": "media.deleted"}}, "`trigger` must be"),
    ({"workflow": [STEP], "trigger": "x"}, "`trigger` must be"),
    ({"workflow": [STEP], "status": "sleeping"}, "`status` must be one of active, paused."),
    ({"workflow": [{"kind": "speech"}], "trigger": TRIGGER}, "Tasks of the kind `speech` are not done here"),
]


async def test_what_no_automation_can_be(it: Desk) -> None:
    for body, words in REFUSED:
        assert words in await it.refused("POST", "/automations", 400, body, headers=BARE), body
    assert await it.ok("GET", "/automations") == []
