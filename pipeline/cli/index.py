"""`safelight index`: the records of files, made again from the manifests beside their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import Exit, Json, console, run_async, say_json, say_table
from pipeline.cli.target import Data, settings_here

if TYPE_CHECKING:
    from pipeline.rebuild import Rebuilt
    from pipeline.settings import Settings

commands = typer.Typer(name="index", help="Make records again from storage.", no_args_is_help=True)

NAMED = 100
"""Unsound manifests that are named for programs; all of them are counted."""


@commands.callback()
def _group() -> None:
    """Keep `rebuild` a word of its own: a group of one command would swallow it."""


@commands.command()
def rebuild(data: Data = None, as_json: Json = False) -> None:
    """Restore the record of every file whose manifest is in a storage; records that exist are left as they are."""
    named: list[str] = []

    def note(line: str) -> None:
        if len(named) < NAMED:
            named.append(line)
        if not as_json:
            console(stderr=True).print(line, style="yellow", markup=False, soft_wrap=True)

    done = run_async(_rebuilt(settings_here(data), note))
    if as_json:
        say_json({"items": [vars(one) for one in done], "unsound": named, "next": None})
    else:
        _tell(done)
    if any(one.unsound or one.away for one in done):
        raise typer.Exit(Exit.FAILED)


def _tell(done: Sequence[Rebuilt]) -> None:
    heads = ("storage", "restored", "known", "pending", "unsound")
    say_table(heads, [(one.storage, one.restored, one.known, one.pending, one.unsound) for one in done], "")
    for one in done:
        if one.away:
            line = (
                f"The storage `{one.storage}` did not answer; what was not reached is restored when this is run again."
            )
            console(stderr=True).print(line, style="yellow", markup=False, soft_wrap=True)


async def _rebuilt(settings: Settings, note: Callable[[str], None]) -> list[Rebuilt]:
    from pipeline.core import open_core
    from pipeline.rebuild import Rebuild

    async with open_core(settings) as core:
        await core.records.check()
        going = Rebuild(core.records, core.storages, note)
        return [await going.rebuild(name) for name in core.storages]
