"""What a person sees of runs while they go on: bars on a terminal, plain lines elsewhere, nothing beside JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.cli.console import Refusal, complain, console, say, say_json
from pipeline.cli.orders import Order

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ENDED = ("completed", "failed", "skipped", "cancelled")
SIGNS = {"completed": "✓", "failed": "✗", "refused": "✗", "cancelled": "–"}
STYLES = {"completed": "green", "failed": "red", "refused": "red", "cancelled": "yellow"}


class Watch(Protocol):
    """Hears how far each order has come."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def sent(self, order: Order, size: int) -> None:
        """`size` more bytes of the order's files have left."""
        ...

    def queued(self, order: Order, nodes: Iterable[str]) -> None:
        """The run exists; these are its nodes."""
        ...

    def node(self, order: Order, node: str, status: str, ms: float | None) -> None: ...

    def ended(self, order: Order, result: Mapping[str, Any]) -> None:
        """The run is over; `result` is the run with `saved` in each output that was written to disk."""
        ...


def watch(as_json: bool) -> Watch:
    """The display that suits stdout."""
    if as_json:
        return JsonLines()
    return Bars() if sys.stdout.isatty() else Lines()


class JsonLines:
    """One line of JSON for each run, when it is over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def sent(self, order: Order, size: int) -> None: ...

    def queued(self, order: Order, nodes: Iterable[str]) -> None: ...

    def node(self, order: Order, node: str, status: str, ms: float | None) -> None: ...

    def ended(self, order: Order, result: Mapping[str, Any]) -> None:
        say_json({"files": [str(file) for _, file in order.fields], **result})


class Lines(JsonLines):
    """One plain line for each step, for logs and pipes."""

    def queued(self, order: Order, nodes: Iterable[str]) -> None:
        say(f"{order.label}: queued")

    def node(self, order: Order, node: str, status: str, ms: float | None) -> None:
        if status in ENDED:
            say(f"{order.label}: {node} {status}{_took(ms)}")

    def ended(self, order: Order, result: Mapping[str, Any]) -> None:
        if result["status"] == "completed":
            say("\n".join(summary(order, result)))
        else:
            complain(Refusal("\n".join(summary(order, result)).removeprefix("✗ ")))


class Bars:
    """A bar for the bytes and one for each node of every run under way, and a summary above of those that ended."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console(),
            transient=True,
        )
        self._all: dict[int, dict[str, TaskID]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def sent(self, order: Order, size: int) -> None:
        bar = self._bar(order, "", order.label, order.size)
        self._progress.update(bar, advance=size, note="sending")

    def queued(self, order: Order, nodes: Iterable[str]) -> None:
        bar = self._bar(order, "", order.label, order.size)
        self._progress.update(bar, completed=order.size, note="queued")
        for node in nodes:
            self._bar(order, node, f"  {node}", 1)

    def node(self, order: Order, node: str, status: str, ms: float | None) -> None:
        bar = self._bar(order, node, f"  {node}", 1)
        if status == "running":
            self._progress.reset(bar, total=None, note="running")
        elif status in ENDED:
            self._progress.update(bar, total=1, completed=1, note=f"{status}{_took(ms)}")
        self._progress.update(self._bar(order, "", order.label, order.size), note="running")

    def ended(self, order: Order, result: Mapping[str, Any]) -> None:
        for bar in self._of(order).values():
            self._progress.remove_task(bar)
        for line in summary(order, result):
            self._progress.console.print(line, style=STYLES.get(result["status"], ""), markup=False)

    def _of(self, order: Order) -> dict[str, TaskID]:
        return self._all.setdefault(id(order), {})

    def _bar(self, order: Order, name: str, text: str, total: int) -> TaskID:
        bars = self._of(order)
        if name not in bars:
            bars[name] = self._progress.add_task(text, total=total, note="")
        return bars[name]


def summary(order: Order, result: Mapping[str, Any]) -> list[str]:
    """What became of an order, in lines for people."""
    status = result["status"]
    line = f"{SIGNS.get(status, '•')} {order.label}: {status}{_run(result)}{_why(result.get('error'))}"
    return [line, *(f"    {_output(output)}" for output in result["outputs"])]


def _why(error: Mapping[str, Any] | None) -> str:
    if not error:
        return ""
    at = f" at node {error['node']}" if error.get("node") else ""
    return f", {error['code']}{at}: {error['message']}"


def _run(result: Mapping[str, Any]) -> str:
    return f", run {result['id']}" if result.get("id") else ""


def _output(output: Mapping[str, Any]) -> str:
    measures = f"{output['width']}x{output['height']}, " if output.get("width") else ""
    return f"{output.get('saved') or output['url']}  ({measures}{output['size']} bytes)"


def _took(ms: float | None) -> str:
    return "" if ms is None else f" in {ms:.0f} ms"
