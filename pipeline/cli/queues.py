"""`safelight queues` and `safelight workers`: how much there is to do, who does it, and who may go on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Exit, Json, say, say_json, say_table
from pipeline.cli.target import Data, Key, Url

commands = typer.Typer()
queues = typer.Typer(name="queues", help="See, pause, drain and purge queues.", no_args_is_help=True)
workers = typer.Typer(name="workers", help="See which workers are alive, and drain them.", no_args_is_help=True)

QueueName = Annotated[str, typer.Argument(help="interactive, default or bulk.", metavar="QUEUE")]
WorkerId = Annotated[str, typer.Argument(help="Id of the worker.", metavar="WORKER")]

commands.add_typer(queues)
commands.add_typer(workers)


@queues.command("ls")
def list_queues(url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List the queues and how many runs each holds."""
    page = ask(url, key, data, lambda client: client.get("/v1/queues"))
    if as_json:
        say_json(page)
        return
    columns = ("name", "paused", "queued", "delayed", "running", "waiting", "oldest_age", "per_minute")
    say_table(columns, [[queue[column] for column in columns] for queue in page["items"]], "There are no queues.")


@queues.command()
def pause(queue: QueueName, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Let nobody take from a queue; what runs is finished."""
    _tell(_control(f"/v1/queues/{queue}/pause", url, key, data), as_json)


@queues.command()
def resume(queue: QueueName, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Let a queue go on."""
    _tell(_control(f"/v1/queues/{queue}/resume", url, key, data), as_json)


@queues.command()
def drain(
    queue: QueueName,
    wait: Annotated[float, typer.Option(help="Seconds to wait, 60 at most.", min=0, max=60)] = 60,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Pause a queue and wait until nothing of it runs; exits with 1 when something still does."""
    told = _control(f"/v1/queues/{queue}/drain?wait={wait:g}", url, key, data)
    _tell(told, as_json)
    if told["running"]:
        raise typer.Exit(Exit.FAILED)


@queues.command()
def purge(queue: QueueName, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Cancel every run that waits in a queue, of all projects."""
    _tell(_control(f"/v1/queues/{queue}/purge", url, key, data), as_json)


def _control(path: str, url: str | None, key: str | None, data: Path | None) -> Any:
    return ask(url, key, data, lambda client: client.post(path))


def _tell(told: Any, as_json: bool) -> None:
    if as_json:
        say_json(told)
        return
    state = "paused" if told["paused"] else "open"
    say(f"{told['name']} is {state}, {told['running']} running, {told['cancelled']} cancelled.")


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
            "draining" if worker["draining"] else "",
            worker["beat_at"],
        )
        for worker in page["items"]
    ]
    say_table(("worker", "host", "pid", "queues", "busy", "state", "last beat"), rows, "No worker is alive.")


@workers.command("drain")
def drain_worker(worker: WorkerId, url: Url = None, key: Key = None, data: Data = None) -> None:
    """Let a worker take nothing more; it leaves when it has finished what it runs."""
    _control(f"/v1/workers/{worker}/drain", url, key, data)
    say(f"{worker} takes nothing more and leaves when it has finished.")


@workers.command("undrain")
def undrain_worker(worker: WorkerId, url: Url = None, key: Key = None, data: Data = None) -> None:
    """Let a worker that was to leave, and has not yet, go on."""
    _control(f"/v1/workers/{worker}/undrain", url, key, data)
    say(f"{worker} goes on.")


@queues.callback()
@workers.callback()
def _group() -> None:
    """Keep `ls` a word of its own: a group of one command would swallow it."""
