"""Pack files into one archive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import zipstream
from pydantic import Field

from pipeline.archives import distinct
from pipeline.artifacts import Artifact
from pipeline.nodes.base import FileNode

if TYPE_CHECKING:
    from pipeline.artifacts import Tools


class Zip(FileNode):
    """Packs everything that arrives into one zip file."""

    type: Literal["zip"]
    name: str = Field(default="archive.zip", min_length=1, max_length=200, description="Name of the archive.")
    compress: bool = Field(default=False, description="Deflate; of no use for pictures, which are compressed already.")

    gathers: ClassVar[bool] = True

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        path = tools.folder / f"{node}.zip"
        names = distinct([source.name for source in sources])
        digest = await asyncio.to_thread(self._pack, path, list(zip(names, sources, strict=True)))
        origins = {source.origin.id: source.origin for source in sources if source.origin}
        origin = next(iter(origins.values())) if len(origins) == 1 else None
        size = path.stat().st_size
        return [Artifact(node, path, self.name, "application/zip", size, digest, None, origin, encoded=True)]

    def _pack(self, path: Path, entries: Sequence[tuple[str, Artifact]]) -> str:
        method = zipstream.ZIP_DEFLATED if self.compress else zipstream.ZIP_STORED
        archive = zipstream.ZipStream(compress_type=method)
        for name, artifact in entries:
            archive.add_path(str(artifact.path), name)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for chunk in archive:
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()
