"""What a worker does about a derivative that somebody waits for: make it, put it where it belongs, and tell all.

Nothing is recorded until it is there, and a second try makes the same bytes under the same key: whoever has the job may
do it, and one that was believed dead does no harm.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

import structlog
from arq import Retry

from pipeline.artifacts import About, Made
from pipeline.calls import Call, Reply
from pipeline.core import Core
from pipeline.delivery import SOURCE, Order, ahead
from pipeline.delivery.recipe import FLOW
from pipeline.errors import (
    CircuitOpen,
    DerivativePoisoned,
    FileNotFound,
    ImageCrashed,
    Internal,
    NodeInvalid,
    RecordsUnavailable,
    RunTimeout,
    SafelightError,
    StorageKeyNotFound,
)
from pipeline.graph.execute import Outcome, execute
from pipeline.graph.flow import Flow, made_flow
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Derivative, File, NodeState, Output, Project, new_id
from pipeline.records.queue import Death
from pipeline.retold import spelt
from pipeline.stored import copy_to
from workers.jobs import CRASH_TRIES, chunks
from workers.seats import Seat
from workers.tools import WorkerTools

TRIES = 3
"""Tries of one whose fault may pass; somebody waits, so they come quickly."""
PAUSE, AWAY = 0.3, 2.0
"""Seconds before it is tried again, and when the records were away."""
FINAL, PASSING = 60.0, 3.0
"""Seconds for which a fault is remembered: one that comes again whenever it is tried, and one that may not."""
POISON = 600.0
"""Seconds for which it is remembered that workers died over it."""

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class Derivatives:
    """The derivatives this process can make."""

    def __init__(self, core: Core, sandbox: Sandbox, seats: asyncio.Semaphore) -> None:
        self._core = core
        self._sandbox = sandbox
        self._seats = seats

    async def derive(self, context: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Make what the order says; whoever waits hears of it, or of why not."""
        order = Order.model_validate(told)
        with structlog.contextvars.bound_contextvars(derivative=order.key):
            try:
                await self._made(order, context["job_try"])
            except RecordsUnavailable as fault:
                raise Retry(defer=AWAY) from fault

    async def derive_ahead(
        self, context: Mapping[str, Any], told: Mapping[str, Any], telling: Mapping[str, Any]
    ) -> None:
        """Make what the order says, unless it is there, and log an event of what came of it."""
        order = Order.model_validate(told)
        file = order.files[SOURCE]
        with structlog.contextvars.bound_contextvars(derivative=order.key):
            try:
                found = await self._known(order) or await self._made(order, context["job_try"])
                event = (
                    ahead.failed(file, found.code, found.message, telling)
                    if isinstance(found, SafelightError)
                    else ahead.made(file, found, telling)
                )
                await self._core.events.append(event)
            except RecordsUnavailable as fault:
                raise Retry(defer=AWAY) from fault

    async def give_up(self, told: Mapping[str, Any], deaths: Sequence[Death]) -> None:
        """Tell those who wait that workers died over it."""
        error = DerivativePoisoned(times=len(deaths))
        await self._core.records.derivatives.fail(told["key"], spelt(error), POISON, error.message)

    async def give_up_ahead(self, told: Mapping[str, Any], telling: Mapping[str, Any], deaths: Sequence[Death]) -> None:
        """The same, and log it."""
        await self.give_up(told, deaths)
        fault, file = DerivativePoisoned(times=len(deaths)), Order.model_validate(told).files[SOURCE]
        await self._core.events.append(ahead.failed(file, fault.code, fault.message, telling))

    async def _known(self, order: Order) -> Derivative | None:
        listed = await self._core.records.derivatives.of(order.files[SOURCE].id)
        return next((one for one in listed if one.key == order.key), None)

    async def _made(self, order: Order, tries: int) -> Derivative | SafelightError:
        """What was made, or why nothing can be; raises `Retry` for what may be better in a moment."""
        attempt = Attempt(self._core, Seat(self._sandbox, self._seats), order)
        try:
            return await attempt.work()
        except RecordsUnavailable:
            raise
        except SafelightError as error:
            await self._failed(order, error, tries)
            return error
        except Exception:
            log.exception("derivative_fault")
            await self._failed(order, Internal(), tries)
            return Internal()
        finally:
            await asyncio.shield(attempt.leave())

    async def _failed(self, order: Order, error: SafelightError, tries: int) -> None:
        most = CRASH_TRIES if isinstance(error, ImageCrashed) else TRIES
        # Somebody waits for the answer, and less long than until a breaker closes.
        if error.retryable and tries < most and not isinstance(error, CircuitOpen):
            log.warning("derivative_postponed", code=error.code, tries=tries, exc_info=error)
            raise Retry(defer=PAUSE * tries) from error
        log.info("derivative_failed", code=error.code, node=error.node, reason=error.message)
        passing = error.retryable or isinstance(error, Internal | StorageKeyNotFound)
        seconds = PASSING if passing else FINAL
        await self._core.records.derivatives.fail(order.key, spelt(error), seconds, error.message)


