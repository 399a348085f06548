"""The commands that need no server."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from pipeline.cli import GROUPS
from tests.cli.conftest import PHOTO, ROOT, Shell, environ

SOUND = """\
title: Small
nodes:
  photo: {type: input}
  small: {type: resize, width: 100}
  out: {type: save, path: "{file.stem}.webp"}
"""
BROKEN = """\
nodes:
  photo: {type: input}
  small: {type: resise, width: 100}
  out: {type: save, path: "{file.stm}.webp"}
"""


def test_starting_the_command_loads_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'pydantic', 'pyvips', 'redis', 'arq', 'asyncio', 'rich.progress', 'PIL', 'pipeline.core'}"
    code = f"import pipeline.cli, sys; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ(), check=True)
    assert done.stdout.strip() == ""


def test_help_names_every_group(shell: Shell) -> None:
    text = shell("--help").stdout
    for group in GROUPS:
        names = [group.info.name] if isinstance(group.info.name, str) else [c.name for c in group.registered_commands]
        for name in filter(None, names):
            assert f" {name} " in text


def test_unknown_option_is_a_usage_error(shell: Shell) -> None:
    done = shell("up", "--prot", "1", check=2)
    assert "--prot" in done.stderr


def test_check_of_the_shipped_flows_is_clean(shell: Shell) -> None:
    done = shell("flows", "check", ROOT / "flows")
    assert "nothing to complain about" in done.stdout
    assert shell.json("flows", "check", ROOT / "flows")["complaints"] == []


def test_check_prints_file_line_column_code_message_and_hint(shell: Shell) -> None:
    (shell.folder / "flows").mkdir()
    (shell.folder / "flows" / "small.yaml").write_text(BROKEN)
    (shell.folder / "flows" / "sound.yaml").write_text(SOUND)
    lines = shell("flows", "check", check=1).stdout.splitlines()
    assert lines[0] == (
        "flows/small.yaml:3:17 NODE_TYPE_UNKNOWN There is no node type `resise`. Did you mean `resize`?"
    )
    assert lines[1].startswith("flows/small.yaml:4:27 PLACEHOLDER_UNKNOWN")
    complaints = shell.json("flows", "check", "flows/small.yaml", check=1)["complaints"]
    assert [(c["line"], c["code"]) for c in complaints] == [(3, "NODE_TYPE_UNKNOWN"), (4, "PLACEHOLDER_UNKNOWN")]


def test_check_of_what_is_not_there_is_a_usage_error(shell: Shell) -> None:
    assert (
        shell("flows", "check", "nowhere.yaml", check=2).stderr == "error: There is no file or folder `nowhere.yaml`.\n"
    )


def test_show_tells_nodes_and_params(shell: Shell) -> None:
    shown = shell.json("flows", "show", ROOT / "flows" / "product-images.yaml")
    assert shown["nodes"]["out"]["sources"] == ["thumb", "marked"]
    assert shown["nodes"]["thumb"]["parameters"]["width"] == 320
    assert shown["schedule"] is None
    text = shell("flows", "show", ROOT / "flows" / "product-images.yaml").stdout
    assert "thumb, marked" in text and "Product images" in text


def test_show_tells_when_a_flow_runs_by_itself(shell: Shell) -> None:
    schedule = 'schedule: {cron: "30 2 * * *", timezone: Asia/Tokyo, files: {}}\n'
    (shell.folder / "nightly.yaml").write_text(schedule + SOUND.replace("type: input", "type: input, many: true"))
    shown = shell.json("flows", "show", "nightly.yaml")["schedule"]
    assert (shown["cron"], shown["timezone"], shown["files"]) == ("30 2 * * *", "Asia/Tokyo", {})
    assert shown["next"].endswith("T02:30:00+09:00")
    text = shell("flows", "show", "nightly.yaml").stdout
    assert f"runs by itself at 30 2 * * * (Asia/Tokyo), next {shown['next']}" in " ".join(text.split())


def test_a_starter_flow_is_found_by_its_id(shell: Shell) -> None:
    assert shell.json("flows", "show", "profile-picture")["id"] == "profile-picture"


def test_an_unsound_flow_is_shown_as_its_complaints(shell: Shell) -> None:
    (shell.folder / "small.yaml").write_text(BROKEN)
    done = shell("flows", "show", "small.yaml", check=2)
    assert "small.yaml:3:17 NODE_TYPE_UNKNOWN" in done.stderr


def test_graph_prints_mermaid_and_writes_svg(shell: Shell) -> None:
    (shell.folder / "small.yaml").write_text(SOUND)
    text = shell("flows", "graph", "small.yaml").stdout
    assert text.startswith("flowchart") and "n_photo --> n_small" in text
    shell("flows", "graph", "small.yaml", "--svg", "small.svg")
    root = ET.parse(shell.folder / "small.svg").getroot()
    assert root.tag.endswith("svg") and "small" in "".join(root.itertext())


def test_nodes_lists_types_and_shows_one(shell: Shell) -> None:
    assert {"input", "resize", "save"} <= {each["type"] for each in shell.json("nodes")["items"]}
    assert "width" in shell.json("nodes", "resize")["parameters"]["properties"]
    assert "width" in shell("nodes", "resize").stdout
    done = shell("nodes", "resise", check=2)
    assert done.stderr.splitlines() == ["error: There is no node type `resise`.", "hint: Did you mean `resize`?"]


def test_config_check_names_line_and_nearest_key(shell: Shell) -> None:
    assert shell("config", "check").stdout == "The settings are sound.\n"
    (shell.folder / "safelight.yaml").write_text("host: 127.0.0.1\nprot: 80\n")
    assert "safelight.yaml:2:1 KEY_UNKNOWN" in shell("config", "check", check=1).stdout
    done = shell("config", "show", check=2)
    assert done.stderr.startswith("error: safelight.yaml:2:1 KEY_UNKNOWN") and "`port`" in done.stderr


def test_config_show_hides_secrets(shell: Shell) -> None:
    (shell.folder / "safelight.yaml").write_text(
        "projects: {shop: {secret_key: verysecretthing, api_keys: [abcdefghij]}}\n"
    )
    shown = shell("config", "show").stdout
    assert "verysecretthing" not in shown and "abcdefghij" not in shown
    assert shell.json("projects")["items"][0]["id"] == "shop"
    assert shell.json("keys", "ls", "shop")["items"][0]["secret_key"] == "verysecretthing"
    assert shell("keys", "ls", "shap", check=2).stderr.startswith("error: There is no project `shap`.")


def test_a_fresh_key_is_new_each_time(shell: Shell) -> None:
    first, second = (shell.json("keys", "new")["api_key"] for _ in range(2))
    assert first != second and first.startswith("uk_live_") and len(first) == 40


def test_doctor_without_redis_says_so(shell: Shell) -> None:
    findings = shell.json("doctor", check=1, SAFELIGHT_REDIS_URL="redis://127.0.0.1:1/0")["findings"]
    states = {finding["subject"]: finding["state"] for finding in findings}
    assert states["Redis"] == "fault" and states["images"] == "ok" and states["storage `default`"] == "ok"


def test_procfile_runs_our_commands() -> None:
    assert Path(ROOT / "Procfile").read_text() == "web: safelight web\nworker: safelight worker\n"


def test_explain_tells_how_small_a_photo_is_decoded(shell: Shell) -> None:
    found = shell.json("flows", "explain", str(ROOT / "flows/product-images.yaml"), PHOTO)
    steps = found["items"]
    decode = next(step for step in steps if step["act"] == "decode")
    assert decode["node"] == "photo"
    assert "5312 x 2988, decoded as 2656 x 1494" in decode["how"] and "streamed" in decode["how"]
    assert decode["pixels"] == 2656 * 1494
    how = {step["node"]: step["how"] for step in steps if step["act"] == "make"}
    assert how["thumb"] == "resize to 320 x 320, derived from full"
    assert how["full"] == "resize to 1600 x 900, held in memory"
    encoded = [step["how"] for step in steps if step["act"] == "encode"]
    assert encoded == ["thumb as webp, 320 x 320", "marked as webp, 1600 x 900"]
    # The coefficients of a progressive photo, 4:2:0: three bytes for each pixel it has.
    assert decode["memory"] > 5312 * 2988 * 3
    assert max(step["memory"] for step in steps) < found["peak"] < sum(step["memory"] for step in steps) + 2**25


def test_explain_says_how_much_memory_is_alive_at_once(shell: Shell) -> None:
    said = shell("flows", "explain", str(ROOT / "flows/profile-picture.yaml"), PHOTO).stdout
    peak = shell.json("flows", "explain", str(ROOT / "flows/profile-picture.yaml"), PHOTO)["peak"]
    assert f"At its peak about {peak / 1e6:.1f} MB of memory beside what a child needs idle." in " ".join(said.split())


def test_explain_tells_which_way_a_file_goes(shell: Shell) -> None:
    found = shell.json("flows", "explain", str(ROOT / "flows/document-upload.yaml"), str(ROOT / "LICENSE"))
    steps = found["items"]
    assert found["peak"] == 0
    assert [(step["act"], step["node"]) for step in steps if step["act"] in ("skip", "pass on")] == [
        ("skip", "page"), ("skip", "scan"), ("skip", "preview"), ("pass on", "out"),
    ]  # fmt: skip
