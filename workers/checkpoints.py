"""What the steps of a run had made when it failed or was paused, kept so that its next try need not make it again.

The bytes lie in the storage of the project, under the run's folder, where the sweep of orphans finds them once the run
is over and old; the record tells which they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from math import inf
from pathlib import Path

import structlog

from pipeline.artifacts import Artifact, Kept
from pipeline.core import Core
from pipeline.errors import SafelightError
from pipeline.graph.course import INSIDE
from pipeline.model import Checkpoint, File, KeptFile, Run
from pipeline.records.runs import Runs
from pipeline.records.steps import run_files
from pipeline.stored import copy_to

MOST_BYTES = 256 * 1024 * 1024
MOST_FILES = 100
"""What is kept of one run at most; the steps that ended first come first."""
ROOM = "0-kept"
"""The folder beside the run's outputs; no node's id begins with a digit."""
SAVED = "0-saved"
"""What stands in the place of a node where the checkpoint tells of saved files."""
CHUNK = 1 << 20

log = structlog.stdlib.get_logger(__name__)


class Checkpoints:
    """The checkpoints of one run, found in the record or noted by this try, whose files lie in `folder`."""

    def __init__(self, core: Core, runs: Runs, run: Run, folder: Path) -> None:
        self._core, self._runs, self._run, self._folder = core, runs, run, folder
        self._noted: dict[str, Kept] = {}
        self._found: dict[str, Checkpoint] | None = None
        self._origins: Mapping[str, File] = {}

    async def resume(self, node: str) -> Kept | None:
        """What the node came to in an earlier try, None when nothing is known or its bytes cannot be had."""
        checkpoint = (await self._known()).get(node)
        if checkpoint is None:
            return None
        try:
            files = None if checkpoint.files is None else [await self._fetched(file) for file in checkpoint.files]
        except (SafelightError, KeyError) as fault:
            log.info("checkpoint_lost", node=node, exc_info=fault)
            del (await self._known())[node]
            return None
        return Kept(files, checkpoint.found)

    def note(self, node: str, kept: Kept) -> None:
        """Hear what a node came to; what came before that inside of it is of no use any more, unless it is stored."""
        stored, inside = self._found or {}, f"{node}{INSIDE}"
        self._noted = {one: known for one, known in self._noted.items() if one in stored or not one.startswith(inside)}
        self._noted[node] = kept

    async def keep(self) -> None:
        """Put what was noted into storage and on record; what does not succeed is made again by the next try."""
        if not self._noted:
            return
        try:
            await self._runs.keep(self._run.id, self._run.attempt, await self._stored(MOST_BYTES, MOST_FILES))
        except SafelightError as error:
            log.warning("checkpoints_lost", code=error.code, exc_info=error)

    async def lay_down(self, saved: Sequence[File]) -> None:
        """The same with all of it, however much, and with what the run had saved."""
        try:
            stored = await self._stored(inf, inf)
            stored += [one for node, one in (await self._known()).items() if node not in {*self._noted, SAVED}]
            stored += [Checkpoint(node=SAVED, saved=tuple(saved))] if saved else []
            await self._runs.keep(self._run.id, self._run.attempt, stored)
        except SafelightError as error:
            log.warning("checkpoints_lost", code=error.code, exc_info=error)

    async def saved(self) -> Sequence[File]:
        """What the run had saved before it was paused."""
        known = (await self._known()).get(SAVED)
        return known.saved if known else ()

    async def forget(self) -> None:
        """Remove the bytes of a run that was completed."""
        for checkpoint in (self._found or {}).values():
            for file in checkpoint.files or ():
                try:
                    await self._core.storages[file.storage].delete(file.key)
                except SafelightError as error:
                    log.warning("checkpoint_left_behind", key=file.key, code=error.code)

    async def _known(self) -> dict[str, Checkpoint]:
        if self._found is None:
            tried = len(self._run.tries) > 1
            self._found = {one.node: one for one in await self._runs.kept(self._run.id)} if tried else {}
            if self._found:
                files = await self._core.records.files.get_many(run_files(self._run))
                self._origins = {file.id: file for file in files if file is not None}
        return self._found

    async def _fetched(self, file: KeptFile) -> Artifact:
        path = self._folder / f"kept-{file.key.rpartition('/')[2]}"
        await copy_to(self._core.storages[file.storage], file.key, path)
        origin = self._origins[file.origin] if file.origin else None
        return Artifact(
            file.node, path, file.name, file.mime, file.size, file.sha256, file.image, origin, encoded=file.encoded
        )

    async def _stored(self, room: float, count: float) -> list[Checkpoint]:
        """What of it has room; what an earlier try stored is there already."""
        stored: list[Checkpoint] = []
        for node, kept in self._noted.items():
            files = kept.artifacts or ()
            room, count = room - sum(file.size for file in files), count - len(files)
            if room < 0 or count < 0:
                break
            known = (self._found or {}).get(node)
            stored.append(known or await self._put(node, kept))
        return stored

    async def _put(self, node: str, kept: Kept) -> Checkpoint:
        files = None if kept.artifacts is None else [await self._put_file(node, one) for one in kept.artifacts]
        return Checkpoint(node=node, files=None if files is None else tuple(files), found=tuple(kept.found))

    async def _put_file(self, node: str, artifact: Artifact) -> KeptFile:
        run = self._run
        storage = self._core.settings.projects[run.project].storage
        key = f"{run.project}/runs/{run.id}/{ROOM}/{_room(node)}-{artifact.sha256}"
        await self._core.storages[storage].put(key, _chunks(artifact.path), artifact.size, artifact.mime)
        return KeptFile(
            storage=storage,
            key=key,
            node=artifact.node,
            name=artifact.name,
            mime=artifact.mime,
            size=artifact.size,
            sha256=artifact.sha256,
            image=artifact.image,
            origin=artifact.origin.id if artifact.origin else None,
            encoded=artifact.encoded,
        )


def _room(step: str) -> str:
    """What stands before the digest in the name of a file of this step; those of equal bytes may share one."""
    return step.partition(INSIDE)[0]


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
