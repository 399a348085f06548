from __future__ import annotations

import json
import pickle
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FlowInvalid, NodeInvalid, ParamsInvalid
from pipeline.graph.flow import Edge, Flow, load_flow
from pipeline.nodes import INDEX
from pipeline.nodes.resize import Resize
from pipeline.nodes.save import Save

FLOWS = Path(__file__).parent.parent.parent / "flows"

PRODUCT = """\
# flows/product-images.yaml
title: Product images
description: A square thumbnail and a watermarked full size, both WebP.
accept: {types: [image/*], max_size: 25MB, max_pixels: 100MP}
params:                                   # given at trigger time, checked, with defaults
  quality: {type: integer, default: 82, minimum: 1, maximum: 100}
nodes:
  photo:  {type: input}
  thumb:  {type: resize, width: 320, height: 320, fit: cover, gravity: attention}
  full:   {type: resize, from: photo, width: 1600, enlarge: false}
  marked: {type: watermark, image: "asset:logo.png", position: bottom-right, opacity: 0.6}
  out:    {type: save, from: [thumb, marked], path: "products/{file.id}/{node}.webp", quality: "{params.quality}"}
"""


def faults(text: str, flow_id: str = "f") -> list[str]:
    """What the loader says of a text in which a `§` stands before every place of a fault: `CODE hint`, in order."""
    places = []
    for number, line in enumerate(text.split("\n"), 1):
        before = line.split("§")[:-1]
        places += [(number, len("".join(before[: end + 1])) + 1) for end in range(len(before))]
    with pytest.raises(FlowInvalid) as caught:
        load_flow(flow_id, text.replace("§", ""))
    found = caught.value.facts["complaints"]
    assert list(dict.fromkeys((one.line, one.column) for one in found)) == places, [str(one) for one in found]
    assert all(one.file == f"{flow_id}.yaml" and one.message.endswith(".") for one in found)
    return [f"{one.code} {one.hint}".strip() for one in found]


def nodes(text: str) -> str:
    return "nodes:\n" + "\n".join(f"  {line.strip()}" for line in text.strip().splitlines()) + "\n"


def around(line: str) -> str:
    """A sound flow with one more line."""
    return nodes(f"photo: {{type: input}}\nthumb: {{type: resize, width: 32}}\nout: {{type: save}}\n{line}")


SOUND = around("")


# Sound flows


def test_the_flow_of_the_design() -> None:
    flow = load_flow("product-images", PRODUCT)
    assert (flow.id, flow.title, flow.queue, flow.timeout, flow.webhook) == (
        "product-images", "Product images", "default", None, None,
    )  # fmt: skip
    assert (flow.accept.types, flow.accept.max_size, flow.accept.max_pixels) == (("image/*",), 25_000_000, 100_000_000)
    assert flow.order == ("photo", "thumb", "full", "marked", "out")
    assert flow.edges == (
        Edge("photo", None, "thumb", "image"),
        Edge("photo", None, "full", "image"),
        Edge("full", None, "marked", "image"),
        Edge("thumb", None, "out", "image"),
        Edge("marked", None, "out", "image"),
    )
    assert list(flow.inputs) == ["photo"]
    assert flow.inputs["photo"].required is True
    assert [edge.source for edge in flow.into["out"]] == ["thumb", "marked"]
    assert [edge.target for edge in flow.out_of["photo"]] == ["thumb", "full"]
    assert flow.nodes["out"].parameters["quality"] == "{params.quality}"
    assert flow.nodes["out"].cls is Save
    assert flow.text == PRODUCT


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_flows_are_sound(path: Path) -> None:
    assert load_flow(path.stem, path.read_text(), str(path)).id == path.stem


def test_every_form_of_from() -> None:
    flow = load_flow(
        "f",
        nodes(
            """
            photo: {type: input}
            logo: {type: input, required: false}
            big: {type: conditional, from: photo, field: width, operator: greaterThan, value: 2000}
            small: {type: resize, from: big.then, width: 2000}
            same: {type: first, from: [small, big.else]}
            marked: {type: watermark, from: {image: same, mark: logo}}
            pack: {type: zip, from: {image: [marked, photo]}}
            out: {type: save, from: [pack]}
            """
        ),
    )
    assert [tuple(vars(edge).values()) for edge in flow.edges] == [
        ("photo", None, "big", "image"),
        ("big", "then", "small", "image"),
        ("small", None, "same", "image"),
        ("big", "else", "same", "image"),
        ("same", None, "marked", "image"),
        ("logo", None, "marked", "mark"),
        ("marked", None, "pack", "image"),
        ("photo", None, "pack", "image"),
        ("pack", None, "out", "image"),
    ]


