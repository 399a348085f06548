from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipeline.graph.draw import mermaid, svg
from pipeline.graph.flow import Flow, load_flow

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def flow() -> Flow:
    return load_flow(
        "branches",
        """
title: Branches & <more>
nodes:
  photo: {type: input}
  big: {type: conditional, field: width, operator: greaterThan, value: 2000}
  small: {type: resize, from: big.then, width: 2000}
  same: {type: first, from: [small, big.else]}
  logo: {type: input}
  end: {type: watermark, from: {image: same, mark: logo}}
  out: {type: save, from: end}
""",
    )


def test_mermaid(flow: Flow) -> None:
    assert mermaid(flow) == (
        "flowchart LR\n"
        '  n_photo(["photo<br/>input"])\n'
        '  n_big{"big<br/>conditional"}\n'
        '  n_small["small<br/>resize"]\n'
        '  n_same["same<br/>first"]\n'
        '  n_logo(["logo<br/>input"])\n'
        '  n_end["end<br/>watermark"]\n'
        '  n_out(["out<br/>save"])\n'
        "  n_photo --> n_big\n"
        "  n_big -->|then| n_small\n"
        "  n_small --> n_same\n"
        "  n_big -->|else| n_same\n"
        "  n_same -->|image| n_end\n"
        "  n_logo -->|mark| n_end\n"
        "  n_end --> n_out\n"
    )


def boxes(root: ElementTree.Element) -> dict[str, tuple[float, float, float, float]]:
    """The corners of every node's box, by the node whose name lies inside it."""
    found = {}
    rectangles = [
        tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height")) for one in root.iter(f"{SVG}rect")
    ]
    for text in root.iter(f"{SVG}text"):
        if "class" in text.attrib:
            continue
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        [inside] = [r for r in rectangles if r[0] < x < r[0] + r[2] and r[1] < y < r[1] + r[3]]
        found[str(text.text)] = (inside[0], inside[1], inside[0] + inside[2], inside[1] + inside[3])
    return found


def test_svg_draws_every_node_and_edge_once(flow: Flow) -> None:
    root = ElementTree.fromstring(svg(flow))
    assert root.find(f"{SVG}title").text == "Branches & <more>"  # type: ignore[union-attr]
    found = boxes(root)
    assert set(found) == set(flow.nodes)
    arrows = [path for path in root.iter(f"{SVG}path") if "marker-end" in path.attrib]
    assert len(arrows) == len(flow.edges)
    labels = {text.text for text in root.iter(f"{SVG}text") if text.attrib.get("class") == "type"}
    assert {"then", "else", "image", "mark"} <= labels


def test_svg_keeps_boxes_apart_and_inside_and_flows_to_the_right(flow: Flow) -> None:
    root = ElementTree.fromstring(svg(flow))
    found = boxes(root)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for name, (left, top, right, bottom) in found.items():
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
        for other, (x1, y1, x2, y2) in found.items():
            assert name == other or right <= x1 or x2 <= left or bottom <= y1 or y2 <= top
    for edge in flow.edges:
        assert found[edge.source][2] < found[edge.target][0]


def test_wide_flows_can_be_drawn() -> None:
    lines = [f"  n{i}: {{type: resize, from: photo, width: {i + 1}}}" for i in range(400)]
    names = ", ".join(f"n{i}" for i in range(400))
    text = "nodes:\n  photo: {type: input}\n" + "\n".join(lines) + f"\n  out: {{type: save, from: [photo, {names}]}}\n"
    flow = load_flow("wide", text)
    assert svg(flow).count("marker-end") == 801
    assert mermaid(flow).count("-->") == 801
