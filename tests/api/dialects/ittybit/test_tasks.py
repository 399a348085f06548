"""Tasks: what each kind makes of a file, how far it has come, and in which words that is told."""

from __future__ import annotations

import asyncio
import io
import sys
from datetime import datetime
from typing import Any

import pytest
from PIL import Image

from pipeline.model import now
from pipeline.vendors.ittybit.words import id_of
from tests.api.house import photo

from .desk import NEWER, OLDER, Desk


async def picture(it: Desk, file: Any) -> Image.Image:
    async with it.house.session.get(file["url"]) as answer:
        assert answer.status == 200
        return Image.open(io.BytesIO(await answer.read()))


async def test_an_image_task_from_its_beginning_to_its_end(it: Desk) -> None:
    file = await it.file(photo(200, 100))
    made = await it.ok("POST", "/tasks", {"kind": "image", "file_id": file["id"], "width": 60, "ref": "small"}, 201)
    assert (made["id"][:5], made["object"], made["kind"], made["output"], made["error"]) == (
        "task_", "task", "image", None, None)  # fmt: skip
    assert made["status"] in ("pending", "processing") and 0 <= made["progress"] < 100
    assert (made["input"]["id"], made["options"]) == (file["id"], {"width": 60})
    task = await it.finished(made)
    assert (task["status"], task["progress"], task["id"]) == ("completed", 100, made["id"])
    output = task["output"]
    assert (output["width"], output["height"], output["ref"], output["media_id"], output["original"]) == (
        60, 30, "small", file["media_id"], False)  # fmt: skip
    assert (await picture(it, output)).size == (60, 30)
    media = await it.ok("GET", f"/media/{file['media_id']}")
    assert media["urls"] == {"original": file["url"], "small": output["url"]}
    assert datetime.fromisoformat(task["created"]) <= datetime.fromisoformat(task["completed"])
    assert (await it.ok("GET", "/tasks?limit=1"))[0]["id"] == task["id"]


IMAGES: list[tuple[dict[str, Any], tuple[str, tuple[int, int]]]] = [
    ({}, ("JPEG", (200, 100))),
    ({"width": 50, "height": 50}, ("JPEG", (50, 50))),
    ({"width": 50, "height": 50, "fit": "cover", "position": "top left", "format": "png"}, ("PNG", (50, 50))),
    ({"width": 60, "height": 60, "fit": "contain", "background": "#00ff00", "format": "webp"}, ("WEBP", (60, 60))),
    ({"options": {"height": 50, "format": "webp", "quality": "low"}}, ("WEBP", (100, 50))),
    ({"width": "40", "format": "avif", "quality": 0}, ("AVIF", (40, 20))),
    ({"width": 400, "filename": "big/hero.png", "folder": "out"}, ("PNG", (400, 200))),
    ({"format": "jpg", "layers": [{"kind": "text", "text": "{x} & y", "font": "Courier", "font_size": 20,
      "color": "#FFFFFF", "position": "bottom-right", "opacity": 50}]}, ("JPEG", (200, 100))),
]  # fmt: skip


async def test_what_images_become(it: Desk) -> None:
    file = await it.file(photo(200, 100))
    made = [await it.ok("POST", "/tasks", {"kind": "image", "file_id": file["id"], **options}, 201)
            for options, _ in IMAGES]  # fmt: skip
    for task, (options, wanted) in zip(made, IMAGES, strict=True):
        ended = await it.finished(task)
        assert ended["status"] == "completed", (options, ended)
        drawn = await picture(it, ended["output"])
        assert (drawn.format, drawn.size) == wanted, options
    filed = (await it.finished(made[6]))["output"]
    assert (filed["folder"], filed["filename"]) == ("out/big", "hero.png")
    async with it.house.session.get(f"{it.house.base}/ittybit/d/demo/out/big/hero.png") as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
    corner = (await picture(it, (await it.finished(made[3]))["output"])).convert("RGB")
    assert corner.getpixel((2, 2)) == pytest.approx((0, 255, 0), abs=12)
    stretched = (await picture(it, (await it.finished(made[1]))["output"])).convert("RGB")
    assert stretched.getpixel((2, 2)) == pytest.approx((204, 34, 0), abs=12)


