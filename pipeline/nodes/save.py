"""Publish what a flow made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pipeline import labels
from pipeline.artifacts import Artifact, Made
from pipeline.imaging.encode import EXTENSIONS
from pipeline.nodes.base import Encoding, FileNode, Given

if TYPE_CHECKING:
    from pipeline.artifacts import Tools

FORMATS = {extension: name for name, extension in EXTENSIONS.items()} | {"jpeg": "jpeg", "tif": "tiff"}


class Save(Encoding, FileNode):
    """Encodes every source once and publishes it as an output of the run; other files are published as they are."""

    type: Literal["save"]
    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Where the output goes, with placeholders; its extension sets the format when `format` does not. "
        "Left out: `<file>-<node>.<extension>`.",
    )
    storage: str | None = Field(default=None, description="One of the configured storages; left out, the project's.")
    folder: str = Field(
        default="", max_length=700, description="The folder it is filed in and found by, such as `shop/shoes`."
    )

    gathers: ClassVar[bool] = True
    each: ClassVar[bool] = True
    gives: ClassVar[Given] = "nothing"

    def said(self) -> dict[str, Any]:
        said = super().said()
        suffix = PurePosixPath(self.path or "").suffix.lower().removeprefix(".")
        return {"format": FORMATS[suffix], **said} if suffix in FORMATS else said

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        for index, source in enumerate(sources):
            filed = labels.folder(self.folder)
            await tools.save(Made(node, index, source, self.path or source.name, self.storage, folder=filed))
        return sources
