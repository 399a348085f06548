"""`safelight run`: files through a flow, on a server or in this process, with every step shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import Exit, Json, Refusal, pairs, parsed, run_async
from pipeline.cli.request import Request
from pipeline.cli.target import Data, Key, Url, target

commands = typer.Typer()

QUEUE_NAMES = ("interactive", "default", "bulk")
LOCAL_OUT = Path("out")


@commands.command()
def run(
    flow: Annotated[str, typer.Argument(help="Id of a flow, or the path of a YAML file.", metavar="FLOW")],
    words: Annotated[
        list[str], typer.Argument(help="Paths, globs, or input=path for a flow with several inputs.", metavar="FILE...")
    ],
    param: Annotated[list[str], typer.Option("--param", "-p", help="A param of the flow, name=value.")] = [],  # noqa: B006
    metadata: Annotated[list[str], typer.Option("--metadata", "-m", help="Metadata of the run, name=value.")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder to save the outputs in.", file_okay=False)] = None,
    local: Annotated[bool, typer.Option("--local", help="Run here, without server and Redis.")] = False,
    queue: Annotated[str | None, typer.Option(help="interactive, default or bulk; else the flow's own.")] = None,
    parallel: Annotated[int, typer.Option(help="Runs under way at once.", min=1, max=64)] = 4,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run a flow on files and show its progress; one run per file unless the flow's input takes many.

    Exit codes: 0 all completed, 1 a run failed, 2 a bad flow, file or option, 3 no server, 4 key refused.
    """
    if queue is not None and queue not in QUEUE_NAMES:
        raise Refusal(f"There is no queue `{queue}`; there are {', '.join(QUEUE_NAMES)}.")
    given = pairs(metadata, "--metadata")
    wishes = parsed(pairs(param, "--param"))
    request = Request(flow, words, wishes, given, out, queue, parallel)
    if local:
        results = _locally(request, as_json)
    else:
        from pipeline.cli.remote import run_remotely

        results = run_async(run_remotely(target(url, key, data), request, as_json))
    raise typer.Exit(exit_of([result["status"] for result in results]))


def _locally(request: Request, as_json: bool) -> list[dict[str, Any]]:
    from pipeline.cli.local import run_locally
    from pipeline.settings import load_settings

    return run_async(run_locally(load_settings(), request, request.out or LOCAL_OUT, as_json))


def exit_of(statuses: Sequence[str]) -> Exit:
    """The exit code that tells how runs ended: a failed run weighs more than a file that was refused."""
    if all(status == "completed" for status in statuses):
        return Exit.DONE
    return Exit.FAILED if set(statuses) - {"completed", "refused"} else Exit.USAGE
