"""Who of a worker's runs may use its sandbox: as many as it has children. The others wait before their clocks start.

A worker takes more runs than it has children, so that no child waits while a run fetches its inputs or saves what was
drawn. A run that needs a child several times keeps its seat in between, as the clocks of its nodes go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.graph.flow import Flow
from pipeline.imaging.sandbox import Sandbox
from pipeline.nodes.base import ImageNode, InputNode

T = TypeVar("T")


class Seat:
    """One run's place at the sandbox, which it calls through this."""

    def __init__(self, sandbox: Sandbox, seats: asyncio.Semaphore) -> None:
        self._sandbox = sandbox
        self._seats = seats
        self._taken = False
        self._brief = False

    async def take(self, flow: Flow) -> None:
        """Wait for a place; a flow that only draws and saves gives it away after its first call."""
        self._brief = draws_once(flow)
        await self._take()

    def leave(self) -> None:
        """Let the next run sit down; a second time is fine."""
        if self._taken:
            self._taken = False
            self._seats.release()

    async def call(self, function: Callable[..., T], *arguments: Any, **limits: Any) -> T:
        """`Sandbox.call`."""
        if not self._taken:
            await self._take()
        try:
            return await self._sandbox.call(function, *arguments, **limits)
        finally:
            if self._brief:
                self.leave()

    async def _take(self) -> None:
        await self._seats.acquire()
        self._taken = True


def draws_once(flow: Flow) -> bool:
    """Whether the flow needs a child once: it has picture steps, all done in one call, and then only saves."""
    return all(issubclass(spec.cls, InputNode | ImageNode) or spec.type == "save" for spec in flow.nodes.values())