async def test_however_many_different_tasks_leave_nothing_but_their_runs(it: Desk) -> None:
    desk, core = Desk(it.house, "it-other-key"), it.house.core
    file, turns = await desk.file(photo(20, 20)), asyncio.Semaphore(8)

    async def begun(width: int) -> str:
        wish = {"kind": "image", "file_id": file["id"], "width": width}
        async with turns:
            return str((await desk.ok("POST", "/tasks", wish, 201))["id"])

    await core.records.queues.pause("default")
    try:
        tasks = await asyncio.gather(*(begun(width) for width in range(1, 201)))
        assert await core.runs.purge("default") == 200
    finally:
        await core.records.queues.resume("default")
    runs = [id_of(task, "task") or "" for task in tasks]
    keys = [key.decode() async for key in core.redis.scan_iter("*", 1000)]
    assert sum(any(run in key for run in runs) for key in keys) == 2 * len(runs)  # the run and its events
    assert [key for key in keys if key.startswith("ittybit:flow") and "ittybit-" in key] == []
    assert [flow.id for flow in (await core.flows.list()).items] == ["judged", "two-sizes"]
    await core.runs.retry(desk.grant("other"), runs[41])  # which the worker has never seen
    again = await desk.finished(await desk.ok("GET", f"/tasks/{tasks[41]}"))
    assert (again["status"], again["options"], again["output"]["width"]) == ("completed", {"width": 42}, 42)
    old = await core.records.retention.ended("cancelled", now(), 1)
    assert await core.records.retention.forget(old) == 1 and old[0].id in runs
    assert await desk.refused("GET", f"/tasks/{old[0].id}", 404) == "Task not found."
    assert not [key async for key in core.redis.scan_iter(f"*{old[0].id}*", 1000)]


