"""Layers of ImageKit's addresses: pictures, canvases and texts, where they lie and how they mix; sizes measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import RequestInvalid
from pipeline.imaging.sandbox import Sandbox
from tests.api.dialects.imagekit.drawing import Easel, at, box_of, near
from tests.api.dialects.imagekit.gallery import Gallery

GREY, RED, GREEN, BLUE = (100, 100, 100), (255, 0, 0), (0, 255, 0), (0, 0, 255)
Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
async def easel(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Easel]:
    """A grey picture of 400 x 300, a red mark of 40 x 20 in a wider transparent picture, a blue square in a folder."""
    mark = Image.new("RGBA", (60, 40))
    mark.paste(RED, (10, 10, 50, 30))
    framed = Image.new("RGB", (80, 60), "white")
    framed.paste(BLUE, (20, 20, 60, 40))
    half = Image.new("RGB", (100, 50), GREEN)
    half.paste(BLUE, (50, 0, 100, 50))
    pictures = {"base": Image.new("RGB", (400, 300), GREY), "mark.png": mark, "framed.png": framed}
    pictures |= {"a/b c.png": Image.new("RGB", (50, 50), BLUE), "half": half, "map.png": Image.new("RGB", (40, 20))}
    pictures["map.png"].paste((255, 128, 0), (0, 0, 40, 20))
    yield Easel(sandbox, tmp_path_factory.mktemp("layers"), pictures)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        # Transparent and plain edges are cut, unless told otherwise.
        ("l-image,i-mark.png,l-end", (180, 140, 220, 160)),
        ("l-image,i-mark.png,t-false,lx-0,ly-0,l-end", (10, 10, 50, 30)),
        ("l-image,ie-bWFyay5wbmc%3D,lfo-bottom_right,l-end", (360, 280, 400, 300)),
        ("l-image,ie-bWFyay5wbmc=,lfo-left,l-end", (0, 140, 40, 160)),
        ("l-image,i-mark.png,lx-30,ly-20,l-end", (30, 20, 70, 40)),
        ("l-image,i-mark.png,lx-N30,ly-N20,l-end", (330, 260, 370, 280)),
        ("l-image,i-mark.png,lx-30,l-end", (30, 0, 70, 20)),
        ("l-image,i-mark.png,lxc-200,lyc-N50,l-end", (180, 240, 220, 260)),
        ("l-image,i-mark.png,lxc-bw_div_4,ly-10,l-end", (80, 10, 120, 30)),
        # The size of what is trimmed is known only when it is; a place that depends on it is right all the same.
        ("l-image,i-mark.png,lx-bw_sub_cw_sub_7,ly-bh_sub_ch,l-end", (353, 280, 393, 300)),
        ("l-image,i-mark.png,lx-bw_sub_cw_div_2,ly-bh_div_3,l-end", (380, 100, 400, 120)),
        ("l-image,i-mark.png,lap-bottom_right,lx-N100,ly-N50,l-end", (300, 250, 340, 270)),
        ("l-image,i-mark.png,lap-center,lxc-0,lyc-10,l-end", (180, 150, 220, 170)),
        ("l-image,i-mark.png,lx-N0,ly-380,l-end", None),
        # Sizes follow the base, and steps inside a layer follow each other.
        ("l-image,i-mark.png,w-bw_div_4,lx-0,ly-0,l-end", (0, 0, 100, 50)),
        ("w-200:l-image,i-mark.png,w-bw_mul_0.5,lx-0,ly-0,l-end", (0, 0, 100, 50)),
        ("l-image,i-mark.png,w-100,h-100,c-force:rt-90,w-50,lx-0,ly-0,l-end", (0, 0, 50, 50)),
        ("l-image,i-mark.png,w-80:rt-90,lx-0,ly-0,l-end", (0, 0, 40, 80)),
        # Plain canvases.
        ("l-image,i-ik_canvas,bg-FF0000,w-100,h-50,lx-10,ly-10,l-end", (10, 10, 110, 60)),
        ("l-image,i-ik_canvas,bg-red,w-bw_div_2,h-bh_mul_0.1,lfo-top,l-end", (100, 0, 300, 30)),
        ("l-image,i-ik_canvas,bg-red,w-0.5,h-30,lfo-bottom,l-end", (100, 270, 300, 300)),
        ("l-image,i-ik_canvas,bg-red,h-20,lfo-bottom,l-end", (0, 280, 400, 300)),
        ("l-image,i-ik_canvas,w-50,h-50,e-gradient-from-red_to-red,lx-0,ly-0,l-end", (0, 0, 50, 50)),
        # The flat parameters of before.
        ("oi-mark.png,ox-30,oy-N20", (30, 260, 70, 280)),
        ("oi-mark.png,oit-false,ofo-top_left", (10, 10, 50, 30)),
        ("oi-mark.png,ow-80,oh-80,oic-force,ofo-top_left", (0, 0, 80, 80)),
        ("obg-FF0000,ow-60,oh-20,ofo-bottom_left", (0, 280, 60, 300)),
    ],
)
async def test_a_layer_lies_where_it_was_told(easel: Easel, text: str, box: Box | None) -> None:
    found = await easel.draw(text.replace("%3D", "="))
    expected = (200, 150) if text.startswith("w-200") else (400, 300)
    assert (found.size, box_of(found, RED)) == (expected, box)


async def test_a_path_leads_through_folders_and_plain_edges_are_cut(easel: Easel) -> None:
    assert box_of(await easel.draw("l-image,i-a@@b c.png,lx-0,ly-0,l-end"), BLUE) == (0, 0, 50, 50)
    assert box_of(await easel.draw("l-image,ie-L2EvYiBjLnBuZw,lx-0,ly-0,l-end"), BLUE) == (0, 0, 50, 50)
    assert box_of(await easel.draw("l-image,i-framed.png,lx-0,ly-0,l-end"), BLUE) == (0, 0, 40, 20)
    assert box_of(await easel.draw("l-image,i-framed.png,t-false,lx-0,ly-0,l-end"), BLUE) == (20, 20, 60, 40)


async def test_layers_lie_upon_layers_and_after_each_other(easel: Easel) -> None:
    inner = "l-image,i-ik_canvas,bg-0000FF,w-bw_div_2,h-20,lfo-top_right,l-end"
    outer = f"l-image,i-ik_canvas,bg-FF0000,w-200,h-100,{inner},lx-50,ly-40,l-end"
    nested = await easel.draw(outer)
    assert box_of(nested, BLUE) == (150, 40, 250, 60) and box_of(nested, RED) == (50, 40, 250, 140)
    third = f"l-image,i-ik_canvas,bg-00FF00,w-300,h-200,{outer},lfo-top_left,l-end"
    assert box_of(await easel.draw(third), BLUE) == (150, 40, 250, 60)
    with pytest.raises(RequestInvalid, match="3 deep"):
        easel.draft(f"l-image,i-ik_canvas,{third},l-end")
    two = await easel.draw("l-image,i-mark.png,lx-0,ly-0,l-end,l-image,i-a@@b c.png,lx-20,ly-0,l-end")
    assert box_of(two, RED) == (0, 0, 20, 20) and box_of(two, BLUE) == (20, 0, 70, 50)


async def test_layers_mix_with_what_is_under_them(easel: Easel) -> None:
    faint = await easel.draw("l-image,i-mark.png,o-50,lx-0,ly-0,l-end")
    assert near(at(faint, 20, 10), (178, 50, 50), 2)
    block = await easel.draw("l-image,i-ik_canvas,bg-FF0000,al-5,w-40,h-20,r-max,lx-0,ly-0,l-end")
    assert near(at(block, 20, 10), (178, 50, 50), 2) and at(block, 0, 0)[:3] == GREY
    clear = await easel.draw("l-image,i-ik_canvas,bg-FF000050,w-40,h-20,lx-0,ly-0,l-end")
    assert near(at(clear, 20, 10), (178, 50, 50), 2)
    darker = await easel.draw("l-image,i-ik_canvas,bg-808080,w-40,h-20,lm-multiply,lx-0,ly-0,l-end")
    assert near(at(darker, 20, 10), (50, 50, 50), 1)


async def test_layers_cut_and_displace(easel: Easel) -> None:
    kept = await easel.draw("l-image,i-mark.png,w-200,r-max,lm-cutter,lx-20,ly-30,l-end", "base")
    assert kept.size == (200, 100) and at(kept, 100, 50)[:3] == GREY
    assert (at(kept, 100, 50)[3], at(kept, 2, 2)[3]) == (255, 0)
    cut = await easel.draw("l-image,i-mark.png,lm-cutout,lx-20,ly-30,l-end")
    assert cut.size == (400, 300) and (at(cut, 40, 40)[3], at(cut, 70, 40)[3]) == (0, 255)
    written = await easel.draw("l-text,i-HOLE,fs-100,tg-b,lm-cutout,l-end")
    low, high = written.getchannel("A").getextrema()
    assert (low, high) == (0, 255)
    moved = await easel.draw("l-image,i-map.png,t-false,lm-displace,x-60,lx-10,ly-10,l-end", "half")
    assert near(at(moved, 20, 20), BLUE) and at(moved, 20, 45)[:3] == GREEN


async def test_a_text_is_written_as_it_is_told(easel: Easel) -> None:
    plain = await easel.draw("l-text,i-Hello,fs-50,co-FF0000,l-end")
    box = box_of(plain, RED, 40)
    assert box and abs(box[0] + box[2] - 400) <= 8 and abs(box[1] + box[3] - 300) <= 4 and 30 <= box[3] - box[1] <= 45
    half = await easel.draw("l-text,ie-SGVsbG8,fs-bh_div_12,co-FF0000,lx-0,ly-0,l-end")
    small = box_of(half, RED, 40)
    assert small and small[:2] <= (3, 3) and abs((small[2] - small[0]) * 2 - (box[2] - box[0])) <= 6
    styles = ["tg-b", "tg-i", "tg-strikethrough", "tg-b_i_strikethrough", "ff-Roboto Mono", "ff-Playfair Display"]
    drawn = [await easel.draw(f"l-text,i-Hello,fs-50,co-FF0000,{style},l-end") for style in styles]
    assert len({one.tobytes() for one in (plain, *drawn)}) == len(styles) + 1
    flipped = await easel.draw("l-text,i-Hello,fs-50,co-FF0000,fl-h,l-end")
    assert flipped.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("RGB").tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("l-text,i-Hi,w-200,bg-0000FF,lx-10,ly-20,pa-10,l-end", (10, 20, 210, None)),
        ("l-text,i-Hi,w-bw_div_2,bg-0000FF,lx-0,ly-0,l-end", (0, 0, 200, None)),
        ("l-text,i-Hi,w-200,bg-0000FF,rt-90,lx-0,ly-0,l-end", (0, 0, None, 200)),
        ("l-text,i-Hi,w-200,bg-0000FF,lfo-bottom_right,l-end", (200, None, 400, 300)),
        ("l-text,i-Hi,w-200,bg-0000FF,lx-bw_sub_cw,ly-bh_sub_ch,l-end", (200, None, 400, 300)),
        ("ot-Hi,otw-200,otbg-0000FF,ox-10,oy-20", (10, 20, 210, None)),
        ("ote-SGk=,ots-30,otc-FF0000,obg-0000FF,otw-100,otp-10,ox-N10,oy-N20", (290, None, 390, 280)),
    ],
)
async def test_a_text_has_a_plate(easel: Easel, text: str, box: tuple[int | None, ...]) -> None:
    found = box_of(await easel.draw(text), BLUE)
    assert (
        found and [side for side, wanted in zip(found, box, strict=True) if wanted is not None and side != wanted] == []
    )


async def test_a_plate_has_padding_and_round_corners_and_fades(easel: Easel) -> None:
    async def plate(more: str) -> Box:
        found = box_of(await easel.draw(f"l-text,i-Hi,fs-40,bg-0000FF,lx-0,ly-0{more},l-end"), BLUE)
        assert found
        return found

    bare = await plate("")
    assert await plate(",pa-10_20_30_40") == (0, 0, bare[2] + 60, bare[3] + 40)
    assert await plate(",pa-bw_div_40") == (0, 0, bare[2] + 20, bare[3] + 20)
    rounded = await easel.draw("l-text,i-Hi,fs-40,bg-0000FF,pa-20,r-15,lx-0,ly-0,l-end")
    assert at(rounded, 0, 0)[:3] == GREY and at(rounded, 15, 2)[:3] == BLUE
    faint = await easel.draw("l-text,i-Hi,fs-40,bg-0000FF,pa-20,al-3,lx-0,ly-0,l-end")
    assert near(at(faint, 5, 5), (70, 70, 147), 2)


async def test_lines_are_wrapped_aligned_and_set_apart(easel: Easel) -> None:
    words = "l-text,i-one two three four,fs-30,w-150,co-FF0000,bg-0000FF,lx-0,ly-0"
    heights: list[int] = []
    for more in ("", ",lh-60"):
        found = box_of(await easel.draw(f"{words}{more},l-end"), BLUE)
        assert found and found[2] == 150
        heights.append(found[3])
    assert heights[0] > 50 and heights[1] >= heights[0] + 15
    starts = []
    for align in ("left", "center", "right"):
        box = box_of(await easel.draw(f"l-text,i-x,fs-30,w-150,co-FF0000,ia-{align},lx-0,ly-0,l-end"), RED, 40)
        assert box
        starts.append(box[0])
    assert starts[0] < 5 < 60 < starts[1] < 90 < 125 < starts[2]


async def test_braces_and_signs_of_markup_are_written(easel: Easel) -> None:
    draft = easel.draft("l-text,ie-ezxiPn0gJiB7e2F9fQ,tg-i,l-end")
    (label,) = [node for node in draft.ground.nodes.values() if node["type"] == "label"]
    assert label["text"] == "<i>{{&lt;b&gt;}} &amp; {{{{a}}}}</i>"
    assert (await easel.draw("l-text,ie-ezxiPn0gJiB7e2F9fQ,tg-i,l-end")).size == (400, 300)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("l-image,i-nowhere.png,l-end", "there is no picture `nowhere.png`"),
        ("l-image,w-10,l-end", "`l-image` needs a picture"),
        ("l-image,ie-aHR0cHM6Ly9lbHNld2hlcmUvYS5wbmc=,l-end", "only files of the same project"),
        ("l-text,fs-20,l-end", "`l-text` needs a text"),
        ("l-text,i-" + "x" * 2001 + ",l-end", "A text has at most 2000 signs."),
        ("l-text,ie-%%%,l-end", "it takes UTF-8 text in base64"),
        ("l-text,i-Hi,fs-0,l-end", "`fs-0`: it takes pixels from 1 to 1000"),
        ("l-text,i-Hi,al-10,l-end", "`al-10`: it takes a number from 1 to 9"),
        ("l-text,i-Hi,tg-x,l-end", "`tg-x`: it takes `b` or `i` or `strikethrough`"),
        ("l-text,i-Hi,pa-1_2_3_4_5,l-end", "one to four paddings"),
        ("l-text,i-Hi,ia-middle,l-end", "`ia-middle`"),
        ("l-image,i-mark.png,lx-1,lxc-2,l-end", "`lx` and `lxc` cannot be said together"),
        ("l-image,i-mark.png,lfo-somewhere,l-end", "`lfo-somewhere`"),
        ("l-image,i-mark.png,lx-zw_div_2,l-end", "`lx-zw_div_2`"),
        ("l-image,i-mark.png,lm-burn,l-end", "`lm-burn`"),
        ("l-image,i-ik_canvas,w-0,l-end", "`w-0`"),
        ("l-video,i-film.mp4,l-end", "`l-video` is not spoken here"),
        ("l-subtitles,i-film.srt,l-end", "`l-subtitles` is not spoken here"),
        ("oi-mark.png,ot-Hi", "`oi` and `ot` make two layers"),
    ],
)
def test_what_cannot_be_laid_is_told(easel: Easel, text: str, told: Any) -> None:
    with pytest.raises(RequestInvalid) as caught:
        easel.draft(text)
    assert told in caught.value.message


async def test_layers_are_laid_by_server_and_worker(gallery: Gallery) -> None:
    """As the SDKs write them: in the path or the query, `/` and `=` of base64 encoded once."""
    text = "l-text,ie-Pz8%2FPj4%2B,fs-80,bg-0000FF,w-640,lfo-bottom"
    rows = {
        f"/tr:{text},l-end/photo.png": (0, 479, BLUE),
        f"/photo.png?tr={text.replace(',', '%2C')}%2Cl-end": (0, 479, BLUE),
        "/photo.png?tr=l-image,i-shop@@shoes@@photo.jpg,t-false,w-100,lx-0,ly-0:rt-90,l-end": (5, 128, (220, 40, 40)),
        "/tr:l-image,i-a%20b@@%C3%BCn%C3%AFcode.png,t-false,w-100,lfo-top_left,l-end/photo.png": (
            50,
            30,
            (40, 200, 60),
        ),
        "/moving.gif?tr=oi-edged.png,oit-false,ow-20,ofo-top_left,f-png": (0, 0, (255, 255, 255)),
        "/paper.pdf/ik-thumbnail.jpg?tr=l-image,i-ik_canvas,bg-blue,w-9,h-9,l-end,f-png": (
            100,
            50,
            BLUE,
        ),
    }
    wrong = {path: at(await gallery.picture(path), *place) for path, (*place, _) in rows.items()}
    assert {path: found for path, found in wrong.items() if not near(found, rows[path][2], 8)} == {}
    assert "there is no picture" in await gallery.refused("/tr:l-image,i-no.png,l-end/photo.png")
    assert "`l-video` is not spoken here" in await gallery.refused("/tr:l-video,i-a.mp4,l-end/photo.png")
    assert "`extensions` name a flow for `e-bgremove`" in await gallery.refused("/tr:e-bgremove/photo.png")
