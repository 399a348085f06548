"""`safelight letters`: the runs that were given up, to be looked at, run again or put aside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Json, Refusal, say, say_json, say_table
from pipeline.cli.runs import tell_tries
from pipeline.cli.target import Data, Key, Url

commands = typer.Typer(name="letters", help="See, retry and settle dead letters.", no_args_is_help=True)

Runs = Annotated[list[str] | None, typer.Argument(help="Ids of the runs.", metavar="[RUN]...")]
Everything = Annotated[bool, typer.Option("--all", help="All of them, or all that the filters let through.")]
OfFlow = Annotated[str | None, typer.Option("--flow", help="Only of this flow.")]
WithCode = Annotated[str | None, typer.Option("--code", help="Only with this error code.")]


@commands.command("ls")
def list_letters(
    flow: OfFlow = None,
    code: WithCode = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 50,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    page = ask(url, key, data, lambda client: client.pages("/v1/dead-letters", limit, flow=flow, code=code))
    if as_json:
        say_json(page)
        return
    rows = [(one["run"], one["flow"], one["reason"], _code(one), one["added_at"]) for one in page["items"]]
    say_table(("run", "flow", "reason", "error", "since"), rows, "There are no dead letters.")


@commands.command()
def show(
    run: Annotated[str, typer.Argument(help="Id of the run.", metavar="RUN")],
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a dead letter: why the run was given up, and every try."""
    letter = ask(url, key, data, lambda client: client.get(f"/v1/dead-letters/{run}"))
    if as_json:
        say_json(letter)
        return
    say(f"{letter['run']}  {letter['flow']} {letter['version']}  {letter['reason']}, attempt {letter['attempt']}")
    say(f"error: {_code(letter)}: {letter['error']['message']}")
    tell_tries(letter["tries"])


@commands.command()
def retry(
    runs: Runs = None,
    everything: Everything = False,
    flow: OfFlow = None,
    code: WithCode = None,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run dead letters again."""
    _settle("retry", _which(runs, everything, flow, code), (url, key, data), as_json)


@commands.command()
def resolve(
    runs: Runs = None,
    everything: Everything = False,
    flow: OfFlow = None,
    code: WithCode = None,
    note: Annotated[str, typer.Option(help="Why they need nobody any more; kept in the event log.")] = "",
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Drop dead letters and keep their runs."""
    _settle("resolve", _which(runs, everything, flow, code) | {"note": note}, (url, key, data), as_json)


@commands.command()
def purge(
    everything: Everything = False,
    flow: OfFlow = None,
    code: WithCode = None,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Forget dead letters."""
    _settle("purge", _which(None, everything, flow, code), (url, key, data), as_json)


def _which(runs: list[str] | None, everything: bool, flow: str | None, code: str | None) -> dict[str, Any]:
    filters = {name: value for name, value in (("flow", flow), ("code", code)) if value}
    if runs and (filters or everything):
        raise Refusal("Give runs, or --all, --flow and --code, not both.")
    if not runs and not filters and not everything:
        raise Refusal("Which dead letters?", "name runs, or give --flow, --code or --all.")
    return {"runs": runs} if runs else filters


def _settle(verb: str, which: dict[str, Any], place: tuple[str | None, str | None, Path | None], as_json: bool) -> None:
    told = ask(*place, lambda client: client.post(f"/v1/dead-letters/{verb}", which))
    if as_json:
        say_json(told)
    else:
        say(f"{told['count']} {DONE[verb]}.")


DONE = {"retry": "queued again", "resolve": "resolved", "purge": "purged"}


def _code(letter: dict[str, Any]) -> str:
    return str((letter["error"] or {}).get("code", ""))
