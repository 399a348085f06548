"""`safelight config`: what is set, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Exit, Json, say, say_json
from pipeline.cli.target import Data, settings_here

commands = typer.Typer(name="config", help="Show and check the settings.", no_args_is_help=True)

Config = Annotated[
    Path | None, typer.Option("--config", help="A config file; else SAFELIGHT_CONFIG or safelight.yaml.")
]


@commands.command()
def show(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Show every setting as it is in force here; of secrets only the first four characters."""
    settings = settings_here(data, config).shown()
    if as_json:
        say_json(settings)
        return
    for name, value in settings.items():
        say(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@commands.command()
def check(config: Config = None, as_json: Json = False) -> None:
    """Check config file and environment; prints `file:line:col CODE message hint` and exits with 1 for a fault."""
    from pipeline.settings import check_settings

    complaints = check_settings(config)
    if as_json:
        say_json({"complaints": [vars(complaint) for complaint in complaints]})
    else:
        for complaint in complaints:
            say(str(complaint))
        if not complaints:
            say("The settings are sound.")
    if complaints:
        raise typer.Exit(Exit.FAILED)
