"""What can never succeed is told when a flow is checked; what a picture must tell, by node and parameter in a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import FlowInvalid, NodeInvalid
from pipeline.graph.flow import load_flow
from pipeline.imaging import letters
from pipeline.imaging.letters import Hand, written
from pipeline.imaging.open import open_shipped
from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import corners
from tests.nodes.test_frames import animation

HALF = 'params: {half: {type: string, default: "50%"}}\n'
AROUND = """\
nodes:
  photo: {type: input}
  x: {STEP}
  out: {type: save, path: "{node}.webp"}
"""


def flow_with(step: str) -> str:
    return AROUND.replace("STEP", step)


# Caught when the flow is checked


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("type: crop, region: {left: 100%, width: 5, height: 5}", "`region`: left 100% is outside of every picture."),
        ("type: crop, region: {top: 120.5%, width: 5, height: 5}", "`region`: top 120.5% is outside of every picture."),
        ("type: crop, region: {width: 0, height: 5}", "`region`: a region with width 0 holds nothing."),
        ("type: crop, region: {width: 5, height: 0.0%}", "`region`: a region with height 0.0% holds nothing."),
        (
            "type: crop, region: {left: 60%, width: 50%, height: 5}",
            "`region`: left 60% and width 50% come to more than 100%.",
        ),
        (
            "type: crop, region: {top: 0.1%, width: 9, height: 100%}",
            "`region`: top 0.1% and height 100% come to more than 100%.",
        ),
        ("type: crop, width: 0", "`width` should be greater than or equal to 1."),
        ("type: crop, aspect: '4:0'", "An aspect ratio has no zero side."),
        ("type: crop, aspect: '4:3', width: 9", "Crop needs exactly one of region, aspect, or width and height."),
        (
            "type: redact, regions: [{width: 5, height: 5}, {left: 99%, width: 2%, height: 5}]",
            "`regions[1]`: left 99% and width 2% come to more than 100%.",
        ),
        ("type: resize", "Resize needs a width, a height or both."),
        ("type: pad, top: 5, aspect: '1:1'", "Pad needs exactly one of edges"),
        ("type: pad, aspect: '0:1'", "An aspect ratio has no zero side."),
        ("type: watermark, image: 'asset:a.png', scale: 0", "`scale` should be greater than 0."),
        ("type: overlay, layers: [{image: 'asset:a', width: 0%}]", "`width`: a layer without width shows nothing."),
        ("type: text, text: hi, typeface: comic", "`typeface` should be 'sans', 'serif' or 'mono'."),
        ("type: text, text: hi, font: Arial", "There is no key `font` here."),
        ("type: text, text: <b>hi, markup: true", "Text: its markup is not well-formed"),
        ("type: round, radius: 3, circle: true", "Round needs either a radius, corners or `circle: true`."),
        ("type: frames, start: 4, end: 2", "End 2 lies before start 4."),
        ("type: frames, start: -2, end: -4", "End -4 lies before start -2."),
        ("type: frames, frame: 1, every: 2", "Frames takes either frame, or start, end and every."),
        ("type: animate, speed: 2, delay: 50", "Animate takes either speed or delay."),
        ("type: optimize, max_bytes: 0", "Max_bytes is at least 1."),
        ("type: optimize, max_bytes: 9, max_quality: 5", "Max_quality 5 is below min_quality 30."),
        ("type: srcset, widths: [9], steps: 3", "Srcset needs either widths, or min_width, max_width and steps."),
        ("type: srcset, min_width: 9, max_width: 8, steps: 3", "Min_width 9 is above max_width 8."),
        ("type: convert, format: jpeg, lossless: true", "Lossless: jpeg always loses something."),
        ("type: deepzoom, layout: iiif, container: szi", "Overlap and szi belong to the layout dzi, not to iiif."),
        ("type: verify, min_width: 9, max_width: 8", "Nothing can pass: min_width is larger than max_width."),
        ("type: verify, types: [png]", "`types[0]` should match pattern"),
        ("type: verify, min_pixels: 1MP, max_width: 999, max_height: 1000", "Nothing can pass: max_width x max_height"),
        (
            "type: verify, max_pixels: 1MP, min_width: 1001, min_height: 1000",
            "Nothing can pass: min_width x min_height",
        ),
        ("type: verify, aspect: '16:9', max_width: 99, min_height: 100", "Nothing can pass: no sides within the rules"),
        ("type: verify, aspect: '1:2', min_width: 90, max_height: 99", "Nothing can pass: no sides within the rules"),
        (
            "type: conditional, field: mime, operator: lessThan, value: 3",
            "LessThan compares numbers, and mime is a text",
        ),
        ("type: conditional, field: ratio, operator: lessThan, value: '16:9'", "LessThan compares numbers; write one"),
    ],
)
def test_what_can_never_succeed_is_told_by_the_check(step: str, message: str) -> None:
    with pytest.raises(FlowInvalid) as caught:
        load_flow("f", flow_with(step))
    found = [one for one in caught.value.facts["complaints"] if one.line == 3]
    assert found and found[0].message.startswith(message), [str(one) for one in found]


@pytest.mark.parametrize(
    "step",
    [
        'type: crop, region: {left: 33.3%, top: 0, width: "66.7%", height: 100%}',
        'type: crop, region: {left: "{params.half}", top: 0, width: "{params.half}", height: 9}',
        "type: frames, start: -2, end: 4",
        "type: frames, start: 3",
        "type: verify, min_pixels: 1MP, max_width: 1000, max_height: 1000",
        "type: verify, aspect: '16:9', max_width: 1920, min_height: 1080",
        "type: verify, aspect: '16:9', tolerance: 0.1, max_width: 1900, min_height: 1080",
        "type: convert, format: webp, lossless: true",
        "type: optimize, max_bytes: 1, max_quality: 30",
    ],
)
def test_what_may_just_succeed_is_not_complained_of(step: str) -> None:
    text = HALF + flow_with(step)
    assert load_flow("f", text).nodes["x"].build({"params.half": "50%"}).type in step


def test_a_save_whose_path_says_jpeg_cannot_be_lossless() -> None:
    text = (
        "nodes: {photo: {type: input}, small: {type: resize, width: 9}, out: {type: save, path: a.jpg, lossless: true}}"
    )
    with pytest.raises(FlowInvalid, match="Lossless: jpeg always loses something"):
        load_flow("f", text)


# Told by the run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("impossible")
    for name in ("in.png", "100.png"):
        corners(60, 40).save(made / name)
    Image.new("L", (20_000, 1), 9).save(made / "wide.png")
    animation(made / "in.webp", 3, (20, 20))
    return made


@pytest.mark.parametrize(
    ("name", "step", "told"),
    [
        (
            "in.png",
            "type: crop, region: {left: 60, width: 5, height: 5}",
            "region: it begins at 60, 0, outside the 60 x",
        ),
        (
            "in.png",
            "type: crop, region: {top: 41, width: 5, height: 5}",
            "region: it begins at 0, 41, outside the 60 x",
        ),
        (
            "in.png",
            "type: redact, regions: [{width: 5, height: 5}, {left: 61, width: 5, height: 5}]",
            "regions: number 2 lies outside the 60 x 40 picture",
        ),
        ("in.webp", "type: frames, frame: 3", "frame: there is no frame 3; the picture has 3, counted from 0"),
        ("in.webp", "type: frames, start: -9", "start: there is no frame -9; the picture has 3, counted from 0"),
        (
            "in.webp",
            "type: frames, start: 2, end: -2",
            "end: it lies before frame 2; the picture has 3, counted from 0",
        ),
        ("in.png", "type: watermark, image: 'asset:none.png'", "image: there is no asset `none.png`"),
        ("in.png", "type: overlay, layers: [{image: 'asset:no.svg'}]", "image: there is no asset `no.svg`"),
        (
            "in.png",
            "type: watermark, image: 'asset:ORIGIN.md'",
            "image: the asset `ORIGIN.md` does not open as an image",
        ),
        ("in.png", 'type: resize, width: "{file.stem}"', "width: should be a valid integer, unable to parse"),
        ("in.png", 'type: crop, region: {width: "{metadata.none}", height: 5}', "region: there is no value for"),
        ("100.png", 'type: crop, region: {left: "{file.stem}%", width: 5, height: 5}', "region: left 100% is outside"),
        ("in.png", 'type: text, markup: true, text: "<b>{file.stem}"', "text: its markup is not well-formed"),
        ("wide.png", f"type: text, size: 1000, text: {'W ' * 900}", "size: this text would take"),
    ],
)
async def test_what_only_a_picture_can_tell_names_node_and_parameter(
    name: str, step: str, told: str, folder: Path, sandbox: Sandbox, desk: Desk
) -> None:
    path = folder / name
    with pytest.raises(NodeInvalid) as caught:
        await desk.run(sandbox, flow_with(step), {"photo": [file_at(path, f"image/{path.suffix[1:]}")]})
    assert caught.value.node == "x"
    assert caught.value.message.startswith(told)
    state = desk.states["x"]
    assert (state.status, state.error and state.error.code) == ("failed", "NODE_INVALID")


async def test_a_format_too_narrow_is_told_of_the_node_that_writes_it(
    sandbox: Sandbox, desk: Desk, folder: Path
) -> None:
    with pytest.raises(NodeInvalid, match=r"^format: webp holds at most 16383 pixels a side, not 20000$") as caught:
        await desk.run(
            sandbox, flow_with("type: blur, sigma: 1"), {"photo": [file_at(folder / "wide.png", "image/png")]}
        )
    assert caught.value.node == "out"


async def test_a_sheet_too_large_names_its_parameter(sandbox: Sandbox, desk: Desk, folder: Path) -> None:
    text = """
        nodes:
          photos: {type: input, many: true}
          sheet:  {type: collage, columns: 3, width: 4096, height: 4096}
          out:    {type: save, path: sheet.webp}
    """
    with pytest.raises(NodeInvalid, match=r"^width: 7 cells come to 12304 x 12304 pixels") as caught:
        await desk.run(sandbox, text, {"photos": [file_at(folder / "in.png", "image/png")] * 7})
    assert caught.value.node == "sheet"


async def test_an_error_forgiven_is_told_the_same_way(sandbox: Sandbox, desk: Desk, folder: Path) -> None:
    text = flow_with("type: frames, frame: 3, on_error: skip")
    text += "  whole: {type: save, from: photo, path: whole.webp}\n"
    outputs = await desk.run(sandbox, text, {"photo": [file_at(folder / "in.webp", "image/webp")]})
    assert [output.path for output in outputs] == ["whole.webp"]
    error = desk.states["x"].error
    assert error is not None and error.message.startswith("frame: there is no frame 3")


def test_letters_are_never_borrowed_from_another_typeface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters._load.cache_clear()
    monkeypatch.setattr(letters, "FONTS", tmp_path)
    try:
        with pytest.raises(NodeInvalid, match=r"^typeface: Caladea is missing from this installation"):
            written("Hi", Hand(20, typeface="serif"), 100)
    finally:
        letters._load.cache_clear()


def test_a_shipped_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    corners(300, 300).save(tmp_path / "mark.png")
    whole = (tmp_path / "mark.png").read_bytes()
    (tmp_path / "mark.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "mark.svg").write_text("<svg")
    for name in ("mark.png", "mark.svg"):
        with pytest.raises(NodeInvalid, match=rf"^image: the asset `{name}` does not open as an image"):
            open_shipped(tmp_path / name)
