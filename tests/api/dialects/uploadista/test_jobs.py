"""Flows and jobs: what waits for its files, what is given to it, what is refused, and what comes out."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from tests.api.dialects.uploadista.conftest import FLOWS
from tests.api.dialects.uploadista.desk import BYTES, KEY, Desk, at_once, init, photo
from tests.api.dialects.uploadista.test_sockets import heard
from tests.outside import Outside

UNKNOWN = "00000000-0000-4000-8000-000000000000"
FORKED = """
title: Forked
nodes:
  photo: {type: input}
  big: {type: conditional, field: width, operator: greaterThan, value: 100}
  small: {type: resize, from: big.then, width: 40}
  kept: {type: first, from: [small, big.else], keep: true}
  shown: {type: convert, format: webp}
  out: {type: save, path: "forked/{file.stem}.webp"}
"""


def task_of(job: Any, node: str) -> Any:
    (told,) = [one for one in job["tasks"] if one["nodeId"] == node]
    return told


async def test_a_flow_is_shown_without_what_its_nodes_are_set_to(ud: Desk) -> None:
    await ud.house.core.flows.put("forked", FORKED)
    flow = await ud.ok("GET", "/flow/forked")
    assert (flow["id"], flow["name"]) == ("forked", "Forked")
    kinds = {node["id"]: (node["type"], node["nodeTypeId"]) for node in flow["nodes"]}
    assert kinds == {
        "photo": ("input", "input"),
        "big": ("conditional", "conditional"),
        "small": ("process", "resize"),
        "kept": ("merge", "passthrough"),
        "shown": ("process", "optimize"),
        "out": ("process", "save"),
    }
    keys = {"id", "name", "description", "type", "nodeTypeId", "inputTypeId", "outputTypeId", "keepOutput"}
    assert all(node.keys() == keys and all(node[key] for key in keys - {"keepOutput"}) for node in flow["nodes"])
    assert [node["id"] for node in flow["nodes"] if node["keepOutput"]] == ["kept"]
    assert {"source": "big", "target": "small", "sourcePort": "true", "targetPort": "image"} in flow["edges"]
    assert {edge["source"] for edge in flow["edges"] if edge.get("sourcePort") == "false"} == {"big"}
    assert await ud.refused("GET", "/flow/nothing") == (404, "FLOW_NOT_FOUND")


async def test_a_run_waits_for_its_upload_and_makes_typed_outputs(ud: Desk, busy: Any) -> None:
    content, page = photo(), await ud.token()
    job = await ud.run("tiny", {"photo": init(content, album="cats"), "quality": 70}, key=page)
    assert job["clientId"] == "demo" and job["flowId"] == "tiny" and job["storageId"] == "default"
    job = await ud.job(job["id"])
    assert (job["status"], job["pausedAt"]) == ("paused", "photo") and "result" not in job
    waiting = task_of(job, "photo")
    record = waiting["result"]
    assert waiting["status"] == "paused" and record["offset"] == 0 and record["size"] == len(content)
    assert record["flow"] == {"flowId": "tiny", "nodeId": "photo", "jobId": job["id"]}
    assert record["metadata"]["originalName"] == "cat.jpg" and record["metadata"]["album"] == "cats"
    assert job["activeUploads"] == [record["id"]]
    order = ["photo", "small", "out"]
    assert job["executionState"] == {"executionOrder": order, "currentIndex": 0, "inputs": {}}
    await ud.fill(job["id"], "photo", content)
    ended = await ud.ended(job["id"])
    assert ended["status"] == "completed" and ended["endedAt"] and "pausedAt" not in ended, ended
    assert {task["status"] for task in ended["tasks"]} == {"completed"}
    (output,) = ended["result"]
    assert (output["nodeId"], output["nodeType"]) == ("out", "storage-output-v1") and output["timestamp"]
    made = output["data"]
    assert made["offset"] == made["size"] and made["storage"]["type"] == "image/webp"
    assert Image.open(io.BytesIO(await ud.fetched(made["url"]))).size == (40, 27)
    assert (await ud.ok("GET", f"/upload/{made['id']}"))["url"] == made["url"]
    run = await ud.house.core.runs.get(ud.grant(), job["id"])
    assert run.params == {"quality": 70}


async def test_several_inputs_come_side_by_side(ud: Desk, busy: Any) -> None:
    job = await ud.run("pair", {})
    assert job["status"] == "paused"
    assert [task_of(job, node)["status"] for node in ("first", "second")] == ["pending", "pending"]

    async def sent(node: str) -> None:
        content = photo(width=60 if node == "first" else 90)
        await ud.resume(job["id"], node, init(content, f"{node}.jpg"))
        await ud.fill(job["id"], node, content)

    await at_once(sent("first"), sent("second"))
    ended = await ud.ended(job["id"])
    assert ended["status"] == "completed"
    assert {(one["nodeId"], one["data"]["metadata"]["fileName"]) for one in ended["result"]} == {
        ("first", "first.jpg"),
        ("second", "second.jpg"),
    }
    for node in ("first", "second"):
        assert task_of(ended, node)["result"]["url"]


async def test_an_input_that_lies_elsewhere(ud: Desk, busy: Any, application: Outside) -> None:
    async def picture(request: web.Request, body: bytes) -> web.Response:
        return web.Response(body=photo(), content_type="image/jpeg")

    application.answers["/cat.jpg"] = picture
    url = {"operation": "url", "url": f"{application.url}/cat.jpg", "storageId": "buffer"}
    at_once_given = await ud.ended((await ud.run("tiny", {"photo": url}))["id"])
    assert at_once_given["status"] == "completed" and at_once_given["result"]
    job = await ud.run("tiny", {})
    await ud.resume(job["id"], "photo", url)
    assert (await ud.ended(job["id"]))["status"] == "completed"
    gone = url | {"url": f"{application.url}/gone"}

    async def missing(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=404)

    application.answers["/gone"] = missing
    failed = await ud.ended((await ud.run("tiny", {"photo": gone}))["id"])
    assert failed["status"] == "failed" and "404" in failed["error"]
    for wrong in ("file:///etc/passwd", "no url"):
        told = {"inputs": {"photo": url | {"url": wrong}}}
        assert await ud.refused("POST", "/flow/tiny/default", told) == (400, "FLOW_INPUT_VALIDATION_ERROR")


async def test_a_file_that_is_there_already_and_one_that_comes_as_bytes(ud: Desk, busy: Any) -> None:
    sent = await ud.begin(len(photo()), type="image/jpeg", fileName="b.jpg")
    await ud.chunk(sent["id"], photo())
    job = await ud.run("tiny", {"photo": {"operation": "finalize", "uploadId": sent["id"]}})
    assert (await ud.ended(job["id"]))["status"] == "completed"
    job = await ud.run("tiny", {})
    await ud.ok("PATCH", f"/jobs/{job['id']}/resume/photo", photo())
    assert (await ud.ended(job["id"]))["status"] == "completed"


async def test_a_length_left_open_is_told_by_finalize(ud: Desk, busy: Any) -> None:
    content = photo()
    begin = init(content)
    del begin["metadata"]["size"]
    job = await ud.job((await ud.run("tiny", {"photo": begin}))["id"])
    record = task_of(job, "photo")["result"]
    assert record["sizeIsDeferred"] is True and "size" not in record
    await ud.chunk(record["id"], content)
    await ud.resume(job["id"], "photo", {"operation": "finalize", "uploadId": record["id"]})
    assert (await ud.ended(job["id"]))["status"] == "completed"


# What is refused


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("/flow/nothing/default", {"inputs": {}}, (404, "FLOW_NOT_FOUND")),
        ("/flow/tiny/nowhere", {"inputs": {}}, (500, "DATASTORE_NOT_FOUND")),
        ("/flow/tiny/shared", {"inputs": {}}, (401, "STORAGE_NOT_AUTHORIZED")),
        ("/flow/tiny/default", {}, (400, "VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": []}, (400, "VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": {"x": {"operation": "init"}}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": {"photo": {"operation": "x"}}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": {"photo": "text"}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": {"photo": {"operation": "url"}}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        ("/flow/tiny/default", {"inputs": {"quality": 1000}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        (
            "/flow/tiny/default",
            {"inputs": {"photo": init(b"x", media_type="text/plain")}},
            (400, "FLOW_INPUT_VALIDATION_ERROR"),
        ),
        ("/flow/tiny/default", {"inputs": {"photo": init(b"x", size=3_000_000)}}, (400, "FLOW_INPUT_VALIDATION_ERROR")),
        (
            "/flow/tiny/default",
            {"inputs": {"photo": init(b"x") | {"storageId": "nowhere"}}},
            (500, "DATASTORE_NOT_FOUND"),
        ),
        (
            "/flow/tiny/default",
            {"inputs": {"photo": {"operation": "finalize", "uploadId": UNKNOWN}}},
            (404, "FILE_NOT_FOUND"),
        ),
    ],
)
async def test_what_cannot_be_run(ud: Desk, path: str, body: Any, refusal: Any) -> None:
    assert await ud.refused("POST", path, body) == refusal
    assert not (await ud.house.core.runs.list(ud.grant())).items


async def test_a_flow_that_is_not_active_is_not_run(ud: Desk) -> None:
    await ud.house.core.flows.pause("tiny")
    assert await ud.refused("POST", "/flow/tiny/default", {"inputs": {}}) == (409, "FLOW_PAUSED")
    await ud.house.core.flows.resume("tiny")


async def test_what_a_job_does_not_wait_for(ud: Desk) -> None:
    content = photo()
    job = await ud.run("pair", {"first": init(content)})
    path = f"/jobs/{job['id']}/resume"
    done = {"newData": {"operation": "finalize", "uploadId": UNKNOWN}}
    for node in ("nothing", "out"):
        assert await ud.refused("PATCH", f"{path}/{node}", done) == (400, "FLOW_JOB_ERROR")
    assert await ud.refused("PATCH", f"{path}/first", done) == (404, "FILE_NOT_FOUND")
    assert await ud.refused("PATCH", f"{path}/first", {}) == (400, "VALIDATION_ERROR")
    assert await ud.refused("PATCH", f"{path}/first", {"newData": "text"}) == (400, "FLOW_INPUT_VALIDATION_ERROR")
    told = await ud.refused("PATCH", f"{path}/first", b"<xml/>", Content_Type="text/xml")
    assert told == (415, "UNSUPPORTED_CONTENT_TYPE")
    record = task_of(await ud.job(job["id"]), "first")["result"]
    await ud.chunk(record["id"], content[:100])
    early = {"newData": {"operation": "finalize", "uploadId": record["id"]}}
    assert await ud.refused("PATCH", f"{path}/first", early) == (400, "FLOW_INPUT_VALIDATION_ERROR")
    await ud.chunk(record["id"], content[100:])
    told = await ud.ok("PATCH", f"{path}/first", early)
    assert (told["status"], told["pausedAt"]) == ("paused", "second")
    assert task_of(told, "first")["status"] == "completed"
    assert await ud.refused("PATCH", f"{path}/first", early) == (400, "FLOW_JOB_ERROR")
    await ud.ok("POST", f"/jobs/{job['id']}/cancel")
    assert await ud.refused("PATCH", f"{path}/second", early) == (409, "FLOW_CANCELLED")


async def test_a_job_of_another_client_or_of_nobody(ud: Desk) -> None:
    job = await ud.run("tiny", {})
    acts: list[tuple[str, str, Any]] = [
        ("GET", "status", None),
        ("POST", "pause", None),
        ("POST", "cancel", None),
        ("PATCH", "resume/photo", {"newData": init(b"x")}),
    ]
    for method, act, body in acts:
        path = f"/jobs/{job['id']}/{act}"
        assert await ud.refused(method, path, body, key="ud-other-key") == (401, "FLOW_NOT_AUTHORIZED")
        for id in (UNKNOWN, "no-id"):
            assert await ud.refused(method, f"/jobs/{id}/{act}", body) == (404, "FLOW_JOB_NOT_FOUND")


async def test_a_file_that_is_not_what_was_declared_fails_the_job(ud: Desk) -> None:
    content = b"just a text"
    job = await ud.run("tiny", {"photo": init(content)})
    record = task_of(await ud.job(job["id"]), "photo")["result"]
    told = await ud.refused("PATCH", f"/upload/{record['id']}", content)
    assert told == (400, "MIMETYPE_MISMATCH")
    failed = await ud.job(job["id"])
    assert failed["status"] == "failed" and failed["error"]
    assert task_of(failed, "photo")["status"] == "failed" and task_of(failed, "photo")["error"]


async def test_a_file_that_the_flow_does_not_take_fails_the_job(ud: Desk) -> None:
    content = b"just a text"
    job = await ud.run("tiny", {"photo": init(content, "a", BYTES)})
    record = task_of(await ud.job(job["id"]), "photo")["result"]
    await ud.chunk(record["id"], content)
    told = await ud.resume(job["id"], "photo", {"operation": "finalize", "uploadId": record["id"]})
    assert told["status"] == "failed" and "text/plain" in told["error"]


# Pause, resume, cancel


async def test_pause_and_resume(ud: Desk, busy: Any) -> None:
    waiting = await ud.run("tiny", {})
    assert await ud.refused("POST", f"/jobs/{waiting['id']}/pause") == (400, "FLOW_JOB_ERROR")
    core = ud.house.core
    await core.records.queues.pause("default")
    job = await ud.run("tiny", {})
    await ud.ok("PATCH", f"/jobs/{job['id']}/resume/photo", photo())
    paused = await ud.ok("POST", f"/jobs/{job['id']}/pause")
    assert paused["status"] == "paused" and paused["pausedAt"]
    assert await ud.refused("POST", f"/jobs/{job['id']}/pause") == (400, "FLOW_JOB_ERROR")
    await core.records.queues.resume("default")
    assert (await ud.job(job["id"]))["status"] == "paused"
    going = await ud.resume(job["id"], paused["pausedAt"], {})
    assert going["status"] in ("running", "completed")
    assert (await ud.ended(job["id"]))["status"] == "completed"
    assert await ud.refused("POST", f"/jobs/{job['id']}/pause") == (400, "FLOW_JOB_ERROR")
    assert await ud.refused("POST", f"/jobs/{job['id']}/cancel") == (400, "FLOW_JOB_ERROR")


AROUND = """
nodes: {photo: {type: input}, inside: {type: subflow, flow: within}, out: {type: save, path: "a.png"}}
"""
WITHIN = """
nodes:
  photo: {{type: input}}
  far: {{type: http, url: "{url}/far"}}
  near: {{type: http, url: "{url}/near"}}
  out: {{type: save, path: "b.png"}}