async def test_videos_without_the_extra_are_refused(it: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it had not been installed
    file = await it.file()
    for wish in ({"kind": "video", "width": 20}, {"kind": "image", "start": 1}):
        message = await it.refused("POST", "/tasks", 400, {"file_id": file["id"], **wish})
        assert "pip install safelight[video]" in message


async def test_a_picture_laid_over_another(it: Desk) -> None:
    file, mark = await it.file(photo(100, 100)), await it.file(photo(20, 20, "PNG", "#0000ff"), "m.png")
    layer = {"kind": "image", "position": "bottom-right", "width": 10}
    for given in ({"file_id": mark["id"]}, {"url": mark["url"]}):
        task = await it.run(kind="image", file_id=file["id"], format="png", layers=[{**layer, **given}])
        drawn = (await picture(it, task["output"])).convert("RGB")
        assert drawn.getpixel((95, 95)) == (0, 0, 255)
        assert drawn.getpixel((85, 85)) != (0, 0, 255)
        assert task["output"]["media_id"] == file["media_id"]


async def test_inputs_of_every_spelling(it: Desk) -> None:
    file = await it.file(photo(80, 40))
    for given in ({"media_id": file["media_id"]}, {"input": file["id"]}, {"input": file["media_id"]},
                  {"input": file["url"]}, {"url": file["url"]}):  # fmt: skip
        task = await it.run(kind="image", width=8, **given)
        assert task["output"]["width"] == 8, given
    early = await it.ok("POST", "/tasks", {"input": file["media_id"], "output": {"kind": "image", "width": 9}}, 201)
    assert (await it.finished(early))["output"]["width"] == 9
    job = await it.ok("POST", "/jobs", {"input": file["url"], "kind": "image", "options": {"width": 7}}, 201)
    assert (job["id"][:4], job["object"]) == ("job_", "job")
    await it.finished(job)
    assert (await it.ok("GET", f"/jobs/{job['id']}"))["output"]["width"] == 7


async def test_an_ingest_puts_the_file_where_it_says(it: Desk) -> None:
    file = await it.file(photo(45, 15))
    task = await it.run(kind="ingest", url=file["url"], folder="in/gest", filename="i.jpg")
    output = task["output"]
    assert (output["folder"], output["filename"], output["width"], output["original"]) == ("in/gest", "i.jpg", 45, True)
    failed = await it.run("failed", kind="ingest", url=f"{it.house.base}/nowhere")
    assert "404" in failed["error"] and failed["output"] is None


async def test_conditions_say_which_hold(it: Desk) -> None:
    file = await it.file(photo(200, 100), metadata={"plan": "pro"})
    asked = {"kind": "image", "width": ">500", "metadata.plan": "pro"}
    conditions = [{"prop": prop, "value": value} for prop, value in asked.items()]
    task = await it.run(kind="conditions", file_id=file["id"], conditions=conditions)
    assert task["results"] == {"passed": [conditions[0], conditions[2]], "failed": [conditions[1]], "continue": False}
    task = await it.run(kind="conditions", file_id=file["id"], conditions=conditions[:1])
    assert task["results"] == {"passed": conditions[:1], "failed": [], "continue": True}


WORKFLOW = [
    {"kind": "image", "ref": "thumb", "width": 40, "next": [{"kind": "image", "ref": "tiny", "width": 10}]},
    {"kind": "conditions", "conditions": [{"prop": "kind", "value": "image"}, {"prop": "width", "value": ">=200"}],
     "next": [{"kind": "image", "ref": "720p wide", "width": 150, "format": "webp"}]},
    {"kind": "conditions", "conditions": [{"prop": "kind", "value": "video"}],
     "next": [{"kind": "image", "ref": "720p wide", "width": 5}]},
]  # fmt: skip


async def test_a_workflow_is_one_graph(it: Desk) -> None:
    file = await it.file(photo(200, 100))
    task = await it.run(kind="workflow", file_id=file["id"], workflow=WORKFLOW)
    assert {output["ref"]: output["width"] for output in task["outputs"]} == {"thumb": 40, "tiny": 10, "720p wide": 150}
    told = [(step["kind"], step["ref"], step["status"]) for step in task["workflow"]]
    assert told == [
        ("image", "thumb", "completed"), ("image", "tiny", "completed"), ("conditions", None, "completed"),
        ("image", "720p wide", "completed"), ("conditions", None, "cancelled"), ("image", "720p wide", "cancelled"),
    ]  # fmt: skip
    step = await it.ok("GET", f"/tasks/{task['workflow'][1]['id']}")
    assert (step["parent_id"], step["kind"], step["output"]["width"], step["status"]) == (
        task["id"], "image", 10, "completed")  # fmt: skip
    assert (await it.ok("GET", f"/tasks/{task['workflow'][2]['id']}"))["results"]["continue"] is True
    assert await it.refused("GET", f"/tasks/{task['id']}-9", 404) == "Task not found."
    mapped = await it.run(kind="workflow", file_id=file["id"], workflow_id="wf_12345678")
    assert {output["ref"] for output in mapped["outputs"]} == {"thumb", "wide"}
    assert (await it.ok("GET", f"/media/{file['media_id']}"))["urls"].keys() == {
        "original", "thumb", "tiny", "720p wide", "wide"}  # fmt: skip


async def test_kinds_that_the_settings_name_a_flow_for(it: Desk) -> None:
    file = await it.file(photo(30, 30))
    task = await it.run(kind="nsfw", file_id=file["id"], ref="check")
    found = task["results"]
    assert (found["width"], found["mime"]) == (30, "image/jpeg")  # what the flow has found
    assert (found["is_nsfw"], found["detected"], found["categories"]) == (False, False, [])
    assert (await it.run(kind="summary", file_id=file["id"], detail="high"))["results"]["width"] == 30
    known = await it.ok("GET", "/tasks-config")
    assert {"image", "conditions", "nsfw", "summary"} <= set(known["kinds"])
    assert "speech" not in known["kinds"]


async def test_a_video_task(it: Desk) -> None:
    pytest.importorskip("imageio_ffmpeg")
    from tests.nodes.studio import PHOTO

    film = (PHOTO.parent / "film.mp4").read_bytes() if (PHOTO.parent / "film.mp4").exists() else _film()
    file = await it.file(film, "film.mp4")
    assert file["kind"] == "video"
    workflow = [
        {"kind": "video", "width": 64, "end": 0.4, "quality": "low", "ref": "short", "next": [
            {"kind": "image", "start": 0.1, "format": "png", "ref": "still"}]},
        {"kind": "image", "start": 0, "width": 20, "ref": "poster", "format": "jpeg"},
    ]  # fmt: skip
    task = await it.run(kind="workflow", file_id=file["id"], workflow=workflow)
    outputs = {output["ref"]: output for output in task["outputs"]}
    assert (outputs["short"]["kind"], outputs["short"]["type"]) == ("video", "video/mp4")
    assert (await picture(it, outputs["still"])).size[0] == 64
    assert (await picture(it, outputs["poster"])).size[0] == 20
    failed = await it.run("failed", kind="video", file_id=(await it.file())["id"])
    assert "video" in failed["error"]


def _film() -> bytes:
    import subprocess
    import tempfile
    from pathlib import Path

    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-f", "lavfi", "-i", "testsrc=size=128x96:rate=10", "-t", "1"]
        subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True, capture_output=True)
        return path.read_bytes()


