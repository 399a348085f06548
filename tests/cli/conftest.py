"""The real command as a subprocess, in a folder of its own, and a running `safelight up` to talk to."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

import pipeline.cli
from tests.cli.forked import forked

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "safelight"
PHOTO = ROOT / "docs" / "demo" / "photo.jpg"
SUNSET = ROOT / "tests" / "photos" / "sunset.jpg"


STARTED: set[str] = set()
"""The commands that have been started as users start them."""
COMMANDS: Mapping[str, Any] = vars(typer.main.get_command(pipeline.cli.app))["commands"]


def environ(**more: str) -> dict[str, str]:
    """The environment without any settings of ours, and with `more`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    return clean | {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"} | more


@dataclass(frozen=True)
class Shell:
    """Runs the command in one folder.

    The program itself is started when a command is given for the first time; after that it is forked where it is
    loaded already.
    """

    folder: Path

    def __call__(self, *words: object, check: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """What `safelight <words>` printed; fails unless it ended with the exit code `check`."""
        given = [*map(str, words)]
        run = forked if _command(given) in STARTED else started
        STARTED.add(_command(given))
        done = run(given, self.folder, environ(**more), 100)
        if check is not None:
            assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *words: object, check: int = 0, **more: str) -> Any:
        return json.loads(self(*words, "--json", check=check, **more).stdout)


def started(
    words: Sequence[str], folder: Path, variables: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )


def _command(words: Sequence[str]) -> str:
    """`flows ls`, `nodes`, `run --local`: what of the words chooses the code that is loaded and run."""
    chosen = words[:2] if isinstance(COMMANDS.get(words[0]), typer.core.TyperGroup) else words[:1]
    return " ".join([*chosen, *(word for word in words if word == "--local")])


def on_terminal(folder: Path, *words: object) -> tuple[int, str]:
    """Exit code and everything shown when the command runs on a terminal of 100 columns."""
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [COMMAND, *map(str, words)],
        cwd=folder,
        env=environ(TERM="xterm", COLUMNS="100"),
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    with suppress(OSError):  # reading ends with an error once the other side is closed
        while block := os.read(leader, 65536):
            shown += block
    os.close(leader)
    return program.wait(60), shown.decode()


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first truthy value of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value


def descendants(pid: int) -> set[int]:
    """Every process that `pid` started, and what those started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    """Whether the process still runs; one that is dead and only not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


@dataclass(frozen=True)
class Up:
    """A running `safelight up` and what it said of itself."""

    program: subprocess.Popen[str]
    note: dict[str, Any]
    log: Path

    @property
    def address(self) -> str:
        return str(self.note["address"])

    @property
    def key(self) -> str:
        return str(self.note["api_key"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.program.send_signal(number)
        return self.program.wait(60)


@contextmanager
def running(folder: Path, *words: object, **more: str) -> Iterator[Up]:
    """`safelight up <words>` in `folder`, ready; killed at the end if a test left it running."""
    log = folder / "up.log"
    with log.open("w") as stderr:
        program = subprocess.Popen(
            [COMMAND, "up", "--json", "--port", "0", *map(str, words)],
            cwd=folder,
            env=environ(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line, log.read_text()
        yield Up(program, json.loads(line), log)
    finally:
        if program.poll() is None:
            program.terminate()
            program.wait(60)
        if program.stdout:
            program.stdout.close()


@pytest.fixture(scope="package")
def up_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="package")
def up(up_folder: Path) -> Iterator[Up]:
    """One server for all tests that only talk to it."""
    with running(up_folder, SAFELIGHT_SANDBOX_CHILDREN="1") as started:
        yield started


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The command in an empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def safelight(up: Up, up_folder: Path) -> Shell:
    """The command in the folder of the running server, which it finds by itself."""
    return Shell(up_folder)


@pytest.fixture(scope="session")
def small_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(SUNSET) as opened:
        for number in range(1, 4):
            opened.resize((600 + number, 400)).save(folder / f"photo {number}.jpg")
    return folder


@pytest.fixture
def photos(tmp_path: Path, small_photos: Path) -> Sequence[Path]:
    """Three small photographs in a folder `photos`."""
    folder = shutil.copytree(small_photos, tmp_path / "photos")
    return sorted(folder.iterdir())