def test_order_follows_the_edges_and_else_the_document() -> None:
    flow = load_flow(
        "f",
        nodes(
            """
            out: {type: save, from: small}
            small: {type: resize, from: b, width: 3}
            b: {type: input}
            a: {type: save, from: b}
            """
        ),
    )
    assert flow.order == ("b", "small", "out", "a")


def test_settings_of_the_flow_and_its_nodes() -> None:
    flow = load_flow(
        "f",
        "queue: interactive\ntimeout: 2m\nwebhook: https://example.com/hook\n"
        + nodes("a: {type: input}\nb: {type: orient, timeout: 500ms, retries: 2, keep: true, on_error: skip}"),
    )
    assert (flow.queue, flow.timeout, flow.webhook) == ("interactive", 120, "https://example.com/hook")
    spec = flow.nodes["b"]
    assert (spec.timeout, spec.retries, spec.keep, spec.on_error) == (0.5, 2, True, "skip")


def test_a_loaded_flow_crosses_processes() -> None:
    flow = load_flow("product-images", PRODUCT)
    assert pickle.loads(pickle.dumps(flow)) == flow


# Versions


def test_version_is_of_the_content() -> None:
    version = load_flow("a", PRODUCT).version
    assert len(version) == 16 and int(version, 16) >= 0
    same = PRODUCT.replace("# flows/product-images.yaml", "# other").replace(
        "width: 320, height: 320", "height: 320, width: 320"
    )
    assert load_flow("b", same).version == version
    assert load_flow("a", PRODUCT.replace("width: 1600", "width: 1601")).version != version
    assert load_flow("a", PRODUCT.replace("title: Product", "title: Our product")).version != version


def test_the_order_of_nodes_counts() -> None:
    first = nodes("a: {type: input}\nb: {type: resize, width: 3, from: a}\nc: {type: save, from: [a, b]}")
    second = nodes("a: {type: input}\nc: {type: save, from: [a, b]}\nb: {type: resize, width: 3, from: a}")
    assert load_flow("f", first).version != load_flow("f", second).version


# Placeholders and params


def test_build_fills_placeholders_and_keeps_types() -> None:
    spec = load_flow("f", PRODUCT).nodes["out"]
    node = spec.build({"file.id": "id1", "node": "thumb", "params.quality": 50})
    assert isinstance(node, Save)
    assert (node.path, node.quality) == ("products/id1/thumb.webp", 50)


def test_build_without_placeholders_needs_no_facts() -> None:
    node = load_flow("f", PRODUCT).nodes["thumb"].build({})
    assert isinstance(node, Resize)
    assert (node.width, node.fit) == (320, "cover")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"file.id": "x", "node": "n", "params.quality": 0}, "quality: should be greater than or equal to 1"),
        ({"file.id": "x", "params.quality": 5}, "path: there is no value for {node} here"),
    ],
)
def test_build_names_node_and_parameter(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeInvalid) as caught:
        load_flow("f", PRODUCT).nodes["out"].build(facts)
    assert (caught.value.node, caught.value.message) == ("out", message)


def test_a_number_becomes_text_where_text_is_wanted() -> None:
    flow = load_flow(
        "f",
        "params: {year: {type: integer, default: 2026}}\n"
        + nodes(
            """
            a: {type: input}
            b: {type: text, text: "{params.year}"}
            c: {type: text, text: "{date:%Y}"}
            d: {type: save}
            """
        ),
    )
    assert flow.nodes["b"].build({"params.year": 2027}).model_dump()["text"] == "2027"
    assert flow.nodes["c"].build({"date": datetime(2030, 1, 1, tzinfo=UTC)}).model_dump()["text"] == "2030"