async def test_words_of_each_version(it: Desk) -> None:
    file = await it.file()
    task = await it.run(kind="image", file_id=file["id"], width=9)
    path = f"/tasks/{task['id']}"
    older = (await it.ok("GET", path, headers=OLDER))["data"]
    assert (older["status"], older["id"]) == ("completed", task["id"])
    oldest = (await it.ok("GET", path, headers={"Accept-Version": "2024-08-21"}))["data"]
    assert (oldest["status"], oldest["id"]) == ("ready", task["id"].replace("task_", "tsk_"))
    assert (await it.ok("GET", f"/tasks/{oldest['id']}"))["id"] == task["id"]
    newest = await it.ok("GET", path, headers=NEWER)
    assert (newest["status"], isinstance(newest["created_at"], int)) == ("succeeded", True)
    failed = await it.run("failed", kind="image", file_id=(await it.file(b"a text", "a.txt"))["id"])
    assert failed["error"] and failed["progress"] < 100
    early = await it.ok("GET", f"/tasks/{failed['id']}", headers={"Accept-Version": "2024-08-21"})
    assert early["data"]["status"] == "error"
    for query in ("status=failed", "status=error"):
        assert failed["id"] in [one["id"] for one in await it.ok("GET", f"/tasks?{query}&limit=100")]
    assert {one["kind"] for one in await it.ok("GET", "/tasks?kind=image&limit=100")} == {"image"}
    assert await it.ok("GET", "/tasks?status=nonsense") == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "`kind` is required."),
    ({"kind": "nonsense"}, "Unknown task kind `nonsense`."),
    ({"kind": "speech"}, "Tasks of the kind `speech` are not done here"),
    ({"kind": "image", "file_id": None}, "Either `file_id` or `url` is required."),
    ({"kind": "image", "width": 0}, "`width` must be a number from 1 to 16384."),
    ({"kind": "image", "width": "wide"}, "`width` must be a number"),
    ({"kind": "image", "fit": "crop"}, "`fit` must be one of fill, contain, cover."),
    ({"kind": "image", "format": "heic"}, "images are not written as 'heic' here"),
    ({"kind": "image", "quality": 101}, "`quality`"),
    ({"kind": "image", "background": "green"}, "`background` must be a colour"),
    ({"kind": "image", "position": "top bottom", "width": 9}, "`position`"),
    ({"kind": "image", "ref": "x" * 60 + "!"}, "`ref` is longer than 30 bytes"),
    ({"kind": "image", "layers": [{}]}, "`file_id` or a `url`"),
    ({"kind": "image", "layers": [{"kind": "text"}]}, "`text`"),
    ({"kind": "conditions"}, "`conditions` is required"),
    ({"kind": "http"}, "`url` is required"),
    ({"kind": "workflow"}, "`workflow` or `workflow_id` is required"),
    ({"kind": "workflow", "workflow": []}, "at least one step"),
    ({"kind": "workflow", "workflow": [{"kind": "x"}]}, "Unknown task kind `x`."),
    ({"kind": "workflow", "workflow": [{"kind": "image"}] * 101}, "at most 100 steps"),
    ({"kind": "workflow", "workflow_id": "wf_none"}, "Workflow `wf_none` not found."),
    ({"kind": "video", "codec": "divx"}, "`codec` must be one of"),
    ({"kind": "video", "start": 3, "end": 2}, "it comes after start"),
    ({"kind": "image", "webhook_url": "gopher://x"}, "http or https"),
]


async def test_what_no_task_can_be(it: Desk) -> None:
    file = await it.file()
    for task, words in REFUSED:
        message = await it.refused("POST", "/tasks", 400, {"file_id": file["id"], **task})
        assert words in message, (task, message)
    missing = {"kind": "image", "file_id": "file_" + "0" * 32}
    assert await it.refused("POST", "/tasks", 404, missing) == "File not found."
    assert await Desk(it.house, "it-other-key").refused("POST", "/tasks", 404, {**missing, "file_id": file["id"]})
    assert await it.refused("POST", "/tasks", 404, {"kind": "image", "media_id": "med_x"}) == "Media not found."
