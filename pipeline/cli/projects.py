"""`safelight projects`: the tenants that the settings name."""

from __future__ import annotations

import typer

from pipeline.cli.console import Json, say_json, say_table
from pipeline.cli.target import Data, settings_here

commands = typer.Typer()


@commands.command()
def projects(data: Data = None, as_json: Json = False) -> None:
    """List the projects of the settings, without their secrets."""
    settings = settings_here(data)
    if as_json:
        shown = settings.shown()["projects"]
        say_json({"items": [{"id": name, **project} for name, project in shown.items()], "next": None})
        return
    rows = [
        (project.id, project.storage, project.limits.max_file_size, len(project.api_keys), ", ".join(project.routes))
        for project in settings.projects.values()
    ]
    say_table(("project", "storage", "max file bytes", "API keys", "routes"), rows, "No project is configured.")