def with_param(spec: str, parameter: str) -> str:
    return f"params: {{p: {spec}}}\n" + nodes(
        f"a: {{type: input}}\nb: {{type: resize, {parameter}}}\nc: {{type: save}}"
    )


@pytest.mark.parametrize(
    ("spec", "parameter"),
    [
        ("{type: integer}", 'width: "{params.p}"'),
        ("{type: integer, minimum: 40}", 'width: "{params.p}"'),
        ("{type: integer, default: 40}", 'width: "{params.p}"'),
        ("{type: integer, default: null}", 'width: 5, height: "{params.p}"'),
        ("{enum: [cover, contain]}", 'width: 5, fit: "{params.p}"'),
        ("{type: boolean}", 'width: 5, enlarge: "{params.p}"'),
        ("{}", 'width: "{metadata.width}", fit: "{metadata.fit}"'),
        ("{}", 'width: "{width}", background: "{metadata.colour}"'),
    ],
)
def test_placeholders_in_typed_parameters(spec: str, parameter: str) -> None:
    assert load_flow("f", with_param(spec, parameter)).id == "f"


@pytest.mark.parametrize(
    ("spec", "parameter", "found"),
    [
        ("{type: integer, default: 0}", 'width: §"{params.p}"', "VALUE_INVALID"),
        ("{type: boolean}", 'width: 3, fit: §"{params.p}"', "VALUE_INVALID"),
        ("{enum: [kover]}", 'width: 3, fit: §"{params.p}"', "VALUE_INVALID Did you mean `cover`?"),
        ("{}", 'width: 3, timeout: §"{params.p}"', "VALUE_INVALID"),
        ("{}", 'width: §"{params.q}"', "PLACEHOLDER_UNKNOWN Declare it under `params`."),
        ("{}", 'height: 3, §widht: "{params.p}"', "KEY_UNKNOWN Did you mean `width`?"),
    ],
)
def test_placeholders_that_cannot_do(spec: str, parameter: str, found: str) -> None:
    assert faults(with_param(spec, parameter)) == [found]


def test_check_params() -> None:
    flow = load_flow(
        "f",
        "params:\n"
        "  quality: {type: integer, default: 82, minimum: 1, maximum: 100}\n"
        "  label: {type: string, max_length: 5, pattern: '^[a-z]+$'}\n"
        "  ratio: {type: number, default: 1}\n"
        "  fit: {enum: [cover, contain], default: cover}\n"
        "  dark: {type: boolean, default: false}\n" + around(""),
    )
    assert flow.check_params({"label": "abc"}) == {
        "quality": 82, "label": "abc", "ratio": 1, "fit": "cover", "dark": False,
    }  # fmt: skip
    assert flow.check_params({"label": "a", "quality": "7", "ratio": "0.5", "dark": "true", "fit": "contain"}) == {
        "quality": 7, "label": "a", "ratio": 0.5, "fit": "contain", "dark": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "The param `label` is required."),
        ({"label": "a", "qualty": 1}, "There is no param `qualty`. Did you mean `quality`?"),
        ({"label": "a", "quality": 101}, "The param `quality` should be less than or equal to 100."),
        ({"label": "a", "quality": True}, "The param `quality` should be a number, not true or false."),
        ({"label": "a", "quality": "x"}, "The param `quality` should be a valid integer"),
        ({"label": "A"}, "The param `label` should match pattern"),
        ({"label": "a", "quality": [1]}, "The param `quality` should be a valid integer"),
    ],
)
def test_params_that_cannot_be_taken(given: dict[str, Any], reason: str) -> None:
    flow = load_flow(
        "f",
        "params:\n  quality: {type: integer, default: 82, minimum: 1, maximum: 100}\n  label: {pattern: '^[a-z]+$'}\n"
        + around(""),
    )
    with pytest.raises(ParamsInvalid) as caught:
        flow.check_params(given)
    assert caught.value.message.startswith(reason)


