"""What everything a worker makes may touch: shipped files, sandbox children, what a picture is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.calls import Call, Reply
from pipeline.core import Core
from pipeline.graph.belongings import Belongings
from pipeline.graph.placeholders import reveal
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import ImageFacts, Project

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
        """What a server outside answers, called as a project may; raises what `Outbound.send` does, and `NodeInvalid`.

        An answer that is kept lies in `folder`.
        """
        spoken = call.revealed(lambda text: reveal(text, project.secrets))
        return await self._core.outbound.send(spoken, folder, private=project.allow_private_urls)

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        """What a file is as a picture; raises `ImageUnreadable` and `ImageTooLarge`."""
        settings = self._core.settings
        caps = (settings.max_pixels, settings.max_frames)
        return await facts_of(self._sandbox, str(path), mime, settings.allowed_formats, *caps, settings.node_timeout)
