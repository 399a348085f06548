"""`safelight files`: list, look at and remove files on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Json, say, say_json, say_table
from pipeline.cli.target import Data, Key, Url

if TYPE_CHECKING:
    from pipeline.cli.client import Client

commands = typer.Typer(name="files", help="List, look at and remove files.", no_args_is_help=True)

FileId = Annotated[str, typer.Argument(help="Id of the file.", metavar="FILE")]


@commands.command("ls")
def list_files(
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    tag: Annotated[list[str] | None, typer.Option(help="That has this tag, and every other one given.")] = None,
    folder: Annotated[str | None, typer.Option(help="In this folder; `/` is the root.")] = None,
    below: Annotated[str | None, typer.Option(help="In this folder or one in it.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--type", help="Of this type, such as image/*.")] = None,
    search: Annotated[str | None, typer.Option(help="With this in its name.")] = None,
    sort: Annotated[str, typer.Option(help="created, name or size; with `-` the last or largest first.")] = "-created",
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List and search files, newest first."""
    wanted = {"tag": tag, "folder": folder, "below": below, "type": kind, "search": search, "sort": sort}
    page = ask(url, key, data, lambda client: client.pages("/v1/files", limit, **wanted))
    if as_json:
        say_json(page)
        return
    rows = [(file["id"], file["name"], file["mime"], file["size"], file["created_at"]) for file in page["items"]]
    say_table(("file", "name", "type", "bytes", "created"), rows, "There are no files.")


@commands.command()
def show(file: FileId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show what is known of a file."""
    found = ask(url, key, data, lambda client: client.get(f"/v1/files/{file}"))
    if as_json:
        say_json(found)
        return
    for name, value in {**found, **(found["image"] or {}), "image": None}.items():
        if value not in (None, {}, ""):
            say(f"{name}: {value}")


@commands.command("rm")
def remove(
    files: Annotated[list[str], typer.Argument(help="Ids of files.", metavar="FILE...")],
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Delete files, their bytes and their records."""

    async def delete(client: Client) -> list[Any]:
        return [await client.delete(f"/v1/files/{file}") for file in files]

    ask(url, key, data, delete)
    if as_json:
        say_json({"deleted": files})
    else:
        say(f"deleted {', '.join(files)}")
