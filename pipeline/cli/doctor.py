"""`safelight doctor`: whether everything a server stands on is there and safe to stand on."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import typer

from pipeline.cli.console import Exit, Json, console, run_async, say_json
from pipeline.cli.target import Data, settings_here
from pipeline.errors import SafelightError

if TYPE_CHECKING:
    from pipeline.core import Core
    from pipeline.settings import Settings

commands = typer.Typer()

LITTLE_DISK = 2**30
"""Free bytes below which a warning is due."""
SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and how it is."""

    subject: str
    state: Literal["ok", "warning", "fault"]
    message: str


@commands.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Examine settings, Redis, storages, image library, sandbox and disk; exits with 1 when something is broken."""
    settings = settings_here(data)
    findings = [
        Finding("settings", "ok", f"{len(settings.projects)} projects, data in {settings.data_dir}"),
        *run_async(_connected(settings)),
        *images(),
        *faces(settings),
        sandbox(),
        disk(settings),
        flows(settings),
    ]
    if as_json:
        say_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _tell(findings)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _tell(findings: Sequence[Finding]) -> None:
    speaker = console()
    for finding in findings:
        sign, style = SIGNS[finding.state]
        speaker.print(f"{sign} {finding.subject}: {finding.message}", style=style, markup=False)


async def _connected(settings: Settings) -> list[Finding]:
    from pipeline.core import open_core

    async with open_core(settings) as core:
        return [*await redis(core), *await storages(core)]


async def redis(core: Core) -> list[Finding]:
    """Whether the record server answers, keeps what it is told and forgets nothing by itself."""
    answer = await _checked("Redis", core.records.check(), "it answers")
    if answer.state == "fault":
        return [answer]
    warnings = await core.records.durability()
    safe = Finding("Redis durability", "ok", "append-only file is on, nothing is evicted")
    return [answer, *([Finding("Redis durability", "warning", text) for text in warnings] or [safe])]


async def storages(core: Core) -> list[Finding]:
    """Whether every storage answers and takes writes."""
    return [
        await _checked(f"storage `{name}`", storage.check(), "it answers and takes writes")
        for name, storage in core.storages.items()
    ]


async def _checked(subject: str, check: Awaitable[None], praise: str) -> Finding:
    try:
        await check
    except SafelightError as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return Finding(subject, "fault", f"{error.message}{cause}")
    return Finding(subject, "ok", praise)


def images() -> list[Finding]:
    """Which libvips there is, and whether it reads and writes what flows need."""
    from pipeline.imaging.about import formats, libvips

    version = libvips()
    if version is None:
        return [Finding("images", "fault", "libvips cannot be loaded; install pyvips-binary")]
    missing = [name for name, known in formats().items() if not known]
    known = ", ".join(name for name, known in formats().items() if known)
    if missing:
        return [Finding("images", "fault", f"libvips {version} lacks {', '.join(missing)}; it has {known}")]
    return [Finding("images", "ok", f"libvips {version} reads and writes {known}")]


def faces(settings: Settings) -> list[Finding]:
    """Whether the model that faces are found with opens here, where one is set."""
    from pipeline.imaging.faces import finder

    if settings.face_model is None:
        return []
    try:
        finder(settings.face_model)
    except SafelightError as error:
        return [Finding("faces", "fault", error.message)]
    return [Finding("faces", "ok", f"{settings.face_model.name} finds them")]


def sandbox() -> Finding:
    """Whether the children that decode images can be cut off from the network."""
    from pipeline.imaging.confine import network_stays_open

    why = network_stays_open()
    if why is not None:
        return Finding("sandbox", "warning", f"image work is not cut off from the network: {why}")
    return Finding("sandbox", "ok", "image work is cut off from the network")


def disk(settings: Settings) -> Finding:
    """How much room the data folder has."""
    folder = next(each for each in (settings.data_dir, *settings.data_dir.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    message = f"{free / 2**30:.1f} GiB free at {folder}"
    return Finding("disk", "warning" if free < LITTLE_DISK else "ok", message)


def flows(settings: Settings) -> Finding:
    """Whether the flows folder is there and sound."""
    from pipeline.cli.flows import complaints_of

    folder = settings.flows_dir
    if not folder.is_dir():
        return Finding("flows", "warning", f"there is no folder {folder}")
    files = sorted(folder.glob("*.yaml"))
    complaints = [str(complaint) for file in files for complaint in complaints_of(file)]
    if complaints:
        return Finding("flows", "warning", "; ".join(complaints))
    return Finding("flows", "ok", f"{len(files)} in {folder}, all sound")
