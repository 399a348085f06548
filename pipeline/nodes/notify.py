"""Tell a server outside how far a run has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import Field

from pipeline.artifacts import Artifact
from pipeline.calls import Call, Seal
from pipeline.model import now
from pipeline.nodes.base import FileNode, Given
from pipeline.nodes.http import Calling

if TYPE_CHECKING:
    from pipeline.artifacts import Tools

EVENT = "flow.notified"


class Notify(Calling, FileNode):
    """Posts a JSON message about the files that arrive, once for all of them, and hands them on unchanged.

    It holds `type`, `timestamp` and `data`: `flow`, `run`, `node`, `text`, `files` (each with `node`, `name`, `mime`,
    `size`, `sha256`, `width`, `height`), `params` and `metadata` of the run. Headers are those of Standard Webhooks; a
    message that is sent again keeps its `webhook-id`. A message that cannot be delivered fails the node.
    """

    type: Literal["notify"]
    secret: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Signs the message: base64, with or without `whsec_`, best `{secrets.<name>}`. Left out, unsigned.",
    )
    message: str = Field(default="", max_length=4000, description="Told as `text`.")

    gathers: ClassVar[bool] = True
    gives: ClassVar[Given] = "file"
    suffices: ClassVar[bool] = True
    confides: ClassVar[tuple[str, ...]] = ("url", "headers", "secret")

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        """What came in; raises what `Tools.send` does."""
        data = self._data(tools, node, sources)
        # Made of what is told, so that a second try is recognised by who has heard the first.
        id = f"msg_{uuid5(NAMESPACE_URL, orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()).hex}"
        body = orjson.dumps({"type": EVENT, "timestamp": now().isoformat(), "data": data})
        headers = {"Content-Type": "application/json", **self.headers}
        await tools.send(Call(self.url, "POST", headers, body, Seal(id, self.secret), self.within, by=self.type))
        return sources

    def _data(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Mapping[str, Any]:
        about = tools.about
        return {
            "flow": about.flow,
            "run": about.run,
            "node": node,
            "text": self.message,
            "files": [_told(source) for source in sources],
            "params": dict(about.params),
            "metadata": dict(about.metadata),
        }


def _told(file: Artifact) -> Mapping[str, Any]:
    return {
        "node": file.node,
        "name": file.name,
        "mime": file.mime,
        "size": file.size,
        "sha256": file.sha256,
        "width": file.image.width if file.image else None,
        "height": file.image.height if file.image else None,
    }