"""


async def test_a_job_rests_inside_a_flow_that_its_flow_runs(ud: Desk, busy: Any, application: Outside) -> None:
    await ud.house.core.flows.put("within", WITHIN.format(url=application.url))
    await ud.house.core.flows.put("around", AROUND)
    asked, gate, content = asyncio.Event(), asyncio.Event(), photo()

    async def held(request: web.Request, body: bytes) -> web.Response:
        asked.set()
        await gate.wait()
        return web.Response(body=body, content_type="image/jpeg")

    application.answers["/far"], application.heard[:] = held, []
    sent = await ud.begin(len(content), type="image/jpeg", fileName="b.jpg")
    await ud.chunk(sent["id"], content)
    id = (await ud.run("around", {"photo": {"operation": "finalize", "uploadId": sent["id"]}}))["id"]
    async with heard(ud.house, f"flow/{id}", token=KEY) as line:
        await asyncio.wait_for(asked.wait(), 30)
        assert (await ud.ok("POST", f"/jobs/{id}/pause"))["status"] == "paused"
        gate.set()
        await line.until("flow-pause")
        paused = await ud.job(id)
        assert (paused["status"], paused["pausedAt"]) == ("paused", "inside")
        assert paused["executionState"] == {
            "executionOrder": ["photo", "inside", "out"], "currentIndex": 1, "inputs": {"photo": [sent["id"]]}
        }  # fmt: skip
        assert [task["nodeId"] for task in paused["tasks"]] == ["photo", "inside", "out"]
        assert [one.path for one in application.heard] == ["/far"]
        await ud.resume(id, "inside", {})
        await line.until("flow-end")
        done = await ud.job(id)
        assert done["status"] == "completed" and "executionState" not in done
    assert [one.path for one in application.heard] == ["/far", "/near"]
    for node in ("photo", "inside", "out"):
        of_node = [one["eventType"] for one in line.payloads if one.get("nodeId") == node]
        assert of_node == ["node-start", "node-end"], (node, of_node)
    assert [name for name in line.names if name.startswith("flow-")] == ["flow-start", "flow-pause", "flow-end"]


async def test_a_cancelled_job_takes_its_uploads_along(ud: Desk) -> None:
    job = await ud.run("tiny", {"photo": init(photo())})
    record = task_of(await ud.job(job["id"]), "photo")["result"]
    await ud.chunk(record["id"], photo()[:50])
    told = await ud.ok("POST", f"/jobs/{job['id']}/cancel")
    assert told["status"] == "cancelled" and told["endedAt"]
    assert await ud.refused("GET", f"/upload/{record['id']}") == (404, "FILE_NOT_FOUND")
    assert await ud.refused("POST", f"/jobs/{job['id']}/cancel") == (400, "FLOW_JOB_ERROR")


# The flows of the vendor's guide


async def test_the_flows_of_the_guide(ud: Desk, busy: Any) -> None:
    assert not await ud.house.core.flows.sync(FLOWS)
    picture = photo(1800, 1200)

    async def through(flow: str, content: bytes, name: str, media_type: str) -> list[tuple[str, str, int | None]]:
        shown = await ud.ok("GET", f"/flow/{flow}")
        entry = next(node["id"] for node in shown["nodes"] if node["type"] == "input")
        job = await ud.run(flow, {entry: init(content, name, media_type)})
        await ud.fill(job["id"], entry, content)
        ended = await ud.ended(job["id"])
        assert ended["status"] == "completed", ended
        outputs = [(one["nodeId"], one["data"]) for one in ended["result"]]
        return sorted((node, data["storage"]["type"], data["metadata"].get("width")) for node, data in outputs)

    webp, jpeg = "image/webp", "image/jpeg"
    assert await through("profile-picture", picture, "me.jpg", jpeg) == [("out", webp, 512)]
    assert await through("product-images", picture, "shoe.jpg", jpeg) == [("marked", webp, 1600), ("thumb", webp, 320)]
    sizes = [("final", webp, 1600), ("medium", webp, 800), ("small", webp, 320)]
    assert await through("image-gallery", picture, "hill.jpg", jpeg) == sizes
    assert await through("document-upload", picture, "scan.jpg", jpeg) == [("out", jpeg, 1800), ("shown", webp, 400)]
    text = b"A contract.\n"
    assert await through("document-upload", text, "contract.txt", "text/plain") == [("out", "text/plain", None)]
