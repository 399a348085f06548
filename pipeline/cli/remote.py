"""Runs on a server: files streamed up, events followed, outputs fetched; several orders at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cli.client import ENDED, Client, open_client
from pipeline.cli.console import Refusal, console
from pipeline.cli.orders import Entry, Order, orders
from pipeline.cli.outputs import Outputs
from pipeline.cli.progress import Watch, watch
from pipeline.cli.request import Request
from pipeline.cli.target import Target

ABOUT_FILE = ("BODY_EMPTY", "FILE_", "TYPE_", "NAME_INVALID", "IMAGE_")
"""How the codes of errors begin that one file earns, so that the others may still be tried."""
YAML = (".yaml", ".yml")


async def run_remotely(target: Target, request: Request, as_json: bool) -> list[dict[str, Any]]:
    """Every run as it ended, with `saved` in each output that was fetched; raises `Refusal`."""
    async with open_client(target) as client:
        flow = await _flow(client, request.flow)
        wanted = orders(request.words, _entries(flow))
        outputs = Outputs(request.out) if request.out else None
        with watch(as_json) as display:
            crew = Crew(client, flow["id"], request, display, outputs)
            return await crew.work(wanted)


async def _flow(client: Client, flow: str) -> dict[str, Any]:
    """The flow as the server has it; a YAML file is pushed first and becomes the active version of its id."""
    path = Path(flow)
    if path.suffix not in YAML:
        found: dict[str, Any] = await client.get(f"/v1/flows/{flow}")
        return found
    from pipeline.cli.flows import push_file

    version = await push_file(client, path)
    note = f"{version['flow']} {version['version']} is the active version now"
    console(stderr=True).print(note, style="dim", markup=False)
    pushed: dict[str, Any] = await client.get(f"/v1/flows/{path.stem}")
    return pushed


def _entries(flow: Mapping[str, Any]) -> list[Entry]:
    written = {name: flow["nodes"][name]["parameters"] for name in flow["inputs"]}
    return [Entry(name, said.get("many", False), said.get("required", True)) for name, said in written.items()]


@dataclass
class Crew:
    """Works orders off, a few at a time; what one of them meets stops the others only when it would meet them too."""

    client: Client
    flow: str
    request: Request
    display: Watch
    outputs: Outputs | None
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.request.parallel)

    async def work(self, wanted: Sequence[Order]) -> list[dict[str, Any]]:
        """The result of every order, in their order."""
        try:
            async with asyncio.TaskGroup() as group:
                working = [group.create_task(self._one(order)) for order in wanted]
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        return [done.result() for done in working]

    async def _one(self, order: Order) -> dict[str, Any]:
        async with self._slots:
            try:
                result = await self._ended(order)
            except Refusal as refusal:
                if not refusal.error_code.startswith(ABOUT_FILE):
                    raise
                result = refused(refusal)
            self.display.ended(order, result)
            return result

    async def _ended(self, order: Order) -> dict[str, Any]:
        count = lambda size: self.display.sent(order, size)  # noqa: E731
        run = await self.client.send(f"/v1/flows/{self.flow}/runs", self.request.fields, order.fields, count)
        self.display.queued(order, run["nodes"])
        if run["status"] not in ENDED:
            run = await self._followed(order, run["id"])
        return await self._saved(run)

    async def _followed(self, order: Order, run_id: str) -> dict[str, Any]:
        async with aclosing(self.client.follow(run_id)) as events:
            async for event in events:
                kind, facts = event["type"], event["facts"]
                if kind.startswith("node."):
                    status = "running" if kind == "node.started" else kind.removeprefix("node.")
                    self.display.node(order, facts["node"], status, facts.get("ms"))
        run: dict[str, Any] = await self.client.get(f"/v1/runs/{run_id}")
        return run

    async def _saved(self, run: dict[str, Any]) -> dict[str, Any]:
        if self.outputs is None:
            return run
        for output in run["outputs"]:
            destination = self.outputs.place(output["path"], run["id"])
            await self.client.fetch(output["url"], destination)
            output["saved"] = str(destination)
        return run


def refused(refusal: Refusal) -> dict[str, Any]:
    """What stands for the run of a file that was not accepted."""
    error = {"code": refusal.error_code, "message": str(refusal), "node": None}
    return {"id": None, "status": "refused", "nodes": {}, "outputs": [], "error": error}
