"""Send a file to a server outside and go on with the file it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline import sniff
from pipeline.artifacts import Artifact
from pipeline.calls import Body, Call, Enclosure, Form
from pipeline.errors import AnswerInvalid
from pipeline.nodes.base import FileNode, Given, Node
from pipeline.units import Bytes, Seconds

if TYPE_CHECKING:
    from pipeline.artifacts import Tools

OURS = re.compile(
    r"(?i)host|content-.*|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|accept-encoding|proxy-.*"
)
"""Headers that follow from the request itself."""

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Text = Annotated[str, Field(max_length=4000)]


class Calling(Node):
    """What every node says that calls a server outside."""

    url: str = Field(
        pattern=r"^(https?://|\{)",
        max_length=2000,
        description="http or https. Public addresses on ports 80 and 443, unless the project has `allow_private_urls`. "
        "Redirects are not followed.",
    )
    headers: Mapping[HeaderName, Text] = Field(
        default={}, max_length=50, description="Headers to send, such as `{Authorization: 'Bearer {secrets.api}'}`."
    )
    within: Seconds = Field(default=30, gt=0, le=600, description="Longest time until the answer has come as a whole.")

    confides: ClassVar[tuple[str, ...]] = ("url", "headers")

    @model_validator(mode="after")
    def _sends_own_headers(self) -> Self:
        wrong = next((name for name in self.headers if OURS.fullmatch(name)), None)
        if wrong:
            raise ValueError(f"the header {wrong} follows from the request and cannot be set")
        return self


class Sending(Calling):
    """What every node says that sends a file."""

    method: Literal["POST", "PUT"] = Field(default="POST", description="How it is sent.")
    body: Literal["file", "multipart"] = Field(
        default="file", description="`file`: its bytes and nothing else; `multipart`: a form, as browsers send one."
    )
    part: str = Field(
        default="file",
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Its name in the form.",
    )
    fields: Mapping[str, Text] = Field(default={}, max_length=100, description="Further fields of the form.")

    confides: ClassVar[tuple[str, ...]] = ("url", "headers", "fields")

    @model_validator(mode="after")
    def _has_a_form(self) -> Self:
        if self.fields and self.body != "multipart":
            raise ValueError("only a multipart body has fields")
        return self

    def call(self, file: Artifact, accept: str, room: int) -> Call:
        """The request that sends this file and keeps an answer of at most `room` bytes."""
        headers = {"Accept": accept, **self.headers}
        return Call(self.url, self.method, headers, self._body(file), within=self.within, room=room, by=self.type)

    def _body(self, file: Artifact) -> Body:
        enclosed = Enclosure(file.path, file.name, file.mime)
        return enclosed if self.body == "file" else Form(enclosed, self.part, self.fields)


class Http(Sending, FileNode):
    """Sends each file to a server of yours and goes on with the file it answers, such as one without background.

    What the answer is, its bytes decide. An answer of JSON about the file is for `ask`: that hands the file on
    unchanged, while what leaves this node is a new file, and a node cannot be both.
    """

    type: Literal["http"]
    accept: tuple[Annotated[str, Field(pattern=r"^[^\s,;]+/[^\s,;]+$")], ...] = Field(
        default=("*/*",), min_length=1, max_length=50, description="Types the answer may have, such as `image/*`."
    )
    max_answer: Bytes = Field(default=50_000_000, ge=1, le=5_000_000_000, description="Largest answer, such as 50MB.")

    each: ClassVar[bool] = True
    gives: ClassVar[Given] = "file"

    async def run(self, tools: Tools, node: str, sources: Sequence[Artifact]) -> Sequence[Artifact]:
        """The answer for each file; raises what `Tools.send` and `Tools.measure` do, and `AnswerInvalid`."""
        return [await self._answer(tools, node, source) for source in sources]

    async def _answer(self, tools: Tools, node: str, source: Artifact) -> Artifact:
        reply = await tools.send(self.call(source, ", ".join(self.accept), self.max_answer))
        if reply.path is None or not reply.size:
            raise AnswerInvalid(reason="it is empty")
        if not sniff.allowed(reply.mime, self.accept):
            raise AnswerInvalid(reason=f"it is {reply.mime}, which is not one of {', '.join(self.accept)}")
        image = await tools.measure(reply.path, reply.mime)
        name = _named(source.name, reply.mime)
        return Artifact(
            node, reply.path, name, reply.mime, reply.size, reply.sha256, image, source.origin, encoded=True
        )


def _named(name: str, mime: str) -> str:
    ending = sniff.extension(mime)
    return f"{PurePosixPath(name).stem}.{ending}" if ending else PurePosixPath(name).stem