class Attempt:
    """One try of one derivative."""

    def __init__(self, core: Core, seat: Seat, order: Order) -> None:
        self._core = core
        self._seat = seat
        self._order = order
        self._tools = DeliveryTools(core, order, cast(Sandbox, seat))

    async def work(self) -> Derivative:
        """Make it and list it; one whose file is gone meanwhile goes too."""
        order, file = self._order, self._order.files[SOURCE]
        outcome = await self._executed(made_flow(FLOW, order.document))
        made = self._tools.made or Derivative(storage=file.storage, key=order.key)
        derivative = made.model_copy(update={"facts": outcome.facts})
        if not await self._core.records.derivatives.add(file.id, derivative):
            await self._core.storages[file.storage].delete(order.key)
            raise FileNotFound(id=file.id)
        return derivative

    async def leave(self) -> None:
        """Wipe the folder."""
        await asyncio.to_thread(shutil.rmtree, self._tools.folder, ignore_errors=True)

    async def _executed(self, flow: Flow) -> Outcome:
        settings = self._core.settings
        self._tools.folder.mkdir(parents=True)
        await self._seat.take(flow)
        try:
            async with asyncio.timeout(settings.flow_timeout):
                return await execute(
                    flow,
                    {name: [file] for name, file in self._order.files.items()},
                    {},
                    {},
                    self._tools.about.run,
                    self._tools,
                    _unheard,
                    cast(Sandbox, self._seat),
                    timeout=settings.flow_timeout,
                    node_timeout=settings.node_timeout,
                    flows=self._core.flows.get,
                )
        except TimeoutError as fault:
            raise RunTimeout(seconds=f"{settings.flow_timeout:g}") from fault
        finally:
            self._seat.leave()


class DeliveryTools(WorkerTools):
    """The world as a derivative may touch it: its files, its one place in storage, and a folder wiped afterwards."""

    def __init__(self, core: Core, order: Order, sandbox: Sandbox) -> None:
        super().__init__(core, sandbox)
        self._order = order
        self.folder = core.settings.data_dir / "tmp" / new_id()
        self.about = About(FLOW, order.files[SOURCE].id, {}, {})
        self.made: Derivative | None = None
        """What was saved."""

    async def load(self, file: File) -> Path:
        """Where the bytes of `file` lie on this machine; raises `FileNotFound` when they are gone."""
        storage = self._core.storages[file.storage]
        local = storage.local_path(file.key)
        try:
            if local is None:
                local = self.folder / f"input-{new_id()}"
                await copy_to(storage, file.key, local)
            elif not local.is_file():
                raise StorageKeyNotFound(key=file.key)
        except StorageKeyNotFound as cause:
            raise FileNotFound(id=file.id) from cause
        return local

    async def save(self, made: Made) -> Output:
        """Put it where those who wait look for it; a recipe makes one file."""
        artifact, order = made.artifact, self._order
        storage, mime = order.files[SOURCE].storage, made.media_type or artifact.mime
        bytes_put = chunks(artifact.path, artifact.size)
        await self._core.storages[storage].put(order.key, bytes_put, artifact.size, mime, lasting=False)
        self.made = Derivative(
            storage=storage,
            key=order.key,
            size=artifact.size,
            mime=mime,
            sha256=artifact.sha256,
            image=artifact.image,
        )
        return Output(
            node=made.node,
            source=artifact.node,
            id=self.about.run,
            path=made.path,
            mime=mime,
            size=artifact.size,
            sha256=artifact.sha256,
        )

    async def send(self, call: Call) -> Reply:
        """Call a server outside where a flow of the project's does; raises what `called` does."""
        nodes = self._order.document["nodes"].values()
        if not any(node["type"] == "subflow" for node in nodes):
            raise NodeInvalid(reason="what is made on the fly calls no servers but by flows of the project")
        return await self.called(call, self._project, self.folder)

    def calling(self, type: str, place: str) -> AbstractAsyncContextManager[None]:
        """What is around a call that `send` does not make; raises `CircuitOpen` on entering."""
        return self.watched(self._project, type, place)

    @property
    def _project(self) -> Project:
        return self._core.settings.projects[self._order.files[SOURCE].project]


def _unheard(node: str, state: NodeState) -> None:
    """Nobody watches the steps of a derivative."""
