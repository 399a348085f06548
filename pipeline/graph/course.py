"""How far a run has come: the state of each node, told onwards, and the bound on its time in the sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from pipeline.artifacts import Emit
from pipeline.errors import ImageTimeout, SafelightError
from pipeline.graph.flow import Flow
from pipeline.model import NodeState, Problem

T = TypeVar("T")

INSIDE = "/"
"""Between the id of a node that runs a flow and the id of a node of that flow."""


class Course:
    """How far each node has come, told onwards whenever it changes."""

    def __init__(self, flow: Flow, emit: Emit) -> None:
        self._emit = emit
        self._types = {name: spec.type for name, spec in flow.nodes.items()}
        self._began: dict[str, float] = {}
        self._over: set[str] = set()
        self.current: str | None = None
        self.drawn: dict[str, float] = {}
        self.forgiven: dict[str, SafelightError | None] = {}
        self.reused: set[str] = set()

    def running(self, name: str) -> None:
        self.current = name
        if name not in self._began:
            self._began[name] = time.perf_counter()
            self._tell(name, "running")

    def completed(self, name: str, ms: float) -> None:
        if name not in self._over:
            self._over.add(name)
            self._tell(name, "completed", ms)

    def skipped(self, name: str, error: SafelightError | None = None) -> None:
        if name not in self._over:
            self._over.add(name)
            self._tell(name, "skipped", None, error)

    def failed(self, error: SafelightError) -> None:
        name = (error.node or "").partition(INSIDE)[0]
        if name in self._types and name not in self._over:
            self._over.add(name)
            began = self._began.get(name, time.perf_counter())
            self._tell(name, "failed", (time.perf_counter() - began) * 1000, error)

    def _tell(self, name: str, status: Any, ms: float | None = None, error: SafelightError | None = None) -> None:
        problem = error and Problem(code=error.code, message=error.message, node=error.node)
        rounded = None if ms is None else round(ms, 1)
        self._emit(
            name,
            NodeState(type=self._types[name], status=status, ms=rounded, error=problem, reused=name in self.reused),
        )


class Watch:
    """Bounds each node's time inside the sandbox by what the child reports."""

    def __init__(self, limits: Mapping[str, float], course: Course) -> None:
        self._limits = limits
        self._course = course
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Future[Any] | None = None
        self._late: str | None = None

    async def over(self, call: Awaitable[T]) -> T:
        self._late = None
        self._call = mine = asyncio.ensure_future(call)
        try:
            return await mine
        except asyncio.CancelledError:
            if self._late is None:
                self._call.cancel()
                raise
            raise ImageTimeout(node=self._late, seconds=self._limits[self._late]) from None
        finally:
            self._stop()

    def heard(self, told: Mapping[str, Any]) -> None:
        name, status = told["node"], told["status"]
        self._stop()
        if status == "running":
            self._course.running(name)
            self._timer = asyncio.get_running_loop().call_later(self._limits[name], self._end, name)
        elif status == "completed":
            self._course.completed(name, told["ms"])

    def _end(self, name: str) -> None:
        self._late = name
        if self._call:
            self._call.cancel()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
