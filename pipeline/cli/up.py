"""`safelight up`: an embedded Valkey, web processes and workers as one supervised group, ready in seconds."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import Json, say, say_json
from pipeline.cli.starter import DEMO_FLOW, demo_photo, flows_folder
from pipeline.cli.target import Data, configured

if TYPE_CHECKING:
    from pipeline.cli.group import Parts
    from pipeline.settings import Settings

commands = typer.Typer()


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; None leaves it to the settings."""

    data: Path | None
    host: str | None
    port: int | None
    workers: int
    webs: int
    verbose: bool
    as_json: bool


@commands.command()
def up(
    port: Annotated[int | None, typer.Option(help="Port of the web server; 0 takes any free one.", max=65535)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    data: Data = None,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=0, max=256)] = 1,
    web: Annotated[int, typer.Option(help="Web processes; they share the port.", min=1, max=64)] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show all that the parts log.")] = False,
    as_json: Json = False,
) -> None:
    """Start everything: Redis (embedded), web and workers, as one group that stops together.

    Without a config file it makes a project `demo` with fresh keys in the data folder.
    """
    from pipeline.cli.console import run_async

    run_async(_up(Wish(data, host, port, workers, web, verbose, as_json)))


WIDGET = "node_modules/@uploadcare/file-uploader/web"
"""Where npm puts the files of the widget for `/demo`."""


async def _up(wish: Wish) -> None:
    from contextlib import ExitStack

    from pipeline.cli.claim import claimed, noted
    from pipeline.cli.embedded import redis_url, socket_in
    from pipeline.cli.group import Parts, listening
    from pipeline.settings import demo_settings

    environ, settings = _settled(wish)
    with ExitStack() as stack:
        claim = stack.enter_context(claimed(settings.data_dir))
        door = stack.enter_context(listening(settings.host, settings.port))
        path = stack.enter_context(socket_in(settings.data_dir))
        if not configured(environ):
            environ["SAFELIGHT_CONFIG"] = str(demo_settings(settings.data_dir))
        environ |= {"SAFELIGHT_REDIS_URL": redis_url(path), "SAFELIGHT_PORT": str(door.getsockname()[1])}
        flows = flows_folder(settings.flows_dir, settings.data_dir)
        environ["SAFELIGHT_FLOWS_DIR"] = str(flows)
        settings = _reloaded(environ)
        parts = Parts(settings, environ, door, path, claim)
        async with parts.running(wish.webs, wish.workers) as stopped:
            if not stopped.is_set():
                note = _note(settings, parts)
                stack.enter_context(noted(settings.data_dir, note))
                _announce(wish, note)
                await stopped.wait()


def _settled(wish: Wish) -> tuple[dict[str, str], Settings]:
    """The environment that every part gets, and the settings they will read from it."""
    environ = dict(os.environ)
    given = {"DATA_DIR": wish.data, "HOST": wish.host, "PORT": wish.port}
    environ |= {f"SAFELIGHT_{name}": str(value) for name, value in given.items() if value is not None}
    if not wish.verbose:
        environ.setdefault("SAFELIGHT_LOG_LEVEL", "warning")
    settings = _reloaded(environ)
    environ["SAFELIGHT_DATA_DIR"] = str(settings.data_dir)
    environ.setdefault("SAFELIGHT_DEMO_WIDGET", str(settings.demo_widget or settings.data_dir / "demo" / WIDGET))
    return environ, settings


def _reloaded(environ: Mapping[str, str]) -> Settings:
    from pipeline.settings import load_settings

    return load_settings(environ=environ)


def _note(settings: Settings, parts: Parts) -> dict[str, Any]:
    project = next(iter(settings.projects.values()), None)
    key = project.api_keys[0] if project and project.api_keys else None
    return {
        "address": settings.base_url,
        "project": project.id if project else None,
        "public_key": project.public_key if project else None,
        "secret_key": project.secret_key if project else None,
        "api_key": key,
        "curl": curl(settings.base_url, key) if key else None,
        "data": str(settings.data_dir),
        "flows": str(settings.flows_dir),
        "redis_url": settings.redis_url,
        "pid": os.getpid(),
        "pids": parts.pids,
    }


def _announce(wish: Wish, note: Mapping[str, Any]) -> None:
    if wish.as_json:
        say_json(note)
        return
    rows = {
        "docs": f"{note['address']}/docs",
        "demo": f"{note['address']}/demo",
        "project": note["project"],
        "public key": note["public_key"],
        "secret key": note["secret_key"],
        "API key": note["api_key"],
        "data": note["data"],
        "flows": note["flows"],
    }
    say(f"\nSafelight is up: {note['address']}\n")
    for name, value in rows.items():
        if value is not None:
            say(f"  {name:<11} {value}")
    if note["curl"]:
        say(f"\nTry it in another shell, in this folder:\n\n  {note['curl']}\n")
    say("Ctrl-C stops it.")


def curl(address: str, key: str) -> str:
    """One line that runs the demo flow on a photo and waits for the outputs."""
    photo = demo_photo()
    words = ["curl", "-sS", "-H", f"Authorization: Bearer {key}"]
    words += ["-F", f"photo=@{photo or 'YOUR-PHOTO.jpg'}", f"{address}/v1/flows/{DEMO_FLOW}/runs?wait=20"]
    return shlex.join(words)
