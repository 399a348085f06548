"""Which runs the words after `safelight run FLOW` ask for: paths, globs and `input=path` become orders."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.console import Refusal


@dataclass(frozen=True)
class Entry:
    """An input of a flow, as far as giving it files is concerned."""

    name: str
    many: bool = False
    required: bool = True


@dataclass(frozen=True)
class Order:
    """One run to be made: a label for people, and the files of each input."""

    label: str
    files: Mapping[str, tuple[Path, ...]]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for files in self.files.values() for file in files)

    @property
    def fields(self) -> list[tuple[str, Path]]:
        """Every file with the name of its input, in the order they were given."""
        return [(name, file) for name, files in self.files.items() for file in files]


def orders(words: Sequence[str], entries: Sequence[Entry]) -> list[Order]:
    """The runs meant by `words`: one for each file of an input that takes one, a single one for an input of many."""
    given = _assigned(words, entries)
    for entry in entries:
        if entry.required and entry.name not in given:
            raise Refusal(f"The flow needs a file for its input `{entry.name}`.", f"write {entry.name}=PATH.")
    return _spread(given, {entry.name for entry in entries if entry.many})


def _assigned(words: Sequence[str], entries: Sequence[Entry]) -> dict[str, tuple[Path, ...]]:
    names = [entry.name for entry in entries]
    given: dict[str, tuple[Path, ...]] = {}
    for word in words:
        name, path = _meant(word, names)
        given[name] = (*given.get(name, ()), *files(path))
    return given


def _meant(word: str, names: Sequence[str]) -> tuple[str, str]:
    name, sign, path = word.partition("=")
    if sign and name in names:
        return name, path
    if len(names) == 1:
        return names[0], word
    raise Refusal(
        f"Which input is `{word}` for? The flow has several: {', '.join(names)}.", f"write {names[0]}={word}."
    )


def _spread(given: Mapping[str, tuple[Path, ...]], many: set[str]) -> list[Order]:
    several = [name for name, files in given.items() if name not in many and len(files) > 1]
    if not several:
        return [Order(_label(given), given)]
    if len(several) > 1:
        raise Refusal(f"Only one of the inputs {', '.join(several)} can be given several files.")
    name = several[0]
    return [Order(str(file), {**given, name: (file,)}) for file in given[name]]


def _label(given: Mapping[str, tuple[Path, ...]]) -> str:
    files = [file for several in given.values() for file in several]
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def files(word: str) -> tuple[Path, ...]:
    """The files a path or a glob means, sorted; raises `Refusal` when there is none that can be read."""
    path = Path(word)
    if not os.path.lexists(path) and glob.has_magic(word):
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
        found = tuple(Path(match) for match in matches if Path(match).is_file())
        if not found:
            raise Refusal(f"No file matches `{word}`.")
        return found
    if path.is_dir():
        raise Refusal(f"`{word}` is a folder.", f"give its files, for example '{path / '*.jpg'}'.")
    if not path.is_file():
        raise Refusal(f"There is no file `{word}`.")
    if not os.access(path, os.R_OK):
        raise Refusal(f"The file `{word}` cannot be read.")
    return (path,)
