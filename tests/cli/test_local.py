"""`safelight run --local`: no server, no Redis, the same results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import PHOTO, ROOT, Shell, on_terminal
from tests.outside import listening

NO_REDIS = {"SAFELIGHT_REDIS_URL": "redis://127.0.0.1:1/0"}
RESIZE = """\
params: {width: {type: integer, default: 100, minimum: 1}}
accept: {types: [image/*], max_size: 2MB}
nodes:
  photo: {type: input}
  small: {type: resize, width: "{params.width}"}
  out: {type: save, path: "small/{file.stem}.png"}
"""


def test_a_flow_runs_here_and_writes_its_outputs(shell: Shell) -> None:
    (run,) = [shell.json("run", "profile-picture", PHOTO, "--local", "--out", "here", **NO_REDIS)]
    (output,) = run["outputs"]
    assert run["status"] == "completed" and (output["width"], output["height"]) == (512, 512)
    with Image.open(shell.folder / output["saved"]) as picture:
        assert picture.format == "WEBP" and picture.size == (512, 512)
    assert [path for path in (shell.folder / "here").rglob("*") if path.is_file()] == [shell.folder / output["saved"]]


def test_outputs_go_to_out_by_default_and_params_count(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    text = shell("run", "small.yaml", photos[0], "--local", "--param", "width=55", **NO_REDIS).stdout
    assert "small completed" in text and "out/small/photo 1.png" in text
    with Image.open(shell.folder / "out" / "small" / "photo 1.png") as picture:
        assert picture.width == 55


def test_a_quoted_glob_makes_one_run_per_file(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    shell("run", "small.yaml", "photos/*.jpg", "--local", "--parallel", "2")
    assert sorted(path.name for path in (shell.folder / "out" / "small").iterdir()) == [
        "photo 1.png",
        "photo 2.png",
        "photo 3.png",
    ]


def test_an_input_of_many_takes_all_files_in_one_run(shell: Shell, photos: Sequence[Path]) -> None:
    run = shell.json("run", ROOT / "flows" / "archive.yaml", *photos, "--local")
    assert run["status"] == "completed" and len(run["files"]) == 3 and len(run["outputs"]) == 1


def test_two_runs_that_name_the_same_path_both_keep_their_output(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "same.yaml").write_text(RESIZE.replace("{file.stem}", "same"))
    shell("run", "same.yaml", photos[0], photos[1], "--local")
    assert len(list((shell.folder / "out" / "small").iterdir())) == 2


def test_metadata_and_assets_reach_the_flow(shell: Shell, photos: Sequence[Path]) -> None:
    flow = """\
nodes:
  photo: {type: input}
  marked: {type: watermark, image: "asset:mark.png"}
  out: {type: save, path: "{metadata.who}/{file.stem}.png"}
"""
    (shell.folder / "assets").mkdir()
    Image.new("RGB", (50, 50), "red").save(shell.folder / "assets" / "mark.png")
    (shell.folder / "marked.yaml").write_text(flow)
    shell("run", "marked.yaml", photos[0], "--local", "--metadata", "who=ann")
    with Image.open(shell.folder / "out" / "ann" / "photo 1.png") as picture:
        assert picture.getpixel((picture.width - 40, picture.height - 40))[:3] == (255, 0, 0)


def test_a_flow_whose_mark_is_missing_is_not_begun(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "assets").mkdir()
    Image.new("RGB", (5, 5)).save(shell.folder / "assets" / "mark.png")
    flow = RESIZE.replace("out:", 'marked: {type: watermark, image: "asset:mrk.png"}\n  out:')
    (shell.folder / "marked.yaml").write_text(flow)
    done = shell("run", "marked.yaml", photos[0], "--local", check=2)
    complaint = "marked.yaml:6:36 ASSET_UNKNOWN There is no asset `mrk.png`. Did you mean `mark.png`?"
    assert complaint in done.stderr and not (shell.folder / "out").exists()
    assert shell("flows", "check", "marked.yaml", check=1).stdout.startswith(complaint)
    shell("flows", "show", "marked.yaml")


def test_an_unsound_flow_prints_its_complaints(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "bad.yaml").write_text(RESIZE.replace("resize", "resise"))
    done = shell("run", "bad.yaml", photos[0], "--local", check=2)
    assert "bad.yaml:5:17 NODE_TYPE_UNKNOWN" in done.stderr and not (shell.folder / "out").exists()


def test_faults_of_the_asker_end_with_2(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    assert "`width`" in shell("run", "small.yaml", photos[0], "--local", "-p", "width=-1", check=2).stderr
    assert "There is no file" in shell("run", "small.yaml", "no.jpg", "--local", check=2).stderr
    assert "No file matches" in shell("run", "small.yaml", "no*.jpg", "--local", check=2).stderr
    assert "is a folder" in shell("run", "small.yaml", "photos", "--local", check=2).stderr
    assert "There is no flow `nope`" in shell("run", "nope", photos[0], "--local", check=2).stderr
    assert "name=value" in shell("run", "small.yaml", photos[0], "--local", "-p", "width", check=2).stderr
    assert "There is no queue" in shell("run", "small.yaml", photos[0], "--queue", "fast", check=2).stderr


def test_a_file_that_is_not_taken_is_told_and_the_others_go_on(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    (shell.folder / "note.txt").write_text("hello")
    whole = photos[1].read_bytes()
    (shell.folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    done = shell("run", "small.yaml", "note.txt", "cut.jpg", photos[0], "--local", check=2)
    assert "TYPE_NOT_ALLOWED" in done.stderr and "IMAGE_UNREADABLE" in done.stderr
    assert [path.name for path in (shell.folder / "out" / "small").iterdir()] == ["photo 1.png"]


def test_a_run_that_fails_ends_with_1_and_leaves_nothing(shell: Shell, photos: Sequence[Path]) -> None:
    flow = """\
nodes:
  photo: {type: input}
  region: {type: crop, region: {left: 5000, top: 5000, width: 10, height: 10}}
  out: {type: save, path: "x.png"}
"""
    (shell.folder / "crop.yaml").write_text(flow)
    run = shell.json("run", "crop.yaml", photos[0], "--local", check=1)
    assert run["status"] == "failed" and run["error"]["node"] == "region" and run["outputs"] == []
    assert not (shell.folder / "out").exists()


def test_an_output_never_leaves_the_folder_through_a_link(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    (shell.folder / "elsewhere").mkdir()
    (shell.folder / "out").mkdir()
    (shell.folder / "out" / "small").symlink_to(shell.folder / "elsewhere")
    done = shell("run", "small.yaml", photos[0], "--local", check=2)
    assert "leads out of" in done.stderr and list((shell.folder / "elsewhere").iterdir()) == []


def test_a_terminal_shows_bars(shell: Shell, photos: Sequence[Path]) -> None:
    (shell.folder / "small.yaml").write_text(RESIZE)
    code, text = on_terminal(shell.folder, "run", "small.yaml", "photos/*.jpg", "--local")
    assert code == 0
    assert "\x1b[" in text and "━" in text and "  small" in text and "✓ photos/photo 1.jpg: completed" in text


@pytest.mark.parametrize(("allowed", "code"), [(True, 0), (False, 1)])
async def test_a_run_here_calls_what_the_one_project_may(
    allowed: bool, code: int, shell: Shell, photos: Sequence[Path]
) -> None:
    project = f"{{allow_private_urls: {str(allowed).lower()}, secrets: {{key: 'env:HOOK_KEY'}}}}"
    (shell.folder / "safelight.yaml").write_text(f"projects: {{demo: {project}}}")
    async with listening() as outside:
        flow = f"""\
nodes:
  photo: {{type: input}}
  tell: {{type: notify, url: "{outside.url}/hook", headers: {{X-Key: "{{secrets.key}}"}}}}
"""
        (shell.folder / "tell.yaml").write_text(flow)
        asked = partial(shell.json, "run", "tell.yaml", photos[0], "--local", check=code, HOOK_KEY="k3y-value")
        run = await asyncio.to_thread(asked)
        assert [heard.headers["X-Key"] for heard in outside.heard] == ["k3y-value"] * allowed
    assert (run["error"] or {}).get("code") == (None if allowed else "ADDRESS_REFUSED")
    assert "k3y-value" not in str(run)


async def test_without_a_project_nothing_on_this_machine_is_called(shell: Shell, photos: Sequence[Path]) -> None:
    async with listening() as outside:
        flow = f'nodes:\n  photo: {{type: input}}\n  tell: {{type: notify, url: "{outside.url}/hook"}}\n'
        (shell.folder / "tell.yaml").write_text(flow)
        run = await asyncio.to_thread(shell.json, "run", "tell.yaml", photos[0], "--local", check=1)
        assert run["error"]["code"] == "ADDRESS_REFUSED" and outside.heard == []
