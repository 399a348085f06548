"""Which server a command speaks to: options, then environment, then what `safelight up` left in the data folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.settings import Settings

Url = Annotated[
    str | None, typer.Option("--url", envvar="SAFELIGHT_URL", help="Address of the server.", show_default=False)
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="SAFELIGHT_API_KEY", help="API key of the project.", show_default=False)
]
Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="SAFELIGHT_DATA_DIR", help="Data folder; else the configured one.", file_okay=False),
]
DATA = Path("data")
NOTE = "up.json"


@dataclass(frozen=True)
class Target:
    """A server and the API key to show it."""

    address: str
    key: str


def target(url: str | None, key: str | None, data: Path | None) -> Target:
    """The server and key meant by the options, the note of a running `up`, or the settings here."""
    if url and key:
        return Target(url.rstrip("/"), key)
    # Reading settings takes longer than many a command; without a config file the note says all there is to say.
    note = None if configured(os.environ) else running(data or DATA)
    if note and note["api_key"]:
        return Target((url or note["address"]).rstrip("/"), key or note["api_key"])
    return _configured_target(url, key, data)


def _configured_target(url: str | None, key: str | None, data: Path | None) -> Target:
    settings = settings_here(data)
    note = running(settings.data_dir) or {}
    address = url or note.get("address") or settings.base_url
    keys = [known for project in settings.projects.values() for known in project.api_keys]
    return Target(address.rstrip("/"), key or next(iter(keys), ""))


def settings_here(data: Path | None, config: Path | None = None) -> Settings:
    """The settings as `safelight up` has them in this folder: the config file, else the demo's in the data folder.

    A running `up` adds its own Redis and flows folder. Raises `SettingsInvalid`.
    """
    from pipeline.settings import load_settings

    environ = dict(os.environ)
    if data is not None:
        environ["SAFELIGHT_DATA_DIR"] = str(data)
    settings = load_settings(config, environ)
    demo = settings.data_dir / "safelight.yaml"
    if config is None and not configured(environ) and demo.is_file():
        settings = load_settings(demo, environ)
    note = running(settings.data_dir)
    if note is None:
        return settings
    return settings.model_copy(update={"redis_url": note["redis_url"], "flows_dir": Path(note["flows"])})


def configured(environ: Mapping[str, str]) -> bool:
    """Whether a config file is named, or lies in the current folder."""
    return bool(environ.get("SAFELIGHT_CONFIG")) or Path("safelight.yaml").exists()


def running(data: Path) -> dict[str, Any] | None:
    """What `safelight up` noted of itself in the data folder, None unless it still runs."""
    try:
        note: dict[str, Any] = json.loads((data / NOTE).read_text())
        os.kill(note["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return note