# Faults, each with its place


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nodes: [§", "YAML_INVALID"),
        ("§- a", "VALUE_INVALID"),
        ("§", "NODES_MISSING Write `nodes:` with at least an input and a save."),
        ("§title: x", "NODES_MISSING Write `nodes:` with at least an input and a save."),
        ("nodes: §{}", "NODES_MISSING Write `nodes:` with at least an input and a save."),
        (around("§thumb: {type: orient}"), "KEY_DOUBLED Remove one of them."),
        (SOUND + "§titel: x", "KEY_UNKNOWN Did you mean `title`?"),
        (SOUND + "§nods: x", "KEY_UNKNOWN Did you mean `nodes`?"),
        (SOUND + "accept: {types: [image/*], §maxsize: 1MB}", "KEY_UNKNOWN Did you mean `max_size`?"),
        (SOUND + "accept: {max_size: §5kg}", "VALUE_INVALID"),
        (SOUND + "accept: {types: [§image]}", "VALUE_INVALID"),
        (SOUND + "queue: §interactiv", "VALUE_INVALID Did you mean `interactive`?"),
        (SOUND + "timeout: §soon", "VALUE_INVALID"),
        (SOUND + "webhook: §ftp://x", "VALUE_INVALID"),
        (SOUND + "params: §[a]", "VALUE_INVALID"),
        (SOUND + "params: {p: {type: §int}}", "VALUE_INVALID Did you mean `integer`?"),
        (SOUND + "params: {p: {§defualt: 3}}", "KEY_UNKNOWN Did you mean `default`?"),
        (SOUND + "params: {p: {type: integer, default: §x}}", "VALUE_INVALID"),
        (SOUND + "params: {p: {minimum: §3}}", "VALUE_INVALID"),
        (SOUND + "params: {p: {enum: [a], default: §b}}", "VALUE_INVALID"),
        (SOUND + "params: {p: {pattern: §'('}}", "VALUE_INVALID"),
        (
            SOUND + "params: {§p q: {}}",
            "NAME_INVALID Begin with a letter; then letters, digits, `_` and `-`, 64 at most.",
        ),
    ],
)
def test_faults_of_the_document(text: str, found: str) -> None:
    assert faults(text) == [found]


UNUSED = "NODE_UNUSED Add a save node with `from: x`, or say `keep: true`."
MARK_MISSING = "INPUT_MISSING Write `from: {image: <node>, mark: <node>}`, or name an `asset:`."
NAME_RULE = "NAME_INVALID Begin with a small letter; then letters, digits, `_` and `-`, 64 at most."
KNOWN_TYPES = "`safelight nodes` lists all there are."


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("§x: resize", ["VALUE_INVALID"]),
        ("§x: {width: 3}", [f"VALUE_INVALID {KNOWN_TYPES}"]),
        ("x: {type: §resise, from: thumb}", ["NODE_TYPE_UNKNOWN Did you mean `resize`?"]),
        ("x: {type: §[a], from: thumb}", [f"NODE_TYPE_UNKNOWN {KNOWN_TYPES}"]),
        ('§X: {type: save, from: photo, path: "p"}', [NAME_RULE]),
        ("x: {type: resize, from: photo, height: 2, §widht: 3, keep: true}", ["KEY_UNKNOWN Did you mean `width`?"]),
        ("x: {type: orient, from: photo, §from_: photo, keep: true}", ["KEY_UNKNOWN Did you mean `from`?"]),
        ("x: {type: resize, from: photo, width: §0, keep: true}", ["VALUE_INVALID"]),
        (
            "x: {type: resize, from: photo, width: 5, fit: §kover, keep: true}",
            ["VALUE_INVALID Did you mean `cover`?"],
        ),
        ("§x: {type: resize, from: photo, keep: true}", ["VALUE_INVALID"]),
        ("x: {type: orient, from: §thum, keep: true}", ["SOURCE_UNKNOWN Did you mean `thumb`?"]),
        ("x: {type: zip, from: [thumb, §phto], keep: true}", ["SOURCE_UNKNOWN Did you mean `photo`?"]),
        ("x: {type: orient, from: §3, keep: true}", ["VALUE_INVALID"]),
        ("x: {type: orient, from: §[thumb, photo], keep: true}", ["VALUE_INVALID"]),
        ("x: {type: zip, from: [thumb, §thumb], keep: true}", ["VALUE_INVALID Remove one of them."]),
        ("x: {type: input, from: §thumb, keep: true}", ["VALUE_INVALID"]),
        (
            'x: {type: input, many: §"{params.p}", keep: true}',
            ["PLACEHOLDER_UNKNOWN Declare it under `params`."],
        ),
        ('x: {type: input, many: §"{run.id}", keep: true}', ["VALUE_INVALID"]),
        ("x: {type: orient, from: §thumb.then, keep: true}", ["PORT_UNKNOWN Write `from: thumb`."]),
        (
            "x: {type: watermark, image: 'asset:a', from: {§imgae: thumb}, keep: true}",
            ["PORT_UNKNOWN Did you mean `image`?"],
        ),
        ("x: {type: watermark, from: §thumb, keep: true}", [MARK_MISSING]),
        ("x: {type: watermark, from: §{mark: thumb}, keep: true}", ["INPUT_MISSING Write `from: <node>`."]),
        ("x: {type: zip, from: §[], keep: true}", ["INPUT_MISSING Write `from: <node>`."]),
        ("x: {type: orient, from: §x, keep: true}", ["FLOW_CIRCLE"]),
        ("x: {type: orient, from: §out, keep: true}", ["INPUT_KIND Take it from the node before."]),
        ("§x: {type: orient, keep: true}", ["INPUT_KIND Say `from: <node>`."]),
        ("§x: {type: orient, from: thumb}", [UNUSED]),
        ("§x: {type: input}", [UNUSED]),
        ("§x: {type: orient, from: thumb, keep: false}", [UNUSED]),
        ("§x: {type: save, from: thumb}", ["OUTPUT_NOT_UNIQUE Give each save its own path."]),
        ('x: {type: save, from: thumb, path: §"{nod}.webp"}', ["PLACEHOLDER_UNKNOWN Did you mean `{node}`?"]),
        (
            'x: {type: text, from: thumb, text: §"a { b", keep: true}',
            ["PLACEHOLDER_UNKNOWN Write `{{` for a brace that is not a placeholder."],
        ),
        (
            "x: {type: conditional, from: photo, field: §params.z, operator: equals, value: 1}\n"
            "  y: {type: save, from: x.then, path: y}",
            ["VALUE_INVALID"],
        ),
    ],
)
def test_faults_of_a_node(line: str, found: list[str]) -> None:
    assert faults(around(line)) == found


