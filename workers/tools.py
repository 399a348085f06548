"""What everything a worker makes may touch: shipped files, sandbox children, what a picture is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from pipeline.breakers import place_of
from pipeline.calls import Call, Reply
from pipeline.core import Core
from pipeline.graph.belongings import Belongings
from pipeline.graph.placeholders import reveal
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import ImageFacts, Project
from pipeline.records.breakers import Callee

T = TypeVar("T")


class WorkerTools:
    """The part of `pipeline.artifacts.Tools` that does not depend on what is made."""

    def __init__(self, core: Core, sandbox: Sandbox) -> None:
        self._core = core
        self._sandbox = sandbox

    @property
    def face_model(self) -> Path | None:
        return self._core.settings.face_model

    def asset(self, name: str) -> Path:
        """The file that `asset:<name>` means, the project's own before the shipped; raises `NodeInvalid`."""
        return Belongings.of(self._core.settings.flows_dir).get(name)

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns in a sandbox child."""
        return await self._sandbox.call(function, *arguments, timeout=self._core.settings.flow_timeout)

    async def called(self, call: Call, project: Project, folder: Path) -> Reply:
        """What a server outside answers, called as a project may; an answer that is kept lies in `folder`.

        Raises what `Outbound.send` does, `NodeInvalid` and `CircuitOpen`.
        """
        spoken = call.revealed(lambda text: reveal(text, project.secrets))
        async with self.watched(project, call.by, place_of(call.url, spoken.url)):
            return await self._core.outbound.send(spoken, folder, private=project.allow_private_urls)

    def watched(self, project: Project, type: str, place: str) -> AbstractAsyncContextManager[None]:
        """What is around a call of a node of this type; raises `CircuitOpen` on entering."""
        return self._core.breakers.over(Callee(type, project.id, place))

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        """What a file is as a picture; raises `ImageUnreadable` and `ImageTooLarge`."""
        settings = self._core.settings
        caps = (settings.max_pixels, settings.max_frames)
        return await facts_of(self._sandbox, str(path), mime, settings.allowed_formats, *caps, settings.node_timeout)
