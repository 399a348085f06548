"""The `safelight` command: one module per group of commands, listed here and nowhere else."""

from __future__ import annotations

import gc
import sys

import typer

from pipeline.cli import (
    config,
    doctor,
    files,
    flows,
    index,
    keys,
    letters,
    nodes,
    projects,
    queues,
    run,
    runs,
    serve,
    sweep,
    top,
    up,
    webhooks,
)
from pipeline.cli.console import Refusal, complain, refusal_of
from pipeline.errors import SafelightError

GROUPS = (
    up.commands,
    serve.commands,
    run.commands,
    flows.commands,
    runs.commands,
    letters.commands,
    webhooks.commands,
    files.commands,
    queues.commands,
    nodes.commands,
    projects.commands,
    keys.commands,
    config.commands,
    doctor.commands,
    index.commands,
    sweep.commands,
    top.commands,
)

app = typer.Typer(
    name="safelight",
    help="Upload files, run YAML flows on them, watch every step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in GROUPS:
    app.add_typer(group)


def main() -> None:
    """Run the command line; ends the process with one of the codes of `console.Exit`."""
    gc.set_threshold(20_000)  # what is loaded lives on: looking for rubbish in it costs a tenth of the start
    try:
        app()
    except (Refusal, SafelightError) as error:
        refusal = error if isinstance(error, Refusal) else refusal_of(error)
        complain(refusal)
        sys.exit(refusal.code)
