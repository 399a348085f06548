"""What travels on an edge between files' nodes, and the tools a run is given; the executor knows nothing more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.calls import Call, Reply
from pipeline.model import File, ImageFacts, NodeState, Output

T = TypeVar("T")


@dataclass(frozen=True)
class Artifact:
    """A whole file on this machine's disk on its way through a run."""

    node: str
    """The node it came from."""
    path: Path
    name: str
    mime: str
    size: int
    sha256: str
    image: ImageFacts | None
    origin: File | None
    """The input it was made of, None when there were several."""
    encoded: bool = False
    """Encoded by this run, not a file as it was sent."""


@dataclass(frozen=True)
class Made:
    """A finished output on its way out of a run: the artifact, and where its save node wants it."""

    node: str
    index: int
    artifact: Artifact
    path: str
    storage: str | None = None
    media_type: str | None = None
    folder: str = ""
    """Where it is filed."""


@dataclass(frozen=True)
class About:
    """Which run it is: the ids of its flow and its own, and what it was started with."""

    flow: str
    run: str
    params: Mapping[str, Any]
    metadata: Mapping[str, str]


class Tools(Protocol):
    """What a run may do with the world outside its graph."""

    @property
    def folder(self) -> Path:
        """A folder of the run's own, wiped when it ends."""
        ...

    @property
    def about(self) -> About:
        """Which run it is."""
        ...

    @property
    def face_model(self) -> Path | None:
        """The model file that faces are found with, None when none is set."""
        ...

    async def load(self, file: File) -> Path:
        """Where the bytes of `file` lie on this machine; fetched into the folder when they lie elsewhere."""
        ...

    async def save(self, made: Made) -> Output:
        """Keep an output; invisible until the run commits.

        Raises `PathInvalid`, `StorageUnavailable`, `StorageFull`.
        """
        ...

    def asset(self, name: str) -> Path:
        """The shipped or project file that `asset:<name>` means; raises `NodeInvalid` when there is none."""
        ...

    async def apart(self, function: Callable[..., T], *arguments: Any) -> T:
        """What an importable `function` returns in a sandbox child, where strangers' bytes are worked on.

        Raises its `SafelightError`, `ImageTimeout`, `ImageCrashed` and `ImageMemoryExceeded`; cancelling ends it.
        """
        ...

    async def measure(self, path: Path, mime: str) -> ImageFacts | None:
        """What a file that came from elsewhere is as a picture, None when it is none that flows may read.

        Raises `ImageUnreadable` and `ImageTooLarge`.
        """
        ...

    async def send(self, call: Call) -> Reply:
        """Call a server outside, the secrets of the run's project put in; an answer that is kept lies in the folder.

        Raises `AddressRefused`, `CallFailed`, `CallRejected`, `CircuitOpen`, `AnswerInvalid`, and `NodeInvalid` for an
        unknown secret.
        """
        ...

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        """What is around a call to somebody outside that `send` does not make; raises `CircuitOpen` on entering."""
        ...


@dataclass(frozen=True)
class Kept:
    """What a step on whole files came to in an earlier try: its files, None when it passed on its own, and facts."""

    artifacts: Sequence[Artifact] | None
    found: Sequence[Mapping[str, Any]] = ()


Resume = Callable[[str], Awaitable[Kept | None]]
"""Finds what a node came to in an earlier try of the run, None when nothing is left of it."""
Checkpoint = Callable[[str, Kept], None]
"""Hears what a node came to, for a later try."""
Halt = Callable[[], Awaitable[bool]]
"""Tells between two steps whether the run is to stop there."""
Emit = Callable[[str, NodeState], None]
"""Hears how far each node has come."""
