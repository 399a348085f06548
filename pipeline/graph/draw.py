"""Pictures of a flow: Mermaid text for pages that render it, and an SVG that needs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from pipeline.graph.flow import Flow, NodeSpec
from pipeline.graph.wiring import Edge

SHAPES = {"choice": ('{"', '"}'), "end": ('(["', '"])'), "step": ('["', '"]')}


def mermaid(flow: Flow) -> str:
    """The flow as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for spec in flow.nodes.values():
        before, after = SHAPES[_kind(spec)]
        lines.append(f"  n_{spec.id}{before}{_entities(spec.id)}<br/>{_entities(spec.type)}{after}")
    for edge in flow.edges:
        label = _label(flow, edge)
        arrow = f"-->|{_entities(label)}|" if label else "-->"
        lines.append(f"  n_{edge.source} {arrow} n_{edge.target}")
    return "\n".join(lines) + "\n"


def _kind(spec: NodeSpec) -> str:
    if spec.cls.outputs:
        return "choice"
    return "end" if not spec.cls.inputs or spec.cls.gives == "nothing" else "step"


def _label(flow: Flow, edge: Edge) -> str:
    if edge.source_port:
        return edge.source_port
    return edge.target_port if len(flow.nodes[edge.target].cls.inputs) > 1 else ""


def _entities(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " _-." else f"#{ord(letter)};" for letter in text)


# SVG

LETTER = 7.6
"""Width of a letter in pixels, at the font size below."""
HEIGHT, GAP, ROW, LANE, MARGIN = 44.0, 64.0, 62.0, 30.0, 16.0
MAX_LANES = 300
"""With more arrows than this they pass behind the boxes."""
STYLE = (
    "text{font:13px ui-monospace,monospace;fill:#1c1917}.type{fill:#78716c;font-size:11px}"
    "rect{fill:#fafaf9;stroke:#a8a29e}.choice{fill:#fef3c7;stroke:#d97706}.end{fill:#fee2e2;stroke:#dc2626}"
    "path{fill:none;stroke:#78716c;stroke-width:1.5}marker path{fill:#78716c;stroke:none}"
    "@media(prefers-color-scheme:dark){text{fill:#fafaf9}.type{fill:#a8a29e}rect{fill:#292524}"
    ".choice{fill:#451a03}.end{fill:#450a0a}}"
)


@dataclass(frozen=True)
class _Box:
    """Where a node sits, or where a long arrow passes a column."""

    x: float
    y: float
    width: float
    height: float = HEIGHT

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


Stops = Mapping[Edge, Sequence[str]]
"""What every arrow touches on its way: its source, the lanes it passes other columns by, its target."""


def svg(flow: Flow) -> str:
    """The flow as a standalone SVG document, inputs on the left."""
    columns, stops = _columns(flow)
    boxes = _boxes(flow, columns)
    width = max(box.x + box.width for box in boxes.values()) + MARGIN
    height = max(box.y + box.height for box in boxes.values()) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img">',
            f"<title>{escape(flow.title or flow.id)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z"/></marker></defs>',
            *(_arrow(_label(flow, edge), [boxes[stop] for stop in stops[edge]]) for edge in flow.edges),
            *(_node(spec, boxes[spec.id]) for spec in flow.nodes.values()),
            "</svg>\n",
        ]
    )


def _columns(flow: Flow) -> tuple[list[list[str]], Stops]:
    """Every node right of all its sources, with a lane in each column that an arrow passes."""
    depth: dict[str, int] = {}
    for name in flow.order:
        depth[name] = max((depth[edge.source] + 1 for edge in flow.into[name]), default=0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in flow.order:
        columns[depth[name]].append(name)
    stops: dict[Edge, list[str]] = {}
    for number, edge in enumerate(flow.edges):
        passed = range(depth[edge.source] + 1, depth[edge.target]) if len(flow.edges) <= MAX_LANES else range(0)
        lanes = [f"{number}:{column}" for column in passed]
        for column, lane in zip(passed, lanes, strict=True):
            columns[column].append(lane)
        stops[edge] = [edge.source, *lanes, edge.target]
    _sort(columns, stops)
    return columns, stops


def _sort(columns: list[list[str]], stops: Stops) -> None:
    """Put everything near to what it comes from, so that few arrows cross."""
    before: dict[str, list[str]] = {}
    for names in stops.values():
        for left, right in pairwise(names):
            before.setdefault(right, []).append(left)
    rows: dict[str, float] = {}
    for column in columns:
        places = {name: [rows.get(left, 0.0) for left in before.get(name, [])] for name in column}
        column.sort(key=lambda name: sum(places[name]) / max(1, len(places[name])))
        rows |= {name: row - len(column) / 2 for row, name in enumerate(column)}


def _boxes(flow: Flow, columns: list[list[str]]) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    heights = [sum(ROW if name in flow.nodes else LANE for name in column) for column in columns]
    x = MARGIN
    for column, high in zip(columns, heights, strict=True):
        labels = [label for name in column if name in flow.nodes for label in (name, flow.nodes[name].type)]
        width = LETTER * max(len(label) for label in labels) + 24
        y = MARGIN + (max(heights) - high) / 2
        for name in column:
            boxes[name] = _Box(x, y, width) if name in flow.nodes else _Box(x, y, width, LANE - ROW + HEIGHT)
            y += ROW if name in flow.nodes else LANE
        x += width + GAP
    return boxes


def _arrow(label: str, boxes: Sequence[_Box]) -> str:
    path = ""
    for left, right in pairwise(boxes):
        x1, x2, bend = left.x + left.width, right.x, GAP / 2
        start = f"L{x1:g} {left.middle:g}" if path else f"M{x1:g} {left.middle:g}"
        path += f"{start}C{x1 + bend:g} {left.middle:g} {x2 - bend:g} {right.middle:g} {x2:g} {right.middle:g}"
    line = f'<path d="{path}" marker-end="url(#tip)"/>'
    if not label:
        return line
    first, second = boxes[0], boxes[1]
    middle = f'x="{(first.x + first.width + second.x) / 2:g}" y="{(first.middle + second.middle) / 2 - 5:g}"'
    return f'{line}<text class="type" {middle} text-anchor="middle">{escape(label)}</text>'


def _node(spec: NodeSpec, box: _Box) -> str:
    return "".join(_node_parts(spec, box))


def _node_parts(spec: NodeSpec, box: _Box) -> Iterator[str]:
    centre = box.x + box.width / 2
    round_corner = HEIGHT / 2 if _kind(spec) == "end" else 6
    yield f'<rect class="{_kind(spec)}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{HEIGHT:g}" '
    yield f'rx="{round_corner:g}"/>'
    yield f'<text x="{centre:g}" y="{box.y + 19:g}" text-anchor="middle">{escape(spec.id)}</text>'
    yield f'<text class="type" x="{centre:g}" y="{box.y + 34:g}" text-anchor="middle">{escape(spec.type)}</text>'
