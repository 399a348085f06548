"""`safelight index`: the records of files, made again from the manifests beside their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import Exit, Json, console, run_async, say, say_json
from pipeline.cli.target import Data, settings_here

if TYPE_CHECKING:
    from pipeline.core import Core
    from pipeline.model import File
    from pipeline.settings import Settings
    from pipeline.storage.base import Storage

commands = typer.Typer(name="index", help="Make records again from storage.", no_args_is_help=True)

MANIFEST = ".json"
BATCH = 200


@dataclass
class Tally:
    """What a rebuild found."""

    restored: int = 0
    known: int = 0
    unsound: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Storages whose files cannot be listed."""


@commands.callback()
def _group() -> None:
    """Keep `rebuild` a word of its own: a group of one command would swallow it."""


@commands.command()
def rebuild(data: Data = None, as_json: Json = False) -> None:
    """Restore the record of every file whose manifest is in a storage; records that exist are left as they are."""
    tally = run_async(_rebuilt(settings_here(data)))
    if as_json:
        say_json(vars(tally))
    else:
        say(f"{tally.restored} records restored, {tally.known} were there.")
        for line in [*tally.unsound, *tally.skipped]:
            console(stderr=True).print(line, style="yellow", markup=False)
    if tally.unsound or tally.skipped:
        raise typer.Exit(Exit.FAILED)


async def _rebuilt(settings: Settings) -> Tally:
    from pipeline.core import open_core

    tally = Tally()
    async with open_core(settings) as core:
        await core.records.check()
        for name, storage in core.storages.items():
            root = storage.local_path("any")
            if root is None:
                tally.skipped.append(f"storage `{name}`: its files cannot be listed")
                continue
            async for batch in _batches(name, storage, root.parent, tally):
                await _restore(core, batch, tally)
    return tally


async def _batches(name: str, storage: Storage, root: Path, tally: Tally) -> AsyncIterator[list[File]]:
    batch: list[File] = []
    for path in _manifests(root):
        file = await _described(name, storage, root, path)
        if file is None:
            tally.unsound.append(f"{path}: it does not describe the file beside it")
            continue
        batch.append(file)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def _manifests(root: Path) -> Iterator[Path]:
    """Files that lie beside the file their name ends in `.json` of."""
    for path in root.rglob(f"*{MANIFEST}"):
        if path.is_file() and not path.is_symlink() and path.with_name(path.name.removesuffix(MANIFEST)).is_file():
            yield path


async def _described(name: str, storage: Storage, root: Path, path: Path) -> File | None:
    """The File a manifest tells of, None unless it is about the bytes beside it."""
    from pydantic import ValidationError

    from pipeline.model import File

    key = path.relative_to(root).as_posix().removesuffix(MANIFEST)
    try:
        file = File.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    found = await storage.stat(key)
    if file.key != key or not key.startswith(f"{file.project}/") or found is None or found.size != file.size:
        return None
    return file.model_copy(update={"storage": name})


async def _restore(core: Core, batch: list[File], tally: Tally) -> None:
    records = await core.records.files.get_many([file.id for file in batch])
    for file, record in zip(batch, records, strict=True):
        if record is not None:
            tally.known += 1
            continue
        await core.records.files.create(file)
        tally.restored += 1
