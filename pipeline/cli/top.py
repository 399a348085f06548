"""`safelight top`: queues, workers, running runs, failures and breakers in one view that keeps itself up to date."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Exit, Json, Refusal, console, say_json
from pipeline.cli.target import Data, Key, Url

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from pipeline.cli.client import Client

commands = typer.Typer()

ROWS = 10
"""Rows of each table; what is more is only counted."""
SHORT = 8
"""Characters of an id that are enough to tell it from others on one screen."""

Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)]
Times = Annotated[int | None, typer.Option(help="End after so many looks.", min=1)]


@commands.command()
def top(
    every: Every = 2.0, times: Times = None, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Watch queues, workers, running runs and failures until Ctrl-C; one look with --json or without a terminal."""
    if as_json:
        say_json(ask(url, key, data, snapshot))
    elif not sys.stdout.isatty():
        console().print(picture(ask(url, key, data, snapshot)))
    else:
        try:
            ask(url, key, data, lambda client: _watch(client, every, times))
        except KeyboardInterrupt:
            raise typer.Exit(Exit.DONE) from None


async def snapshot(client: Client) -> dict[str, Any]:
    """What goes on now; raises `Refusal`."""
    import asyncio

    queues, workers, running, failures, breakers = await asyncio.gather(
        client.get("/v1/queues"),
        client.get("/v1/workers"),
        client.get("/v1/runs", status="running", limit=ROWS),
        client.get("/v1/failures", limit=ROWS),
        client.get("/v1/breakers"),
    )
    parts = {"queues": queues, "workers": workers, "running": running, "failures": failures, "breakers": breakers}
    return {name: part["items"] for name, part in parts.items()}


async def _watch(client: Client, every: float, times: int | None) -> None:
    import asyncio

    from rich.live import Live

    with Live(console=console(), screen=times is None, auto_refresh=False) as live:
        for look in itertools.count(1):
            await _look(client, live)
            if look == times:
                return
            await asyncio.sleep(every)


async def _look(client: Client, live: Live) -> None:
    """Show what goes on; a server that does not answer is said and looked for again."""
    try:
        live.update(picture(await snapshot(client)), refresh=True)
    except Refusal as refusal:
        if refusal.code is not Exit.UNREACHABLE:
            raise
        live.update(f"[red]{refusal}[/red]", refresh=True)


def picture(now: Mapping[str, Any]) -> Group:
    """A snapshot as tables."""
    from rich.console import Group

    return Group(
        _table(
            "queues",
            ("queue", "queued", "delayed", "running", "oldest", "per min", "wait p95", "run p95", "failed"),
            [_queue(row) for row in now["queues"]],
        ),
        _table("workers", ("worker", "host", "pid", "queues", "busy"), [_worker(row) for row in now["workers"]]),
        _table("running", ("run", "flow", "since", "at"), [_run(row) for row in now["running"]]),
        _table(
            "failures",
            ("code", "node", "flow", "count", "last", "run"),
            [_failure(row) for row in now["failures"]],
        ),
        _table(
            "breakers",
            ("node", "place", "state", "failures", "since", "again"),
            [_breaker(row) for row in now["breakers"]],
        ),
    )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    listed = list(rows)
    for row in listed[:ROWS]:
        table.add_row(*(Text(str(cell)) for cell in row))
    if not listed:
        table.add_row(Text("none", style="dim"))
    elif len(listed) > ROWS:
        table.caption = f"and {len(listed) - ROWS} more"
    return table


def _queue(row: Mapping[str, Any]) -> Sequence[object]:
    latency = row["latency"]
    name = f"{row['name']} (paused)" if row["paused"] else row["name"]
    return (
        name,
        row["queued"],
        row["delayed"],
        row["running"],
        f"{row['oldest_age']:.0f} s",
        f"{row['per_minute']:g}",
        _milliseconds(latency["wait"]["p95_ms"]),
        _milliseconds(latency["run"]["p95_ms"]),
        row["ended"]["failed"],
    )


def _worker(row: Mapping[str, Any]) -> Sequence[object]:
    busy = f"{len(row['running'])}/{row['slots']}"
    return row["id"][:SHORT], row["host"], row["pid"], ", ".join(row["queues"]), busy


def _run(row: Mapping[str, Any]) -> Sequence[object]:
    at = [name for name, state in row["nodes"].items() if state["status"] == "running"]
    return row["id"], row["flow"], row["started_at"], ", ".join(at)


def _failure(row: Mapping[str, Any]) -> Sequence[object]:
    return row["code"], row["type"], row["flow"], row["count"], row["last_at"], row["run"]


def _breaker(row: Mapping[str, Any]) -> Sequence[object]:
    return row["type"], row["place"], row["state"], row["failures"], row["changed_at"], row["retry_at"] or "-"


def _milliseconds(found: float | None) -> str:
    if found is None:
        return "-"
    return f"{found:.0f} ms" if found < 10_000 else f"{found / 1000:.0f} s"
