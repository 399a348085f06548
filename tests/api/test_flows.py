"""The flow registry over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workers.schedules import Ticker

from .house import TINY, House, Multipart, photo

CHANGED = TINY.replace("width: 40", "width: 50")


async def test_flow_is_put_looked_at_and_listed(house: House) -> None:
    flow = await house.json("GET", "/v1/flows/tiny")
    assert (flow["title"], flow["paused"], flow["inputs"]) == ("Tiny", False, ["photo"])
    assert flow["version"] == flow["active"] == flow["versions"][-1]
    assert flow["nodes"]["small"]["type"] == "resize"
    assert flow["nodes"]["small"]["sources"] == ["photo"]
    assert flow["nodes"]["small"]["parameters"] == {"width": 40}
    assert flow["params"]["quality"]["default"] == 80
    assert flow["text"] == TINY
    assert [row["id"] for row in (await house.json("GET", "/v1/flows"))["items"]] == ["pair", "tiny"]


async def test_same_content_is_the_same_version(house: House) -> None:
    same = await house.json("PUT", "/v1/flows/tiny", 200, data=TINY)
    assert same["active"]
    assert (await house.json("GET", "/v1/flows/tiny"))["versions"] == [same["version"]]


async def test_draft_is_activated_and_rolled_back(house: House) -> None:
    first = (await house.json("GET", "/v1/flows/tiny"))["active"]
    draft = await house.json("PUT", "/v1/flows/tiny?activate=false", 201, data=CHANGED)
    assert not draft["active"]
    assert (await house.json("GET", "/v1/flows/tiny"))["active"] == first
    seen = await house.json("GET", f"/v1/flows/tiny?version={draft['version']}")
    assert seen["nodes"]["small"]["parameters"] == {"width": 50}
    moved = await house.json("POST", "/v1/flows/tiny/activate", json={"version": draft["version"]})
    assert moved["active"] == draft["version"]
    versions = (await house.json("GET", "/v1/flows/tiny/versions"))["items"]
    assert [(row["version"], row["active"]) for row in versions] == [(draft["version"], True), (first, False)]
    await house.json("POST", "/v1/flows/tiny/activate", json={"version": first})
    await house.problem("POST", "/v1/flows/tiny/activate", 404, "FLOW_VERSION_NOT_FOUND", json={"version": "0" * 16})


async def test_broken_flow_is_refused_with_every_fault_in_its_place(house: House) -> None:
    text = "nodes:\n  photo: {type: input}\n  small: {type: resise, width: 3}\n  out: {type: save, pth: a.webp}\n"
    document = await house.problem("PUT", "/v1/flows/broken", 422, "FLOW_INVALID", data=text)
    places = {(fault["line"], fault["code"]) for fault in document["complaints"]}
    assert {line for line, _ in places} >= {3, 4}
    assert all(fault["message"] for fault in document["complaints"])
    await house.problem("GET", "/v1/flows/broken", 404, "FLOW_NOT_FOUND")


MARKED = """nodes:
  photo: {type: input}
  marked: {type: watermark, image: "asset:mark.svg"}
  out: {type: save}
