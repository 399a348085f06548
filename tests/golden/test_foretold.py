"""Whatever the parameters and the picture: what a node foretells of its result is what it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import pyvips
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import NodeInvalid
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.nodes import INDEX
from pipeline.nodes.base import GatherNode, ImageNode, Node, OpenNode

LARGEST = 70
"""Lengths and counts stay below this, so that pictures stay small; fractions and angles are what they are."""
SPECIAL = {
    # What a mark is comes from elsewhere.
    ("watermark", "image"): st.none(),
    ("redact", "faces"): st.just(False),
    ("overlay", "layers", "image"): st.sampled_from(["layer1", "layer2"]),
    # Letters take their time.
    ("text", "text"): st.text("abc <&ä\n", min_size=1, max_size=8),
    ("text", "markup"): st.just(False),
    ("text", "size"): st.integers(4, 30),
    ("text", "stroke"): st.floats(0, 4),
}
UNFOUND = "face"
"""A gravity that needs a model, which is not shipped."""
COLOURS = st.sampled_from(["#fff", "#102030", "#10203080", "#00000000"])

TYPES = [name for name, cls in INDEX.items() if issubclass(cls, ImageNode) and not issubclass(cls, OpenNode)]
SINGLE = [name for name in TYPES if not issubclass(INDEX[name], GatherNode)]


@cache
def parameters(type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters of a node as its JSON Schema allows them one by one; together they may contradict each other."""
    schema = INDEX[type].model_json_schema()
    shared = {"from", *Node.model_fields}
    own = {name: part for name, part in schema["properties"].items() if name not in shared}
    needed = [name for name in own if name in schema.get("required", [])]
    return _object(own, needed, schema.get("$defs", {}), (type,))


def _object(
    properties: Mapping[str, Any], needed: list[str], defs: Mapping[str, Any], path: tuple[str, ...]
) -> st.SearchStrategy[dict[str, Any]]:
    made = {name: _values(part, defs, (*path, name)) for name, part in properties.items()}
    optional = {name: strategy for name, strategy in made.items() if name not in needed}
    return st.fixed_dictionaries({name: made[name] for name in needed}, optional=optional)


def _values(schema: Mapping[str, Any], defs: Mapping[str, Any], path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    if path in SPECIAL:
        return SPECIAL[path]
    if "$ref" in schema:
        return _values(defs[schema["$ref"].rpartition("/")[2]], defs, path)
    if "anyOf" in schema:
        return st.one_of([_values(part | _described(schema), defs, path) for part in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from([value for value in schema.get("enum", [schema.get("const")]) if value != UNFOUND])
    if schema["type"] == "object":
        return _object(schema["properties"], schema.get("required", []), defs, path)
    if schema["type"] == "array":
        # A place in an array has the name of the array.
        least = schema.get("minItems", 0)
        most = min(max(3, least), schema.get("maxItems", max(3, least)))
        return st.lists(_values(schema["items"], defs, path), min_size=least, max_size=most)
    return _plain(schema)


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": schema["description"]} if "description" in schema else {}


def _plain(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if schema["type"] == "string":
        if "pattern" in schema:
            return st.from_regex(schema["pattern"].replace(r"\d", "[0-9]"), fullmatch=True)
        colour = "#rrggbb" in schema.get("description", "")
        return COLOURS if colour else st.text(min_size=schema.get("minLength", 0), max_size=20)
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "null":
        return st.none()
    return _numbers(schema)


def _numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    least = max(schema.get("minimum", schema.get("exclusiveMinimum", -LARGEST)), -LARGEST)
    angle = "egree" in schema.get("description", "")
    most = min(schema.get("maximum", LARGEST), 360 if angle else max(LARGEST, least))
    if schema["type"] == "integer":
        return st.integers(least, most)
    return st.floats(least, most, exclude_min="exclusiveMinimum" in schema)


SLOW_TO_FIND = [HealthCheck.filter_too_much, HealthCheck.too_slow]
"""Parameters that contradict each other are many."""
SETTINGS = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=SLOW_TO_FIND)

outlines = st.builds(
    Outline,
    width=st.integers(1, 24),
    height=st.integers(1, 24),
    frames=st.sampled_from([1, 1, 3]),
    alpha=st.booleans(),
    format=st.sampled_from(["png", "jpeg", "webp"]),
    orientation=st.sampled_from([1, 1, 3, 6, 7]),
)


def picture(outline: Outline, scale: float) -> Picture:
    """Pixels like those a decoder gives at no less than `scale`: some colours, some of them seen through."""
    width, height = (max(1, -int(-side * scale // 1)) for side in (outline.width, outline.height))
    places = pyvips.Image.xyz(width, height * outline.frames)
    bands = [places[0] * 5 + 40, places[1] * 3 % 256, places[0] * places[1] % 256]
    bands += [places[1] * 7 % 256] if outline.alpha else []
    pixels = bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")
    if outline.frames > 1:
        pixels = pixels.copy()
        pixels.set_type(pyvips.GValue.array_int_type, "delay", [100] * outline.frames)
    return Picture(pixels, outline, wish=Wish(format=outline.format))


def check(found: Picture, foretold: Outline, whole: bool) -> None:
    """The picture has the outline that was foretold, and pixels that can be drawn."""
    drawn = found.outline
    assert (drawn.width, drawn.height, drawn.frames) == (foretold.width, foretold.height, foretold.frames)
    assert drawn.orientation == foretold.orientation
    pixels = found.upright().pixels
    assert bool(pixels.hasalpha()) == foretold.alpha
    if whole:
        assert (pixels.width, pixels.height) == (foretold.width, foretold.height * foretold.frames)
    shown = found.settled().pixels.copy_memory()
    assert (shown.width, shown.height, shown.format) == (drawn.width, drawn.height * drawn.frames, "uchar")


@pytest.mark.parametrize("type", SINGLE)
@SETTINGS
@given(data=st.data(), outline=outlines, upright=st.booleans())
def test_a_node_draws_what_it_foretells(type: str, data: st.DataObject, outline: Outline, upright: bool) -> None:
    said = data.draw(parameters(type))
    try:
        node = INDEX[type].model_validate({"type": type, **said})
    except ValidationError:
        reject()
    assert isinstance(node, ImageNode)
    shown = outline.upright() if upright else outline
    beside = {name: picture(Outline(9, 5, alpha=True), 1.0) for name in ("mark", "layer1", "layer2")}
    scale = node.demand(shown, 1.0)
    assert 0 < scale <= 1 or outline.vector
    assert node.demand(shown, 0.5) <= scale
    for at in {1.0, scale}:
        before = picture(outline, at).oriented() if upright else picture(outline, at)
        seen = node.survey(before) if node.surveys else node
        try:
            foretold = seen.reach(shown)
        except NodeInvalid:
            return
        check(seen.apply(before, beside), foretold, whole=at == 1.0)


@SETTINGS
@given(data=st.data(), given=st.lists(outlines, min_size=1, max_size=5))
def test_a_collage_draws_what_it_foretells(data: st.DataObject, given: list[Outline]) -> None:
    node = INDEX["collage"].model_validate({"type": "collage", **data.draw(parameters("collage"))})
    assert isinstance(node, GatherNode)
    shown = [outline.upright() for outline in given]
    pictures = [picture(outline, node.demand(outline, 1.0)).oriented() for outline in given]
    found = node.gather(pictures, [f"{number}.png" for number in range(len(given))])
    check(found, replace(node.reach_all(shown), orientation=1), whole=True)
