"""`safelight up`: how the group starts, survives and ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, PHOTO, ROOT, Shell, Up, alive, descendants, environ, running, until

ONE_CHILD = {"SAFELIGHT_SANDBOX_CHILDREN": "1"}


def status(up: Up, path: str) -> int:
    """The status of a GET, 0 when nobody answers."""
    try:
        with urllib.request.urlopen(up.address + path, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def pid_of(up: Up, *words: str) -> int:
    """The one process under `up` whose command line has these words; a part that died has another than `up` noted."""
    found = [pid for pid in descendants(up.program.pid) if alive(pid) and set(words) <= set(words_of(pid))]
    assert len(found) == 1, found
    return found[0]


def words_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def own(own_folder: Path) -> Iterator[Up]:
    """A server whose parts may be killed: it has them again afterwards."""
    with running(own_folder, **ONE_CHILD) as started:
        yield started
        assert started.stop() == 0


def test_it_starts_ready_and_ends_clean(tmp_path: Path) -> None:
    with running(tmp_path, "--web", "2", "--workers", "2", **ONE_CHILD) as up:
        assert set(up.note["pids"]) == {"valkey", "web-1", "web-2", "worker-1", "worker-2"}
        assert status(up, "/readyz") == 200
        shell = Shell(tmp_path)
        assert shell.json("run", "profile-picture", PHOTO)["status"] == "completed"
        family = descendants(up.program.pid)
        assert set(up.note["pids"].values()) <= family
        socket_file = tmp_path / "data" / "valkey" / "valkey.sock"
        assert stat.S_IMODE(socket_file.stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "up.json").stat().st_mode) == 0o600
        assert up.stop(signal.SIGINT) == 0
        assert not any(map(alive, family)) and not (tmp_path / "data" / "up.json").exists()
        assert up.log.read_text() == ""  # the happy path is quiet


def test_a_run_is_followed_across_a_web_process_that_dies(own: Up, own_folder: Path) -> None:
    worker, web = pid_of(own, "workers"), pid_of(own, "web")
    os.kill(worker, signal.SIGSTOP)
    words = [COMMAND, "run", "profile-picture", PHOTO, "--out", "saved"]
    run = subprocess.Popen(words, cwd=own_folder, env=environ(), stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline().endswith(": queued\n")
    os.kill(web, signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and "square completed" in rest and "completed, run" in rest


def test_children_that_die_are_started_again(own: Up, own_folder: Path) -> None:
    shell = Shell(own_folder)
    until(lambda: status(own, "/readyz") == 200)
    run = shell.json("run", "profile-picture", PHOTO)
    for name, words in (("web-1", ("web",)), ("worker-1", ("workers",)), ("valkey", ())):
        before = told_again(own, name)
        os.kill(pid_of(own, *words) if words else own.note["pids"][name], signal.SIGKILL)
        until(lambda name=name, before=before: told_again(own, name) == before + 1)
    until(lambda: status(own, "/readyz") == 200)
    assert shell.json("run", "profile-picture", PHOTO)["status"] == "completed"
    assert shell.json("runs", "show", run["id"])["status"] == "completed"


def told_again(up: Up, name: str) -> int:
    return up.log.read_text().count(f"{name:<9}| was ended by SIGKILL; starting it again")


def test_nothing_outlives_a_killed_up_and_records_outlive_it_and_a_restart_and_a_lost_redis(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with running(tmp_path, **ONE_CHILD) as up:
        run = shell.json("run", "profile-picture", PHOTO)
        key = up.key
        family = descendants(up.program.pid)
        assert len(family) > 3  # with the children of the sandboxes
        up.stop(signal.SIGKILL)
    ids = [*run["inputs"]["photo"], run["outputs"][0]["id"]]
    with running(tmp_path, "--workers", "0") as up:  # at once: it waits until the old Valkey has written its last byte
        until(lambda: not any(map(alive, family)))
        assert shell.json("runs", "show", run["id"])["status"] == "completed"
        assert up.key == key
        before = [without_url(shell.json("files", "show", id)) for id in ids]
        assert up.stop() == 0
    with running(tmp_path, "--workers", "0") as up:
        assert up.key == key
        assert [without_url(shell.json("files", "show", id)) for id in ids] == before
        assert up.stop() == 0
    shutil.rmtree(tmp_path / "data" / "valkey")
    with running(tmp_path, "--workers", "0"):
        shell("files", "show", ids[0], check=2)
        (found,) = shell.json("index", "rebuild")["items"]
        assert (found["storage"], found["restored"], found["known"], found["unsound"]) == ("default", 2, 0, 0)
        assert [without_url(shell.json("files", "show", id)) for id in ids] == before


def without_url(file: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name != "url"}


def test_a_second_up_on_the_same_folder_is_refused_in_one_line(own: Up, own_folder: Path) -> None:
    until(lambda: status(own, "/readyz") == 200)
    done = Shell(own_folder)("up", "--port", "0", check=1)
    error, hint = done.stderr.splitlines()
    assert "already runs on the data folder" in error and f"(pid {own.program.pid}, {own.address})" in error
    assert "--data" in hint
    assert status(own, "/readyz") == 200


def test_a_taken_port_is_refused_in_one_line(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell("up", "--port", port, check=1)
    assert done.stderr.splitlines()[0] == f"error: The port {port} on 127.0.0.1 is taken by another program."


def test_a_web_process_alone_refuses_a_taken_port_too(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell("web", "--port", taken.getsockname()[1], check=1)
    assert "is taken by another program." in done.stderr.splitlines()[-2]


def test_a_data_folder_that_cannot_be_is_refused(shell: Shell) -> None:
    (shell.folder / "data").write_text("a file")
    assert shell("up", "--port", "0", check=1).stderr.startswith("error: The data folder ")


def test_a_web_process_that_cannot_start_ends_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import os, sys\nif 'web' in sys.orig_argv:\n    os._exit(3)\n")
    variables = environ() | {"PYTHONPATH": str(broken)}
    done = subprocess.run(
        [COMMAND, "up", "--port", "0"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "error: The part web-1 does not start." in done.stderr


def test_it_says_why_it_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "safelight.yaml").write_text("storages: {default: 'file:///proc/nowhere'}\n")
    log = tmp_path / "log"
    with log.open("w") as stderr:
        words = [COMMAND, "up", "--port", "0", "--workers", "0"]
        program = subprocess.Popen(words, cwd=tmp_path, env=environ(), stderr=stderr)
    until(lambda: "web      | is not ready yet: storage `default`" in log.read_text())
    program.terminate()
    assert program.wait(60) == 0


def test_a_config_file_in_the_folder_is_used_and_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    key = "uk_live_00000000000000000000000000000000"
    data = tmp_path / ("long" * 20)
    (tmp_path / "safelight.yaml").write_text(f"data_dir: {data}\nprojects: {{shop: {{api_keys: [{key}]}}}}\n")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "keep.yaml").write_text(
        'nodes:\n  photo: {type: input}\n  out: {type: save, path: "kept.png"}\n'
    )
    with running(tmp_path, **ONE_CHILD) as up:
        assert up.note["project"] == "shop" and up.key == key
        assert up.note["flows"] == str(tmp_path / "flows") and up.note["data"] == str(data)
        assert not (data / "safelight.yaml").exists()
        private = Path(up.note["redis_url"].removeprefix("unix://")).parent
        assert not private.is_relative_to(tmp_path) and stat.S_IMODE(private.stat().st_mode) == 0o700
        assert Shell(tmp_path).json("run", "keep", PHOTO)["outputs"][0]["path"] == "kept.png"
        assert up.stop() == 0 and not private.exists()


def test_the_banner_tells_a_person_what_to_do(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [COMMAND, "up", "--port", "0", "--workers", "0"], cwd=ROOT / "docs",
        env=environ(SAFELIGHT_DATA_DIR=str(tmp_path / "data")),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert program.stdout is not None
    lines = []
    while not (lines and lines[-1].startswith("Ctrl-C")):
        lines.append(program.stdout.readline())
        assert lines[-1], program.stderr and program.stderr.read()
    program.terminate()
    program.communicate(timeout=60)
    text = "".join(lines)
    config = (tmp_path / "data" / "safelight.yaml").read_text()
    for name in ("public key", "secret key", "API key"):
        key = next(line.split()[-1] for line in lines if line.strip().startswith(name))
        assert key in config
    assert "Safelight is up: http://127.0.0.1:" in text and "/docs" in text and str(tmp_path / "data") in text
    assert sum(line.strip().startswith("curl ") for line in lines) == 1 and program.returncode == 0


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [COMMAND, "up", "--json", "--port", "0"], cwd=tmp_path, env=environ(), stdout=subprocess.PIPE, text=True
    )
    until(lambda: (tmp_path / "data" / "valkey" / "valkey.sock").exists())
    family = descendants(program.pid)
    program.terminate()
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0 and out == "" and not any(map(alive, family))


def test_the_procfile_runs_under_honcho_with_an_external_redis(tmp_path: Path, redis_url: str) -> None:
    key = "uk_live_11111111111111111111111111111111"
    config = {
        "redis_url": redis_url,
        "key_prefix": "procfile:",
        "data_dir": str(tmp_path / "data"),
        "flows_dir": str(ROOT / "flows"),
        "projects": {"shop": {"api_keys": [key]}},
    }
    (tmp_path / "safelight.yaml").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (tmp_path / "honcho.log").open("w")
    program = subprocess.Popen(
        [COMMAND.parent / "honcho", "-f", ROOT / "Procfile", "-d", tmp_path, "start"],
        cwd=tmp_path, env=environ(SAFELIGHT_PORT=str(port), **ONE_CHILD), stdin=subprocess.DEVNULL,
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    up = Up(program, {"address": f"http://127.0.0.1:{port}"}, tmp_path / "honcho.log")
    try:
        until(lambda: status(up, "/readyz") == 200)
        shell = Shell(tmp_path)
        given = {"SAFELIGHT_URL": up.address, "SAFELIGHT_API_KEY": key}
        until(lambda: shell.json("flows", "ls", **given)["items"])
        assert shell.json("run", "profile-picture", PHOTO, **given)["status"] == "completed"
        family = descendants(program.pid)
    finally:
        program.terminate()
        program.wait(60)
        log.close()
    until(lambda: not any(map(alive, family)))
