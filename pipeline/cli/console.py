"""How every command speaks: tables and lines on stdout, one red line with a hint on stderr, fixed exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.errors import SafelightError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]

T = TypeVar("T")
PIPE_WIDTH = 10_000


class Exit(IntEnum):
    """What the exit code of every command means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4


EXITS = {
    "KEY_REQUIRED": Exit.REFUSED,
    "KEY_INVALID": Exit.REFUSED,
    "SIGNATURE_INVALID": Exit.REFUSED,
    "SIGNATURE_EXPIRED": Exit.REFUSED,
    "RECORDS_UNAVAILABLE": Exit.UNREACHABLE,
    "STORAGE_UNAVAILABLE": Exit.UNREACHABLE,
    "INTERNAL": Exit.FAILED,
}


class Refusal(Exception):
    """A foreseeable end of a command: one sentence, a hint, an exit code."""

    def __init__(self, message: str, hint: str = "", code: Exit = Exit.USAGE, error_code: str = "") -> None:
        self.hint = hint
        self.code = code
        self.error_code = error_code
        """The code of the house's error behind it, if there is one."""
        super().__init__(message)


def refusal_of(error: SafelightError) -> Refusal:
    """An error of the house as the end of a command; its complaints, one a line, are the message if there are any."""
    complaints: Iterable[object] = error.facts.get("complaints", ())
    return Refusal(
        "\n".join(map(str, complaints)) or error.message, code=EXITS.get(error.code, Exit.USAGE), error_code=error.code
    )


def console(stderr: bool = False) -> Console:
    """A rich console on stdout or stderr; colours only where a person looks on."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # What is piped is cut by nobody: a table may be as wide as it is.
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


def complain(refusal: Refusal) -> None:
    """Say on stderr why a command ended: red sentence, plain hint."""
    speaker = console(stderr=True)
    speaker.print(f"error: {refusal}", style="red", markup=False, soft_wrap=True)
    if refusal.hint:
        speaker.print(f"hint: {refusal.hint}", style="dim", markup=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of text on stdout, as it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """One line of JSON on stdout."""
    say(json.dumps(value, ensure_ascii=False, default=str))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """A table on stdout, or the sentence `empty` when there is no row."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    if not table.row_count:
        say(empty)
        return
    console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """The words `k=v` of a repeatable option as a mapping."""
    split = [word.partition("=") for word in given]
    for word, (name, sign, _) in zip(given, split, strict=True):
        if not name or not sign:
            raise Refusal(f"`{option} {word}` is not of the form name=value.")
    return {name: value for name, _, value in split}


def parsed(given: Mapping[str, str]) -> dict[str, Any]:
    """Values written on the command line, read as JSON where they are JSON (`82`, `true`), else as text."""
    return {name: _parsed(value) for name, value in given.items()}


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def run_async(act: Coroutine[Any, Any, T]) -> T:
    """Run the one coroutine that a command is."""
    import asyncio

    return asyncio.run(act)
