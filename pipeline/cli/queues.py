"""`safelight queues` and `safelight workers`: how much there is to do, and who does it."""

from __future__ import annotations

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Json, say_json, say_table
from pipeline.cli.target import Data, Key, Url

commands = typer.Typer()
queues = typer.Typer(name="queues", help="See how much each queue holds.", no_args_is_help=True)
workers = typer.Typer(name="workers", help="See which workers are alive.", no_args_is_help=True)
commands.add_typer(queues)
commands.add_typer(workers)


@queues.command("ls")
def list_queues(url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List the queues and how many runs each holds."""
    page = ask(url, key, data, lambda client: client.get("/v1/queues"))
    if as_json:
        say_json(page)
        return
    columns = tuple(page["items"][0]) if page["items"] else ()
    say_table(columns, [[queue[column] for column in columns] for queue in page["items"]], "There are no queues.")


@workers.command("ls")
def list_workers(url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List the workers that are alive and what they run."""
    page = ask(url, key, data, lambda client: client.get("/v1/workers"))
    if as_json:
        say_json(page)
        return
    rows = [
        (
            worker["id"],
            worker["host"],
            worker["pid"],
            ", ".join(worker["queues"]),
            f"{len(worker['running'])}/{worker['slots']}",
            worker["beat_at"],
        )
        for worker in page["items"]
    ]
    say_table(("worker", "host", "pid", "queues", "busy", "last beat"), rows, "No worker is alive.")


@queues.callback()
@workers.callback()
def _group() -> None:
    """Keep `ls` a word of its own: a group of one command would swallow it."""
