"""`safelight sweep`: remove what is over now, instead of waiting for a worker to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import Exit, Json, Refusal, run_async, say_json, say_table
from pipeline.cli.target import Data, settings_here

if TYPE_CHECKING:
    from pipeline.records.sweeps import Swept
    from pipeline.settings import Settings

commands = typer.Typer()


@commands.command()
def sweep(
    names: Annotated[list[str] | None, typer.Argument(help="Which sweeps; left out, all.", metavar="SWEEP...")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Count what would be removed, and remove nothing.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Remove expired uploads and files, old runs and events, and bytes that belong to nothing; workers do it too."""
    done = run_async(_swept(settings_here(data), names or [], dry))
    if as_json:
        say_json({"dry": dry, "items": [{"sweep": name, **swept.model_dump()} for name, swept in done], "next": None})
    else:
        heads = ("sweep", "would go" if dry else "gone", "postponed", "spared")
        say_table(heads, [(name, swept.gone, swept.postponed, swept.spared) for name, swept in done], "")
    if any(swept.postponed for _, swept in done):
        raise typer.Exit(Exit.FAILED)


async def _swept(settings: Settings, names: list[str], dry: bool) -> list[tuple[str, Swept]]:
    """What each sweep did, step after step until it was through."""
    from pipeline.core import open_core
    from pipeline.logs import configure_logs
    from pipeline.sweeps import SWEEPS

    configure_logs(settings.log_format, "warning")  # what went well is in the answer
    if unknown := [name for name in names if name not in SWEEPS]:
        raise Refusal(f"There is no sweep `{unknown[0]}`.", f"There are {', '.join(SWEEPS)}.")
    done = []
    async with open_core(settings) as core:
        for name in names or SWEEPS:
            swept = step = await core.sweeps.sweep(name, dry=dry)
            while step.more:
                step = await core.sweeps.sweep(name, dry=dry)
                swept += step
            done.append((name, swept.model_copy(update={"more": False})))
    return done