def test_the_first_node_has_no_node_above() -> None:
    assert faults(nodes("§a: {type: resize, width: 3}\nb: {type: save}")) == [
        "INPUT_MISSING Begin with `{type: input}`."
    ]


CONDITION = "big: {type: conditional, field: width, operator: greaterThan, value: 5}"
BOTH_WAYS = "PORT_UNKNOWN Write `from: big.then` or `from: big.else`."


def test_ports_of_a_conditional() -> None:
    text = nodes(
        f"""
        photo: {{type: input}}
        {CONDITION}
        a: {{type: orient, from: §big, keep: true}}
        b: {{type: orient, from: §big.than, keep: true}}
        c: {{type: zip, from: [big.else, §big.], keep: true}}
        """
    )
    assert faults(text) == [BOTH_WAYS, "PORT_UNKNOWN Did you mean `then`?", "PORT_UNKNOWN Known: then, else."]
    assert faults(nodes(f"photo: {{type: input}}\n{CONDITION}\n§out: {{type: save}}")) == [BOTH_WAYS]


def test_a_file_that_is_no_image_is_told_through_choices() -> None:
    text = nodes(
        """
        photo: {type: input}
        pack: {type: zip}
        one: {type: first, from: [photo, pack]}
        §small: {type: resize, width: 3}
        out: {type: save}
        """
    )
    assert faults(text) == ["INPUT_KIND Say `from: <node>`."]


def test_circles_and_what_hangs_on_them() -> None:
    text = nodes(
        """
        photo: {type: input}
        a: {type: orient, from: c}
        b: {type: orient, from: a}
        c: {type: orient, from: b}
        d: {type: orient, from: c}
        out: {type: save, from: [d, photo]}
        """
    )
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", text)
    assert [str(one) for one in caught.value.facts["complaints"]] == [
        "f.yaml:3:27 FLOW_CIRCLE The nodes go round in a circle: `a` -> `b` -> `c` -> `a`.",
        "f.yaml:6:3 NODE_UNREACHABLE No way leads from an input to `d`.",
    ]


