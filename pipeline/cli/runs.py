"""`safelight runs`: list, look at, watch, pause, retry and cancel runs on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Exit, Json, say, say_json, say_table
from pipeline.cli.target import Data, Key, Url

if TYPE_CHECKING:
    from pipeline.cli.client import Client

commands = typer.Typer(name="runs", help="List, watch, pause, retry and cancel runs.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="Id of the run.", metavar="RUN")]


@commands.command("ls")
def list_runs(
    status: Annotated[str | None, typer.Option(help="Only runs that are queued, running, completed, ...")] = None,
    flow: Annotated[str | None, typer.Option(help="Only runs of this flow.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 50,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    page = ask(url, key, data, lambda client: client.pages("/v1/runs", limit, status=status, flow=flow))
    if as_json:
        say_json(page)
        return
    rows = [
        (run["id"], run["flow"], run["status"], run["created_at"], len(run["outputs"]), _reason(run))
        for run in page["items"]
    ]
    say_table(("run", "flow", "status", "created", "outputs", "error"), rows, "There are no runs.")


@commands.command()
def show(run: RunId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show a run: its nodes, outputs and what went wrong."""
    _tell(ask(url, key, data, lambda client: client.get(f"/v1/runs/{run}")), as_json)


@commands.command()
def watch(run: RunId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Follow a run to its end; exits with 1 unless it completes. With --json each event is a line."""

    async def follow(client: Client) -> Any:
        async with aclosing(client.follow(run)) as events:
            async for event in events:
                say_json(event) if as_json else say(_event(event))
        return await client.get(f"/v1/runs/{run}")

    ended = ask(url, key, data, follow)
    if not as_json:
        _tell(ended, as_json)
    if ended["status"] != "completed":
        raise typer.Exit(Exit.FAILED)


@commands.command()
def retry(
    run: RunId,
    from_failed: Annotated[bool, typer.Option("--from-failed", help="Take what it had made before it failed.")] = False,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run an ended run once more."""
    _turn(f"/v1/runs/{run}/retry", url, key, data, as_json, {"from": "failed"} if from_failed else None)


@commands.command()
def pause(run: RunId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Let a run rest behind the step it is in."""
    _turn(f"/v1/runs/{run}/pause", url, key, data, as_json)


@commands.command()
def resume(run: RunId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Let a paused run go on where it rests."""
    _turn(f"/v1/runs/{run}/resume", url, key, data, as_json)


@commands.command()
def cancel(run: RunId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """End a run that has not ended."""
    _turn(f"/v1/runs/{run}/cancel", url, key, data, as_json)


def _turn(path: str, url: str | None, key: str | None, data: Path | None, as_json: bool, document: Any = None) -> None:
    run = ask(url, key, data, lambda client: client.post(path, document))
    if as_json:
        say_json(run)
    else:
        say(f"{run['id']} {_standing(run)}")


def _tell(run: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(run)
        return
    say(f"{run['id']}  {run['flow']} {run['version']}  {_standing(run)}")
    if run["error"]:
        say(f"error: {_reason(run)}: {run['error']['message']}")
    rows = [(name, node["type"], node["status"], _ms(node["ms"])) for name, node in run["nodes"].items()]
    say_table(("node", "type", "status", "ms"), rows, "It has no nodes.")
    tell_tries(run["tries"])
    for output in run["outputs"]:
        say(f"{output['path']}  {output['mime']}, {output['size']} bytes  {output['url']}")


def _standing(run: Mapping[str, Any]) -> str:
    """How a run stands, with what it waits for."""
    paused = f"paused at {run['paused_at']}" if run["status"] == "waiting" else "pausing"
    told = [run["status"], f"attempt {run['attempt']}", *([paused] if run["paused_at"] else [])]
    if run["status"] == "waiting" and run["awaits"]:
        told.append(f"awaits {' '.join(run['awaits'])}")
    return ", ".join(told)


def tell_tries(tries: Sequence[Mapping[str, Any]]) -> None:
    """Show the times a run was begun, when that was more than once or went wrong."""
    if len(tries) < 2 and not any(one["error"] for one in tries):
        return
    rows = [
        (one["attempt"], one["worker"], one["started_at"], one["ended_at"], (one["error"] or {}).get("code", ""))
        for one in tries
    ]
    say_table(("attempt", "worker", "began", "ended", "error"), rows, "")


def _event(event: Mapping[str, Any]) -> str:
    facts = " ".join(f"{name}={value}" for name, value in event["facts"].items() if value is not None)
    return f"{event['at']} {event['type']} {facts}".rstrip()


def _reason(run: Mapping[str, Any]) -> str:
    error = run["error"]
    if not error:
        return ""
    return f"{error['code']} ({error['node']})" if error.get("node") else str(error["code"])


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