"""


async def test_what_a_flow_lacks_is_a_warning_until_it_is_there(house: House) -> None:
    made = await house.json("PUT", "/v1/flows/marked", 201, data=MARKED)
    assert made["active"]
    (warning,) = made["warnings"]
    assert (warning["file"], warning["line"], warning["column"]) == ("marked.yaml", 3, 36)
    assert (warning["code"], warning["message"]) == ("ASSET_UNKNOWN", "There is no asset `mark.svg`.")
    folder = house.core.settings.flows_dir / "assets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mark.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>')
    assert (await house.json("PUT", "/v1/flows/marked", 200, data=MARKED))["warnings"] == []


async def test_text_that_is_no_flow(house: House) -> None:
    await house.problem("PUT", "/v1/flows/x", 400, "BODY_EMPTY", data=b" \n")
    await house.problem("PUT", "/v1/flows/x", 400, "REQUEST_INVALID", data=b"\xff\xfe\x00")
    await house.problem("PUT", "/v1/flows/x", 400, "REQUEST_INVALID", data=b"#" * 1_100_000)
    await house.problem("PUT", "/v1/flows/x", 422, "FLOW_INVALID", data=b"a: &a [*a]")


async def test_paused_flow_takes_runs_again_when_resumed(house: House) -> None:
    assert (await house.json("POST", "/v1/flows/tiny/pause"))["paused"]
    form = Multipart().field("photo", photo(), "p.jpg")
    await house.problem("POST", "/v1/flows/tiny/runs", 409, "FLOW_PAUSED", **form.end())
    assert not (await house.json("POST", "/v1/flows/tiny/resume"))["paused"]
    await house.json("POST", "/v1/flows/tiny/runs", 202, **form.end())
    await house.problem("POST", "/v1/flows/none/pause", 404, "FLOW_NOT_FOUND")


async def test_node_types_come_with_their_schema(house: House) -> None:
    rows = {row["type"]: row for row in (await house.json("GET", "/v1/nodes"))["items"]}
    assert {"input", "resize", "crop", "convert", "watermark", "text", "conditional", "first", "zip", "save"} <= set(
        rows
    )
    assert rows["conditional"]["outputs"] == ["then", "else"]
    assert rows["resize"]["summary"].endswith(".")
    assert "width" in rows["resize"]["parameters"]["properties"]


NIGHTLY = TINY.replace("nodes:", "schedule: {cron: 0 3 * * *, timezone: Asia/Tokyo, inputs: {photo: SENT}}\nnodes:", 1)


async def test_a_flow_tells_when_it_runs_next(house: House) -> None:
    assert (await house.json("GET", "/v1/flows/tiny"))["schedule"] is None
    made = await house.json("PUT", "/v1/flows/tiny", 201, data=NIGHTLY)
    told = (await house.json("GET", "/v1/flows/tiny"))["schedule"]
    assert (told["cron"], told["timezone"], told["project"], told["last"]) == ("0 3 * * *", "Asia/Tokyo", None, None)
    next = datetime.fromisoformat(told["next"])
    assert next.hour == 18 and timedelta(0) < next - datetime.now(UTC) <= timedelta(days=1)
    await house.json("POST", "/v1/flows/tiny/pause")
    assert (await house.json("GET", "/v1/flows/tiny"))["schedule"]["next"] is None
    await house.json("POST", "/v1/flows/tiny/resume")
    await house.json("PUT", "/v1/flows/tiny", 200, data=TINY)
    inactive = await house.json("GET", f"/v1/flows/tiny?version={made['version']}")
    assert inactive["schedule"]["next"] is None


async def test_a_flow_tells_what_became_of_its_last_tick(house: House) -> None:
    sent = await house.send(photo(), "photo.jpg")
    await house.json("PUT", "/v1/flows/tiny", 201, data=NIGHTLY.replace("SENT", sent["id"]))
    ticker, now = Ticker(house.core), datetime.now(UTC)
    assert await ticker.start_due(now) == 0
    assert await ticker.start_due(now + timedelta(days=1)) == 1
    last = (await house.json("GET", "/v1/flows/tiny"))["schedule"]["last"]
    run = await house.json("GET", f"/v1/runs/{last['run']}")
    assert run["inputs"] == {"photo": [sent["id"]]} and last["refusal"] is None
    assert datetime.fromisoformat(last["tick"]).hour == 18


async def test_a_wrong_schedule_is_refused_with_its_place(house: House) -> None:
    wrong = await house.problem("PUT", "/v1/flows/tiny", 422, "FLOW_INVALID", data=NIGHTLY.replace("0 3 *", "0 33 *"))
    (complaint,) = wrong["complaints"]
    assert complaint["line"] > 0 and "bad hour" in complaint["message"]