def test_a_conditional_cannot_choose_for_many() -> None:
    text = nodes(
        f"""
        photo: {{type: input, many: true}}
        §{CONDITION}
        out: {{type: save, from: [big.then, big.else], path: "{{file.id}}"}}
        """
    )
    assert faults(text) == ["CONDITIONAL_MANY Take `many` from the input `photo`."]


def saves(*lines: str) -> str:
    return nodes(
        "photo: {type: input}\nother: {type: input}\nthumb: {type: resize, from: photo, width: 3}\n"
        "full: {type: resize, from: photo, width: 9}\n" + "\n".join(lines)
    )


EACH_OWN = "OUTPUT_NOT_UNIQUE Give each save its own path."
BY_NODE = "OUTPUT_NOT_UNIQUE Put `{node}` into the path."


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (['a: {type: save, from: [thumb, full, other], path: §"x/{file.id}.webp"}'], BY_NODE),
        (['a: {type: save, from: [thumb, full, other], path: §"x.webp"}'], BY_NODE),
        (['a: {type: save, from: [thumb, full, other], path: §"{params.p}"}'], BY_NODE),
        (
            ['a: {type: save, from: [thumb, other], path: §"x"}', 'b: {type: save, from: full, path: "y"}'],
            BY_NODE,
        ),
        (
            ['a: {type: save, from: [thumb, other], path: "{node}"}', 'b: {type: save, from: full, path: §"thumb"}'],
            EACH_OWN,
        ),
        (["a: {type: save, from: [thumb, full, other]}", "§b: {type: save, from: thumb}"], EACH_OWN),
    ],
)
def test_doubled_output_paths(lines: list[str], found: str) -> None:
    assert faults(saves(*lines) + "params: {p: {}}") == [found]


@pytest.mark.parametrize(
    "lines",
    [
        ['a: {type: save, from: [thumb, full, other], path: "{file.id}/{node}.webp"}'],
        ['a: {type: save, from: [thumb, full, other], path: "{file.id}-{width}.webp"}'],
        [
            'a: {type: save, from: [thumb, other], path: "{file.id}.webp"}',
            'b: {type: save, from: full, path: "{file.id}.jpg"}',
        ],
        ["a: {type: save, from: [thumb, other]}", "b: {type: save, from: full}"],
        ["a: {type: save, from: [thumb, full, other]}", "b: {type: save, from: thumb, storage: archive}"],
        [
            "c: {type: convert, from: thumb, format: webp}",
            "d: {type: convert, from: full, format: avif}",
            'a: {type: save, from: [c, d, other], path: "{file.id}.{format}"}',
        ],
        [
            "c: {type: conditional, from: thumb, field: alpha, operator: equals, value: true}",
            'a: {type: save, from: [c.then, other], path: "{file.id}.webp"}',
            'b: {type: save, from: c.else, path: "{file.id}.webp"}',
            "d: {type: save, from: full}",
        ],
    ],
)
def test_output_paths_that_differ(lines: list[str]) -> None:
    assert load_flow("f", saves(*lines)).id == "f"


def test_many_files_need_many_paths() -> None:
    text = 'photo: {type: input, many: true}\npack: {type: zip}\nout: {type: save, path: "all.zip"}\n'
    assert load_flow("f", nodes(text)).id == "f"
    assert faults(nodes(text + 'each: {type: save, from: photo, path: §"x.jpg"}')) == [
        "OUTPUT_NOT_UNIQUE Put `{file.id}` into the path."
    ]


def test_one_load_reports_every_fault() -> None:
    text = PRODUCT
    for sound, wrong in {
        "title:": "§titel:",
        "minimum: 1,": "minimum: §x,",
        "fit: cover": "fit: §kover",
        "from: photo": "from: §phto",
        "position:": "§positoin:",
        '"products/{file.id}/{node}': '§"products/{file.id}/{nod}',
    }.items():
        text = text.replace(sound, wrong)
    assert faults(text, "product-images") == [
        "KEY_UNKNOWN Did you mean `title`?",
        "VALUE_INVALID",
        "VALUE_INVALID Did you mean `cover`?",
        "SOURCE_UNKNOWN Did you mean `photo`?",
        "KEY_UNKNOWN Did you mean `position`?",
        "PLACEHOLDER_UNKNOWN Did you mean `{node}`?",
    ]


