"""The folder outputs are saved in: nothing is written outside it, and no run overwrites another's file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.cli.console import Refusal
from pipeline.errors import PathInvalid
from pipeline.storage.base import checked_key


class Outputs:
    """Gives every output of one command a path of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given: set[Path] = set()

    def place(self, path: str, run_id: str) -> Path:
        """Where the output that its run calls `path` goes; raises `Refusal` if that would be outside the folder."""
        destination = self._inside(path)
        if destination in self._given:
            destination = destination.with_name(f"{destination.stem}-{run_id[:8]}{destination.suffix}")
        self._given.add(destination)
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise Refusal(f"The folder {destination.parent} cannot be made: {cause.strerror}.") from cause
        return destination

    def _inside(self, path: str) -> Path:
        try:
            destination = self._folder / PurePosixPath(checked_key(path))
        except PathInvalid as cause:
            raise Refusal(f"The output path `{path}` cannot be used here.") from cause
        if not destination.resolve().is_relative_to(self._folder.resolve()):
            raise Refusal(f"The output path `{path}` leads out of {self._folder}.")
        return destination
