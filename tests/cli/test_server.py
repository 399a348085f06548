"""The commands that talk to a server, against a real `safelight up`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import PHOTO, ROOT, Shell, Up, environ, on_terminal, until

TWO = """\
nodes:
  photo: {type: input}
  logo: {type: input, required: false}
  marked: {type: watermark, from: {image: photo, mark: logo}, scale: 0.5}
  out: {type: save, path: "{file.stem}.png"}
"""
FAILS = """\
nodes:
  photo: {type: input}
  region: {type: crop, region: {left: 5000, top: 5000, width: 10, height: 10}}
  out: {type: save, path: "x.png"}
"""

SCANS = """\
retry: {times: 1}
nodes:
  photo: {type: input}
  clean: {type: scan, socket: /nowhere}
  out: {type: save, from: photo, path: "x.png"}
"""


# run


def test_a_run_saves_its_outputs(safelight: Shell, tmp_path: Path) -> None:
    run = safelight.json("run", "profile-picture", PHOTO, "--out", tmp_path / "saved", "--param", "size=300")
    (output,) = run["outputs"]
    assert run["status"] == "completed" and run["params"] == {"size": 300}
    assert Path(output["saved"]).is_relative_to(tmp_path / "saved")
    with Image.open(output["saved"]) as picture:
        assert picture.format == "WEBP" and picture.size == (300, 300)
    assert [path for path in (tmp_path / "saved").rglob("*") if path.is_file()] == [Path(output["saved"])]


def test_a_run_prints_steps_and_addresses(safelight: Shell, up: Up) -> None:
    lines = safelight("run", "profile-picture", PHOTO).stdout.splitlines()
    assert lines[0] == f"{PHOTO}: queued" and any("square completed in" in line for line in lines)
    assert lines[-1].strip().startswith(f"{up.address}/v1/files/")


def test_a_terminal_shows_a_bar_for_bytes_and_nodes(safelight: Shell) -> None:
    code, text = on_terminal(safelight.folder, "run", "profile-picture", PHOTO)
    assert code == 0 and "━" in text and "  square" in text and "completed, run" in text


def test_many_files_run_side_by_side(safelight: Shell, photos: Sequence[Path]) -> None:
    text = safelight("run", "profile-picture", f"{photos[0].parent}/*.jpg", "--json", "--parallel", "3").stdout
    runs = [json.loads(line) for line in text.splitlines()]
    assert sorted(run["files"][0] for run in runs) == [str(photo) for photo in photos]
    assert {run["status"] for run in runs} == {"completed"} and len({run["id"] for run in runs}) == 3


def test_an_input_of_many_gets_all_files(safelight: Shell, photos: Sequence[Path]) -> None:
    run = safelight.json("run", "archive", *photos)
    assert [len(ids) for ids in run["inputs"].values()] == [3] and run["outputs"][0]["mime"] == "application/zip"


def test_a_file_flow_is_pushed_and_its_inputs_are_named(
    safelight: Shell, photos: Sequence[Path], tmp_path: Path
) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    Image.new("RGB", (40, 40), "blue").save(tmp_path / "logo.png")
    words = (f"photo={photos[0]}", f"photo={photos[1]}", f"logo={tmp_path / 'logo.png'}")
    done = safelight("run", tmp_path / "two.yaml", *words, "--json", "--out", tmp_path / "out")
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(run["inputs"]) for run in runs] == [{"photo", "logo"}] * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photo 1.png", "photo 2.png"]
    assert "two" in done.stderr and "active version" in done.stderr
    refused = safelight("run", "two", photos[0], check=2)
    assert "Which input" in refused.stderr and "photo, logo" in refused.stderr


def test_metadata_and_queue_reach_the_run(safelight: Shell, photos: Sequence[Path], tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text(
        'nodes:\n  photo: {type: input}\n  out: {type: save, path: "{metadata.who}/a.png"}\n'
    )
    run = safelight.json("run", tmp_path / "meta.yaml", photos[0], "--metadata", "who=ann", "--queue", "interactive")
    assert run["outputs"][0]["path"] == "ann/a.png"


def test_a_failed_run_ends_with_1(safelight: Shell, photos: Sequence[Path], tmp_path: Path) -> None:
    (tmp_path / "fails.yaml").write_text(FAILS)
    run = safelight.json("run", tmp_path / "fails.yaml", photos[0], check=1)
    assert run["status"] == "failed" and run["error"]["node"] == "region"
    assert "at node region" in safelight("run", "fails", photos[0], check=1).stderr


def test_a_refused_file_ends_with_2_and_the_others_go_on(
    safelight: Shell, photos: Sequence[Path], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("hello")
    done = safelight("run", "profile-picture", tmp_path / "note.txt", photos[0], check=2)
    assert done.stderr.startswith(f"error: {tmp_path / 'note.txt'}: refused, TYPE_NOT_ALLOWED")
    assert f"✓ {photos[0]}: completed" in done.stdout


def test_a_large_file_of_a_wrong_type_is_a_clean_refusal(safelight: Shell, tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(200_000_000)
    assert "TYPE_NOT_ALLOWED" in safelight("run", "profile-picture", tmp_path / "large.bin", check=2).stderr


def test_exit_codes_tell_what_is_wrong(safelight: Shell, up: Up) -> None:
    assert "There is no flow `nope`" in safelight("run", "nope", PHOTO, check=2).stderr
    assert "`sise`" in safelight("run", "profile-picture", PHOTO, "-p", "sise=3", check=2).stderr
    assert (
        "does not answer"
        in safelight("run", "nope", PHOTO, "--url", "http://127.0.0.1:1", "--key", "x", check=3).stderr
    )
    assert "not known" in safelight("run", "nope", PHOTO, "--key", "x", check=4).stderr
    assert safelight("flows", "ls", "--url", "nonsense", "--key", "x", check=2).stderr.startswith("error: `nonsense`")


def test_environment_names_server_and_key(shell: Shell, up: Up) -> None:
    given = {"SAFELIGHT_URL": up.address, "SAFELIGHT_API_KEY": up.key}
    assert shell.json("run", "profile-picture", PHOTO, **given)["status"] == "completed"
    assert "does not answer" in shell("runs", "ls", check=3).stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_pasted_curl_line_runs_the_photo(up: Up, up_folder: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", up.note["curl"]], cwd=up_folder, env=environ(), capture_output=True, text=True, check=True
    )
    run = json.loads(done.stdout)
    assert run["status"] == "completed" and run["outputs"][0]["mime"] == "image/webp"


# flows, runs, files, queues, workers


def test_starter_flows_are_served(safelight: Shell, up: Up, up_folder: Path) -> None:
    assert Path(up.note["flows"]) == up_folder / "data" / "flows"
    served = {flow["id"] for flow in safelight.json("flows", "ls")["items"]}
    assert {file.stem for file in (ROOT / "flows").glob("*.yaml")} <= served


def test_flows_are_pushed_pulled_switched_and_paused(safelight: Shell, photos: Sequence[Path], tmp_path: Path) -> None:
    file = tmp_path / "turns.yaml"
    text = '# kept\nnodes:\n  photo: {type: input}\n  out: {type: save, path: "a.png"}\n'
    file.write_text(text)
    first = safelight.json("flows", "push", file)
    file.write_text(text.replace("a.png", "b.png"))
    second = safelight.json("flows", "push", file, "--draft")
    assert first["active"] and not second["active"]
    assert safelight("flows", "pull", "turns").stdout == text
    safelight("flows", "pull", "turns", "--version", second["version"], "--out", tmp_path / "pulled.yaml")
    assert (tmp_path / "pulled.yaml").read_text() == file.read_text()
    assert safelight.json("flows", "activate", "turns", second["version"])["active"] == second["version"]
    assert "paused" in safelight("flows", "pause", "turns").stdout
    assert "paused" in safelight("run", "turns", photos[0], check=2).stderr
    assert safelight.json("flows", "resume", "turns")["paused"] is False
    assert safelight.json("run", "turns", photos[0])["outputs"][0]["path"] == "b.png"


def test_what_the_server_lacks_for_a_pushed_flow_is_a_warning(safelight: Shell, tmp_path: Path) -> None:
    flow = 'nodes: {photo: {type: input}, marked: {type: watermark, image: "asset:logos.png"}, out: {type: save}}'
    (tmp_path / "marked.yaml").write_text(flow)
    done = safelight("flows", "push", tmp_path / "marked.yaml")
    assert done.stdout.split()[0] == "marked" and "active" in done.stdout
    assert done.stderr == (
        "Warning: marked.yaml:1:64 ASSET_UNKNOWN There is no asset `logos.png`. Did you mean `logo.png`?\n"
    )


def test_an_unsound_flow_is_not_pushed(safelight: Shell, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("nodes:\n  photo: {type: imput}\n")
    assert "odd.yaml:2:17 NODE_TYPE_UNKNOWN" in safelight("flows", "push", tmp_path / "odd.yaml", check=2).stderr
    assert "odd" not in {flow["id"] for flow in safelight.json("flows", "ls")["items"]}


def test_runs_are_listed_shown_watched_and_retried(safelight: Shell, photos: Sequence[Path], tmp_path: Path) -> None:
    run = safelight.json("run", "profile-picture", photos[0])
    assert run["id"] in safelight("runs", "ls", "--flow", "profile-picture", "--status", "completed").stdout
    assert len(safelight.json("runs", "ls", "--limit", "1")["items"]) == 1
    assert "square" in safelight("runs", "show", run["id"]).stdout
    events = [json.loads(line)["type"] for line in safelight("runs", "watch", run["id"], "--json").stdout.splitlines()]
    assert events[0] == "run.queued" and events[-1] == "run.completed" and "node.completed" in events
    assert "already ended" in safelight("runs", "cancel", run["id"], check=2).stderr
    assert "already ended" in safelight("runs", "pause", run["id"], check=2).stderr
    assert safelight.json("runs", "retry", run["id"])["attempt"] == 2
    assert "attempt 2" in safelight("runs", "watch", run["id"]).stdout
    (tmp_path / "broken.yaml").write_text(FAILS)
    failed = safelight.json("run", tmp_path / "broken.yaml", photos[0], check=1)
    safelight("runs", "watch", failed["id"], check=1)
    assert "There is no run" in safelight("runs", "show", "8c9a6f0e-0000-4000-8000-000000000000", check=2).stderr


def test_a_run_that_waits_is_paused_and_resumed(safelight: Shell, up: Up) -> None:
    body = b'{"inputs": {"photo": {"later": true}}}'
    headers = {"Authorization": f"Bearer {up.key}", "Content-Type": "application/json"}
    url = f"{up.address}/v1/flows/profile-picture/runs"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        run = json.loads(answer.read())["id"]
    assert "not paused" in safelight("runs", "resume", run, check=2).stderr
    paused = safelight("runs", "pause", run).stdout
    assert "waiting, attempt 1, paused at" in paused and "awaits photo" in paused
    assert "awaits photo" in safelight("runs", "show", run).stdout
    assert safelight.json("runs", "resume", run)["paused_at"] is None
    assert safelight.json("runs", "cancel", run)["status"] == "cancelled"


def test_files_are_listed_shown_and_removed(safelight: Shell, photos: Sequence[Path]) -> None:
    run = safelight.json("run", "profile-picture", photos[0])
    (file_id,) = run["inputs"]["photo"]
    assert file_id in safelight("files", "ls").stdout
    assert "width: 601" in safelight("files", "show", file_id).stdout
    listed = ("files", "ls", "--folder", "/", "--type", "image/*", "--search", "PHOTO 1", "--sort", "name")
    assert file_id in [file["id"] for file in safelight.json(*listed)["items"]]
    assert safelight.json("files", "ls", "--tag", "none", "--tag", "such")["items"] == []
    assert safelight.json("files", "rm", file_id) == {"deleted": [file_id]}
    assert "There is no file" in safelight("files", "show", file_id, check=2).stderr


def test_lists_longer_than_a_page_come_whole(safelight: Shell) -> None:
    known = safelight.json("files", "ls", "--limit", "1000")
    assert known["next"] is None and len(known["items"]) == len({file["id"] for file in known["items"]})


def test_queues_and_workers_are_listed(safelight: Shell, up: Up) -> None:
    queues = safelight.json("queues", "ls")["items"]
    assert {queue["name"] for queue in queues} == {"interactive", "default", "bulk", "errands"}
    workers = until(lambda: safelight.json("workers", "ls")["items"])
    assert [worker["pid"] for worker in workers] == [up.note["pids"]["worker-1"]]
    assert "bulk" in safelight("queues", "ls").stdout and str(workers[0]["pid"]) in safelight("workers", "ls").stdout


def test_top_shows_what_goes_on(safelight: Shell, up_folder: Path, up: Up, tmp_path: Path) -> None:
    flow = tmp_path / "top-fails.yaml"
    flow.write_text(FAILS)
    safelight("flows", "push", flow)
    failed = safelight.json("run", "top-fails", PHOTO, check=1)
    flow = tmp_path / "top-scans.yaml"
    flow.write_text(SCANS)
    safelight("flows", "push", flow)
    assert safelight.json("run", "top-scans", PHOTO, check=1)["error"]["code"] == "SCANNER_UNAVAILABLE"
    now = until(lambda: (found := safelight.json("top"))["workers"] and found)
    assert {queue["name"] for queue in now["queues"]} == {"interactive", "default", "bulk", "errands"}
    assert now["workers"][0]["pid"] == up.note["pids"]["worker-1"]
    (breaker,) = now["breakers"]
    assert (breaker["place"], breaker["state"], breaker["failures"]) == ("unix:///nowhere", "closed", 1)
    (row,) = [row for row in now["failures"] if row["flow"] == "top-fails"]
    assert (row["run"], row["count"], row["code"]) == (failed["id"], 1, failed["error"]["code"])
    piped = safelight("top").stdout
    assert "top-fails" in piped and "unix:///nowhere" in piped and str(up.note["pids"]["worker-1"]) in piped
    code, shown = on_terminal(up_folder, "top", "--every", 0.1, "--times", 2)
    assert code == 0 and all(title in shown for title in ("queues", "workers", "running", "failures"))


# What looks at Redis and storage itself


def test_doctor_is_content_with_up(safelight: Shell) -> None:
    findings = safelight.json("doctor")["findings"]
    assert {finding["state"] for finding in findings} == {"ok"}, findings


def test_the_demo_project_is_shown_with_its_keys(safelight: Shell, up: Up) -> None:
    (project,) = safelight.json("keys", "ls")["items"]
    assert project["api_keys"] == [up.key] and project["public_key"] == up.note["public_key"]
    assert up.key not in safelight("projects", "--json").stdout


def test_rebuilding_leaves_records_alone_and_names_what_lies(safelight: Shell, up_folder: Path) -> None:
    safelight("run", "profile-picture", PHOTO)
    odd = up_folder / "data" / "files" / "demo" / "odd.txt"
    odd.write_text("x")
    odd.with_name("odd.txt.json").write_text("{}")
    done = safelight.json("index", "rebuild", check=1)
    odd.unlink()
    odd.with_name("odd.txt.json").unlink()
    (found,) = done["items"]
    assert found["restored"] == 0 and found["known"] >= 2 and found["unsound"] == 1
    assert done["unsound"] == ["storage `default`, demo/odd.txt.json: it does not describe the bytes beside it"]


def test_a_sweep_counts_first_and_then_removes(safelight: Shell, up_folder: Path) -> None:
    orphan = up_folder / "data/files/demo/files/ab/abcdefab-0000-4000-8000-000000000000/left.png"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    dry = safelight.json("sweep", "orphans", "--dry-run")
    assert dry == {"dry": True, "items": [{"sweep": "orphans", **NOTHING, "gone": 1}], "next": None}
    assert orphan.exists()
    assert "orphans" in safelight("sweep", "--dry-run").stdout
    assert [(row["sweep"], row["gone"]) for row in safelight.json("sweep", "orphans")["items"]] == [("orphans", 1)]
    assert not orphan.exists()
    assert [row["gone"] for row in safelight.json("sweep", "orphans")["items"]] == [0]
    assert "There is no sweep `orphan`" in safelight("sweep", "orphan", check=2).stderr


NOTHING = {"gone": 0, "postponed": 0, "spared": 0, "more": False}
