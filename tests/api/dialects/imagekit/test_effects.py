"""Effects of ImageKit's addresses: what they draw, measured at places, and what is told of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image, ImageStat

from pipeline.errors import RequestInvalid
from pipeline.graph.flow import Flow, load_flow
from pipeline.imaging.sandbox import Sandbox
from tests.api.dialects.imagekit.drawing import Easel, at, box_of, near

GREY = (100, 100, 100)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
async def easel(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Easel]:
    """A grey picture, one with an edge, a ramp of tones, and a red square on nothing."""
    edge = Image.new("RGB", (80, 40), (80, 80, 80))
    edge.paste((160, 160, 160), (40, 0, 80, 40))
    ramp = Image.linear_gradient("L").rotate(90).resize((100, 20)).point(lambda level: 80 + level // 3)
    cutout = Image.new("RGBA", (100, 100))
    cutout.paste(RED, (40, 40, 60, 60))
    halves = Image.new("RGB", (100, 60), RED)
    halves.paste(BLUE, (70, 0, 100, 60))
    pictures = {"base": Image.new("RGB", (120, 80), GREY), "edge": edge, "ramp": ramp, "cutout": cutout}
    yield Easel(sandbox, tmp_path_factory.mktemp("effects"), pictures | {"halves": halves})


async def test_grey_and_contrast(easel: Easel) -> None:
    assert len(set(at(await easel.draw("e-grayscale", "cutout"), 50, 50)[:3])) == 1
    low, high = (await easel.draw("e-contrast", "ramp")).convert("L").getextrema()
    assert low <= 3 and high >= 252  # type: ignore[operator]


async def test_sharpening_makes_edges_steeper(easel: Easel) -> None:
    def overshoot(image: Image.Image) -> int:
        return at(image, 40, 20)[0] - 160

    usual, strong = [overshoot(await easel.draw(text, "edge")) for text in ("e-sharpen", "e-sharpen-10")]
    assert 0 < usual < strong
    # amount 2, half of it to either side of the step of 80: the mask takes away half of that there.
    mask = await easel.draw("e-usm-2-2-2-0.02", "edge")
    assert overshoot(mask) > 40 and at(mask, 5, 20)[0] == 80
    untouched = await easel.draw("e-usm-2-2-2-0.9", "edge")
    assert [at(untouched, x, 20)[0] for x in (39, 40)] == [80, 160]


async def test_a_shadow_falls_under_what_is_there(easel: Easel) -> None:
    found = await easel.draw("e-shadow-bl-0_st-40_x-30_y-N20", "cutout")
    assert found.size == (100, 100) and near(at(found, 50, 50), RED)
    assert at(found, 80, 25) == (0, 0, 0, 102) and at(found, 20, 80)[3] == 0
    usual = await easel.draw("e-shadow", "cutout")
    assert 0 < at(usual, 50, 65)[3] < 77
    assert (await easel.draw("e-shadow", "base")).getcolors() == [(9600, GREY)]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("e-gradient-from-FF0000_to-0000FF", {(60, 0): RED, (60, 79): BLUE}),
        ("e-gradient-ld-right_from-red_to-blue_sp-0.5", {(0, 40): RED, (61, 40): BLUE, (119, 40): BLUE}),
        ("e-gradient-ld-270_from-red_to-blue", {(119, 40): RED, (0, 40): BLUE}),
        ("e-gradient-ld-top_left_from-red_to-blue", {(119, 79): RED, (0, 0): BLUE, (119, 0): (128, 0, 128)}),
        ("e-gradient-ld-top_from-00000000_to-black_sp-ih_div_4", {(60, 79): GREY, (60, 58): (0, 0, 0)}),
        ("e-gradient-from-red_to-blue_sp-20", {(60, 0): RED, (60, 21): BLUE}),
        ("e-gradient", {(60, 0): (255, 255, 255), (60, 79): GREY}),
        # The two last digits are a decimal opacity: half of red over grey.
        ("e-gradient-from-FF000050_to-FF000050", {(60, 40): (178, 50, 50)}),
    ],
)
async def test_a_gradient_lies_over_the_picture(easel: Easel, text: str, places: dict[Any, Any]) -> None:
    found = await easel.draw(text)
    assert found.size == (120, 80)
    assert {place: colour for place, colour in places.items() if not near(at(found, *place), colour, 6)} == {}


async def test_colours_are_mixed_in_and_replaced(easel: Easel) -> None:
    assert near(at(await easel.draw("e-colorize-co-red_in-50"), 9, 9), (178, 50, 50), 1)
    white = await easel.draw("e-colorize-co-FFFFFF", "cutout")
    assert at(white, 50, 50) == (255, 255, 255, 255) and at(white, 5, 5)[3] == 0
    assert near(at(await easel.draw("e-colorize"), 9, 9), (128, 128, 128), 1)
    main = await easel.draw("cr-00FF00", "halves")
    assert near(at(main, 10, 10), (0, 255, 0)) and at(main, 90, 10)[:3] == BLUE
    named = await easel.draw("cr-00FF00_20_blue", "halves")
    assert at(named, 10, 10)[:3] == RED and near(at(named, 90, 10), (0, 255, 0))


async def test_a_picture_is_bent(easel: Easel) -> None:
    leaning = await easel.draw("e-distort-p-0_0_100_20_100_60_N20_80", "halves")
    assert leaning.size == (120, 80) and at(leaning, 118, 2)[3] == 0
    assert near(at(leaning, 30, 40), RED) and near(at(leaning, 114, 40), BLUE)
    arc = await easel.draw("e-distort-a-180", "halves")
    assert arc.width == 124 and at(arc, 2, 2)[3] == 0 and near(at(arc, 62, 4), RED, 12)
    assert (await easel.draw("e-distort-a-N180", "halves")).size == arc.size


async def test_effects_follow_each_other_as_they_are_written(easel: Easel) -> None:
    found = await easel.draw("w-60,e-gradient-from-red_to-red,e-grayscale")
    assert found.size == (60, 40) and ImageStat.Stat(found.convert("RGB")).mean == [54, 54, 54]
    other = await easel.draw("w-60,e-grayscale,e-gradient-from-red_to-red")
    assert box_of(other, RED) == (0, 0, 60, 40)


async def test_what_takes_a_model_is_done_by_a_flow_that_the_project_names(easel: Easel) -> None:
    async def flows(id: str) -> Flow:
        cut = "params: {prompt: {type: string, default: none}}\nnodes:\n  in: {type: input}\n"
        return load_flow(id, cut + "  bent: {type: tint, colour: '#0000ff', strength: 1}\n  out: {type: save}\n")

    named = Easel(easel.sandbox, easel.folder, easel.pictures, {"e-bgremove": "cut", "e-edit": "cut"})
    found = await named.draw("w-60,e-bgremove:r-max", flows=flows)
    assert found.size == (60, 40) and near(at(found, 30, 20), BLUE) and at(found, 0, 0)[3] == 0
    draft = named.draft("e-edit-prompte-bWFrZSBpdCB7dmludGFnZX0")
    assert draft.ground.nodes["n0"]["params"] == {"prompt": "make it {{vintage}}"}
    uploads = Easel(easel.sandbox, easel.folder, easel.pictures, {"remove-bg": "other"})
    assert uploads.draft("e-removedotbg").ground.nodes["n0"]["flow"] == "other"


async def test_things_are_looked_for_and_surroundings_made_up_by_flows(easel: Easel) -> None:
    async def flows(id: str) -> Flow:
        said = "params: {width: {type: integer}, height: {type: integer}, object: {type: string, default: none},"
        said += " prompt: {type: string, default: none}, zoom: {type: number, default: 1},"
        said += " gravity: {type: string, default: center}}\nnodes:\n  in: {type: input}\n"
        done = {
            "find": "  part: {type: crop, width: 20, height: 20, gravity: right}\n",  # where the thing is
            "fill": "  part: {type: pad, width: '{params.width}', height: '{params.height}', background: '#00ff00'}\n",
        }
        return load_flow(id, said + done[id] + "  out: {type: save}\n")

    extensions = {"fo-object": "fill", "fo-person": "find", "bg-genfill": "fill"}
    named = Easel(easel.sandbox, easel.folder, easel.pictures, extensions)
    for text, size in (
        ("w-50,h-50,fo-person", (50, 50)),
        ("w-30,h-10,cm-extract,fo-person,z-2", (30, 10)),
        ("w-500,h-500,c-maintain_ratio_no_enlarge,fo-person", (60, 60)),
    ):
        found = await named.draw(text, "halves", flows=flows)
        assert found.size == size and near(at(found, size[0] // 2, size[1] // 2), BLUE), text
    told = named.draft("w-30,h-10,cm-extract,fo-trafficLight,z-2").ground.nodes["n0"]
    assert (told["flow"], told["params"]) == (
        "fill", {"object": "trafficLight", "width": 30, "height": 10, "zoom": 2},
    )  # fmt: skip
    found = await named.draw("w-120,h-160,cm-pad_resize,bg-genfill-prompt-a lawn", "halves", flows=flows)
    assert found.size == (120, 160) and at(found, 60, 5)[:3] == (0, 255, 0) and at(found, 20, 80)[:3] == RED
    draft = named.draft("w-120,h-160,cm-pad_resize,fo-top,bg-genfill-prompte-YSBsYXdu", "halves")
    assert draft.ground.nodes["n1"]["params"] == {"width": 120, "height": 160, "gravity": "top", "prompt": "a lawn"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "e-bgremove",
            "`e-bgremove` is not spoken here: nothing here can take away a background, unless the",
        ),
        ("e-upscale", "unless the project's `extensions` name a flow for `e-upscale`"),
        ("e-nonsense", "`e-nonsense` is no effect known here."),
        ("e-sharpen-much", "`e-sharpen-much`: it takes a number"),
        ("e-usm-2-2", "`e-usm-2-2`: it takes `usm-<radius>-<sigma>-<amount>-<threshold>`"),
        ("e-shadow-bl-16", "`e-shadow-bl-16`: it takes a number from 0 to 15."),
        ("e-shadow-zz-1", "it takes parameters joined by `_`, of `bl-`, `st-`, `x-`, `y-`."),
        ("e-gradient-from-nocolour", "it takes a colour"),
        ("e-gradient-ld-up", "it takes a number from -360 to 360."),
        ("e-distort-p-1_2_3", "it takes `distort-p-` with the corners"),
        ("e-distort-p-0_0_80_0_10_10_0_40", "convex"),
        ("cr-FF0000_101", "`cr-FF0000_101`: it takes a number from 0 to 100."),
        ("cr-red_1_blue_2", "it takes `to`, `to_tolerance` or `to_tolerance_from`"),
    ],
)
def test_what_cannot_be_read_is_told(easel: Easel, text: str, told: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        easel.draft(text)
    assert told in caught.value.message
