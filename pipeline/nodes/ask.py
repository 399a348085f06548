"""Ask a server outside about a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field

from pipeline.errors import AnswerInvalid
from pipeline.nodes.base import FactNode, Facts
from pipeline.nodes.http import Sending
from pipeline.units import Bytes

if TYPE_CHECKING:
    from pipeline.artifacts import Artifact, Tools

DEEPEST = 16
"""How far values may be nested in an answer."""


class Ask(Sending, FactNode):
    """Sends the file to a server of yours, hands it on unchanged, and keeps the JSON it answers, such as a caption.

    The answer is a JSON object; conditions ask for its keys as `facts.<node>.<key>`, and it is on the run and, for a
    file as it was sent, on the file. For an answer that is a file to go on with there is `http`.
    """

    type: Literal["ask"]
    max_answer: Bytes = Field(default=64_000, ge=2, le=1_000_000, description="Largest answer, such as 64KB.")
    remember: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")], ...] = Field(
        default=(),
        max_length=20,
        description="Keys of the answer that the file keeps under these names too, in place of what it kept before: "
        "`ai_tags`, a list of `{name, confidence, source}`, and `description` are what ImageKit's extensions tell.",
    )

    pixels: ClassVar[bool] = False
    side: ClassVar[Literal["sandbox", "worker"]] = "worker"

    async def inquire(self, tools: Tools, file: Artifact) -> Facts:
        """The keys and values of the answer; raises what `Tools.send` does, and `AnswerInvalid`."""
        reply = await tools.send(self.call(file, "application/json", self.max_answer))
        assert reply.path is not None
        try:
            found = orjson.loads(reply.path.read_bytes())
        except orjson.JSONDecodeError:
            raise AnswerInvalid(reason="it is not JSON") from None
        finally:
            reply.path.unlink()
        if not isinstance(found, dict):
            raise AnswerInvalid(reason="it is JSON but no object")
        if not _fits(found, DEEPEST):
            raise AnswerInvalid(reason=f"its values are nested more than {DEEPEST} deep")
        return found

    def remembered(self, found: Facts) -> Mapping[str, Any]:
        return {self.type: found, **{key: found[key] for key in self.remember if key in found}}


def _fits(value: Any, depth: int) -> bool:
    """Whether what is nested in the value goes at most this deep."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return inner is None or (depth > 0 and all(_fits(member, depth - 1) for member in inner))
