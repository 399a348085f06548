"""The command without its start: a process of its own, forked from one that has loaded the whole program."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory

LOADED = (
    "pipeline.cli.local",
    "pipeline.cli.remote",
    "pipeline.core",
    "pipeline.describe",
    "pipeline.graph.draw",
    "pipeline.rebuild",
    "pipeline.sweeps",
    "rich.progress",
    "rich.table",
    "tests.cli.forked",
)


def forked(words: Sequence[str], folder: Path, environ: Mapping[str, str], seconds: float) -> CompletedProcess[str]:
    """What `safelight <words>` printed in `folder`, and its exit code."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*LOADED])
    with TemporaryDirectory(prefix="safelight-forked-") as kept:
        out, err = Path(kept) / "out", Path(kept) / "err"
        program = context.Process(target=_main, args=(list(words), folder, dict(environ), out, err))
        program.start()
        with closing(program):
            program.join(seconds)
            if program.exitcode is None:
                program.kill()
                program.join()
                raise TimeoutExpired(words, seconds)
            return CompletedProcess(words, program.exitcode, out.read_text(), err.read_text())


def _main(words: list[str], folder: Path, environ: Mapping[str, str], out: Path, err: Path) -> None:
    from pipeline.cli import main

    for descriptor, path in ((1, out), (2, err)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["safelight", *words]
    main()
