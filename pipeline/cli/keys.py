"""`safelight keys`: the keys of the projects, and fresh ones to put into the config file."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from pipeline.cli.console import Json, Refusal, say, say_json, say_table
from pipeline.cli.target import Data, settings_here

commands = typer.Typer(name="keys", help="Show the keys of the projects; make a fresh one.", no_args_is_help=True)


@commands.command("ls")
def list_keys(
    project: Annotated[str | None, typer.Argument(help="One project; left out, all of them.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the keys of the projects, in full: whoever may read the settings may read them."""
    projects = settings_here(data).projects
    if project is not None and project not in projects:
        raise Refusal(f"There is no project `{project}`.", f"there are: {', '.join(projects) or 'none'}.")
    chosen = [each for each in projects.values() if project in (None, each.id)]
    if as_json:
        say_json(
            {"items": [each.model_dump(include={"id", "public_key", "secret_key", "api_keys"}) for each in chosen]}
        )
        return
    rows = [(each.id, each.public_key, each.secret_key, ", ".join(each.api_keys)) for each in chosen]
    say_table(("project", "public key", "secret key", "API keys"), rows, "No project is configured.")


@commands.command()
def new(as_json: Json = False) -> None:
    """Print a fresh API key; it is known once it stands in the config file."""
    key = f"uk_live_{secrets.token_hex(16)}"
    if as_json:
        say_json({"api_key": key})
    else:
        say(key)