def test_the_error_tells_the_first_fault_and_their_number() -> None:
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", around("x: {type: resise, from: thumb}\n  y: {type: save, from: phto}"), "flows/f.yaml")
    assert caught.value.message == (
        "The flow `f` has 2 faults: "
        "flows/f.yaml:5:13 NODE_TYPE_UNKNOWN There is no node type `resise`. Did you mean `resize`?"
    )


@pytest.mark.parametrize("flow_id", ["", "A", "a b", "../a", "a" * 65, "a\n"])
def test_ids_that_cannot_be(flow_id: str) -> None:
    with pytest.raises(FlowInvalid) as caught:
        load_flow(flow_id, around(""))
    assert [one.code for one in caught.value.facts["complaints"]] == ["NAME_INVALID"]


# Hostile documents


def listed(count: int, line: str) -> str:
    return "nodes:\n" + "".join("  " + line.format(i, (i + 1) % count, i ^ 1) + "\n" for i in range(count))


@pytest.mark.parametrize(
    "text",
    [
        listed(501, "n{0}: {{type: input}}"),
        listed(10_000, "n{0}: {{type: orient}}"),
        listed(500, "n{0}: {{type: first, from: n{1}}}"),
        listed(500, "n{0}: {{type: first, from: n{2}}}"),
        listed(250, "n{0}: {{type: zip, from: [" + ", ".join(f"m{i}" for i in range(30)) + "]}}"),
        listed(250, "n{0}: {{type: first, from: [" + ", ".join(f"n{i}" for i in range(30)) + "]}}"),
        listed(250, "n{0}: {{typo: " + "x" * 1000 + ", from: " + "y" * 1000 + "}}"),
        around('x: {type: text, text: "' + "{" * 1000 + '", keep: true}'),
        around('x: {type: text, text: "' + "{a}" * 10_000 + '", keep: true}'),
    ],
    ids=["501", "10000", "circle", "pairs", "unknown", "dense", "long", "braces", "placeholders"],
)
def test_hostile_documents_are_refused_quickly(text: str) -> None:
    started = time.process_time()
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", text)
    assert 1 <= len(caught.value.facts["complaints"]) <= 101
    assert time.process_time() - started < 5


def test_long_chains_are_fine() -> None:
    text = nodes("a: {type: input}\n" + "\n".join(f"n{i}: {{type: first}}" for i in range(498)) + "\nz: {type: save}")
    assert len(load_flow("f", text).order) == 500


NAMES = st.sampled_from(["photo", "a", "b", "out", "big", "big.then", "a.b", "", "{node}", "{params.p}"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(allow_nan=False, allow_infinity=False) | NAMES
TREES = st.recursive(
    SCALARS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["from", "width", "path", "format", "keep", "many", "field", "operator", "value", "image", "timeout", "text"]
NODES = st.builds(
    lambda kind, rest: {"type": kind} | rest,
    st.sampled_from([*INDEX, "nope"]),
    st.dictionaries(st.sampled_from(KEYS), TREES | NAMES, max_size=4),
)
NODE_IDS = st.sampled_from(["photo", "a", "b", "out", "big", "X"])
PARAMS = st.dictionaries(st.sampled_from(["type", "default", "enum", "minimum", "pattern"]), TREES, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {"nodes": st.dictionaries(NODE_IDS, NODES | TREES, max_size=6) | TREES},
    optional={
        "title": TREES,
        "accept": TREES,
        "timeout": TREES,
        "params": st.fixed_dictionaries({"p": PARAMS}) | TREES,
    },
)


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS)
def test_random_documents_are_sound_or_complained_of(document: dict[str, Any]) -> None:
    try:
        flow = load_flow("f", json.dumps(document))
    except FlowInvalid as error:
        assert error.facts["complaints"]
        return
    assert isinstance(flow, Flow)
    assert set(flow.order) == set(flow.nodes)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_random_text_is_complained_of(text: str) -> None:
    with pytest.raises(FlowInvalid):
        load_flow("f", text)
