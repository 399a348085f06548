from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from PIL import Image, ImageChops, ImageStat
from pydantic import ValidationError

from pipeline.cli.doctor import faces as faces_finding
from pipeline.errors import NodeInvalid, SettingsInvalid
from pipeline.graph.flow import Flow, load_flow
from pipeline.imaging.faces import Face, close_to, finder, window_keeping
from pipeline.imaging.open import open_picture
from pipeline.imaging.picture import Outline, Window
from pipeline.imaging.sandbox import Sandbox
from pipeline.nodes.base import ImageNode
from pipeline.settings import load_settings
from tests.graph.desk import Desk, file_at
from tests.nodes import yunet
from tests.nodes.studio import PHOTO, difference, drawn, node, outline_of

CASCADES = Path(cv2.data.haarcascades)
CASCADE = CASCADES / "haarcascade_frontalface_alt2.xml"
PORTRAIT = Path("docs/demo/portrait.jpg")
SIDE = 320
FACE = (140, 72)
"""The middle of the face in the portrait, found by eye: between the eyes and the mouth."""
ACROSS = 62
"""From one ear to the other, pixels, by eye."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What makes, of a picture as it is shown, the pixels that a file with this EXIF orientation holds."""


def seeking(type: str, **parameters: object) -> ImageNode:
    return node(type, gravity="face", **parameters).equipped(CASCADE)


def sheet(width: int, height: int) -> Image.Image:
    """A calm ground on which no two places have the same colours to their right."""
    red, blue = (
        ramp.resize((width, height)) for ramp in (Image.linear_gradient("L").rotate(90), Image.linear_gradient("L"))
    )
    tile = Image.new("L", (8, 8))
    tile.putdata([100 + number for number in range(64)])
    green = Image.new("L", (width, height))
    for left in range(0, width, 8):
        for top in range(0, height, 8):
            green.paste(tile, (left, top))
    return Image.merge("RGB", (red, green, blue))


def wide(at: int) -> Image.Image:
    """The portrait somewhere on a sheet three times as wide."""
    canvas = sheet(3 * SIDE, SIDE)
    with Image.open(PORTRAIT) as portrait:
        canvas.paste(portrait, (at, 0))
    return canvas


def place(found: Image.Image, canvas: Image.Image) -> tuple[int, int]:
    """Where a lossless cut was made."""
    row = found.convert("RGB").crop((0, 0, found.width, 1)).tobytes()
    for top in range(canvas.height):
        at = canvas.crop((0, top, canvas.width, top + 1)).tobytes().find(row)
        if at >= 0 and at % 3 == 0:
            return at // 3, top
    raise AssertionError("this is no part of the picture")


def saved(canvas: Image.Image, path: Path, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = canvas.transpose(TURNS[orientation]) if orientation > 1 else canvas
    stored.save(path, exif=exif)
    return path


@pytest.mark.parametrize("at", [0, 640])
@pytest.mark.parametrize("orientation", [1, *TURNS])
def test_the_face_stays_wherever_it_is_and_however_the_file_is_turned(
    at: int, orientation: int, tmp_path: Path
) -> None:
    canvas = wide(at)
    found = drawn(seeking("crop", aspect="1:1"), saved(canvas, tmp_path / "in.png", orientation), tmp_path)
    assert found.size == (SIDE, SIDE)
    left, top = place(found, canvas)
    middle = at + FACE[0]
    assert (left, top) == (pytest.approx(min(max(0, middle - SIDE / 2), 2 * SIDE), abs=8), 0)


def test_the_middle_would_not_have_kept_it(tmp_path: Path) -> None:
    canvas = wide(640)
    left, _ = place(drawn(node("crop", aspect="1:1"), saved(canvas, tmp_path / "in.png"), tmp_path), canvas)
    assert not left <= 640 + FACE[0] < left + SIDE


def test_a_small_window_has_the_face_with_a_little_room_above(tmp_path: Path) -> None:
    canvas = wide(0)
    left, top = place(
        drawn(seeking("crop", width=100, height=84), saved(canvas, tmp_path / "in.png"), tmp_path), canvas
    )
    assert left + 50 == pytest.approx(FACE[0], abs=6)
    below, above = top + 84 - (FACE[1] + ACROSS / 2), FACE[1] - ACROSS / 2 - top
    assert above >= 15 > below >= -3


@pytest.mark.parametrize(("width", "kept"), [(900, [140, 829]), (300, [140])])
def test_all_faces_stay_that_fit_else_the_largest(width: int, kept: list[int], tmp_path: Path) -> None:
    canvas = wide(0)
    with Image.open(PORTRAIT) as portrait:
        canvas.paste(portrait.resize((240, 240), Image.Resampling.LANCZOS), (720, 60))
    found = drawn(seeking("crop", width=width), saved(canvas, tmp_path / "in.png"), tmp_path)
    left, _ = place(found, canvas)
    seen = [middle for middle in (140, 825) if left + 20 < middle < left + width - 20]
    assert [pytest.approx(middle, abs=8) for middle in kept] == seen


@pytest.mark.parametrize(
    ("faces", "size", "window"),
    [
        # From 100 to 200 across and, 0.3 of 100 above it, from 170 to 300 down: middles 150 and 235.
        ([(0.1, 0.2, 0.1, 0.1)], (300, 400), (0, 35)),
        # Room for the face and 10 pixels above it.
        ([(0.1, 0.2, 0.1, 0.1)], (300, 110), (0, 190)),
        # Not even for the face: its middle, 250, is the window's.
        ([(0.1, 0.2, 0.1, 0.1)], (60, 80), (120, 210)),
        # The second would need 800 pixels, the third fits: from 100 to 450, and from 170 to 340.
        ([(0.1, 0.2, 0.1, 0.1), (0.82, 0.2, 0.08, 0.08), (0.4, 0.29, 0.05, 0.05)], (400, 400), (75, 55)),
        # At the edges of the picture.
        ([(0.95, 0.0, 0.05, 0.05)], (400, 400), (600, 0)),
        ([(0.0, 0.95, 0.05, 0.05)], (400, 400), (0, 600)),
    ],
)
def test_the_window_is_where_reckoning_by_hand_puts_it(
    faces: list[tuple[float, float, float, float]], size: tuple[int, int], window: tuple[int, int]
) -> None:
    found = window_keeping(Outline(1000, 1000), *size, [Face(*face) for face in faces])
    assert found == Window(*window, *size)


@pytest.mark.parametrize(
    ("faces", "zoom", "enlarge", "window"),
    [
        # 100 x 130 pixels with the room above, from 170 to 300 down: at zoom 1 half of a side, 260 of 2 : 2.
        ([(0.1, 0.2, 0.1, 0.1)], 1.0, True, (20, 105, 260, 260)),
        ([(0.1, 0.2, 0.1, 0.1)], 2.0, True, (85, 170, 130, 130)),
        ([(0.1, 0.2, 0.1, 0.1)], 0.5, True, (0, 0, 520, 520)),
        ([(0.1, 0.2, 0.1, 0.1)], 0.01, True, (0, 0, 1000, 1000)),
        # No smaller than what is asked for, where nothing is to be enlarged.
        ([(0.1, 0.2, 0.1, 0.1)], 2.0, False, (50, 135, 200, 200)),
        # Both of them, 500 across, from 100 to 600.
        ([(0.1, 0.2, 0.1, 0.1), (0.5, 0.2, 0.1, 0.1)], 2.0, True, (100, 0, 500, 500)),
    ],
)
def test_how_close_a_face_is(
    faces: list[tuple[float, ...]], zoom: float, enlarge: bool, window: tuple[int, int, int, int]
) -> None:
    found = close_to(Outline(1000, 1000), 200, 200, [Face(*face[:4]) for face in faces], zoom, enlarge)
    assert found == Window(*window)


@pytest.mark.parametrize(("zoom", "size"), [(1.0, (90, 90)), (2.0, (120, 90)), (0.5, (60, 60))])
def test_a_cover_can_be_close_to_the_face(zoom: float, size: tuple[int, int], tmp_path: Path) -> None:
    canvas = wide(200)
    step = seeking("resize", width=size[0], height=size[1], fit="cover", zoom=zoom)
    found = drawn(step, saved(canvas, tmp_path / "in.png"), tmp_path)
    assert found.size == size
    seen = finder(CASCADE).faces(
        open_picture(saved(found, tmp_path / "out.png"), outline_of(tmp_path / "out.png"), 1.0)
    )
    if zoom == 1.0:
        # As the detector sees it; the room above takes some of the half.
        assert seen[0].height == pytest.approx(0.5 / 1.3, abs=0.12)
    with pytest.raises(ValidationError):
        node("resize", width=10, height=10, fit="cover", zoom=zoom)


def test_without_a_face_nothing_is_close(tmp_path: Path) -> None:
    path, box = saved(sheet(600, 200), tmp_path / "in.png"), {"width": 80, "height": 80, "fit": "cover"}
    found = drawn(seeking("resize", zoom=3.0, **box), path, tmp_path)
    assert difference(found, drawn(node("resize", gravity="attention", **box), path, tmp_path)) == 0


@pytest.mark.parametrize("step", [{"width": 200}, {"aspect": "1:1"}])
def test_without_a_face_it_is_what_catches_the_eye(step: dict[str, object], tmp_path: Path) -> None:
    canvas = sheet(600, 200)
    canvas.paste(Image.radial_gradient("L").resize((90, 90)).convert("RGB"), (450, 50))
    canvas.save(tmp_path / "in.png")
    found = drawn(seeking("crop", **step), tmp_path / "in.png", tmp_path)
    reference = drawn(node("crop", gravity="attention", **step), tmp_path / "in.png", tmp_path)
    assert (
        place(found, canvas)
        == place(reference, canvas)
        != place(drawn(node("crop", **step), tmp_path / "in.png", tmp_path), canvas)
    )


def test_a_cover_without_a_face_is_that_of_attention(tmp_path: Path) -> None:
    canvas = sheet(600, 200)
    canvas.paste(Image.radial_gradient("L").resize((90, 90)).convert("RGB"), (450, 50))
    canvas.save(tmp_path / "in.png")
    box = {"width": 80, "height": 80, "fit": "cover"}
    found = drawn(seeking("resize", **box), tmp_path / "in.png", tmp_path)
    assert difference(found, drawn(node("resize", gravity="attention", **box), tmp_path / "in.png", tmp_path)) == 0


@pytest.mark.parametrize(("side", "size"), [(64, (960, 320)), (240, (3840, 1280)), (700, (3840, 1280))])
def test_cover_keeps_the_face_also_of_a_picture_decoded_small(side: int, size: tuple[int, int], tmp_path: Path) -> None:
    canvas = wide(640).resize(size, Image.Resampling.BICUBIC)
    canvas.save(tmp_path / "in.jpg", quality=92)
    step = seeking("resize", width=side, height=side, fit="cover")
    found = drawn(step, tmp_path / "in.jpg", tmp_path)
    assert found.size == (side, side)
    # A square of the full height can only move sideways; the face should be in its middle.
    left = round((640 + FACE[0]) * size[0] / 960 - size[1] / 2)
    reference = canvas.crop((left, 0, left + size[1], size[1])).resize((side, side), Image.Resampling.LANCZOS)
    most = round(side * 8 / SIDE)
    assert min(unlike(found, ImageChops.offset(reference, by, 0), most) for by in range(-most, most + 1)) < 4


def unlike(one: Image.Image, other: Image.Image, edge: int) -> float:
    """The mean difference of two pictures away from their left and right edges."""
    inner = (edge, 0, one.width - edge, one.height)
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB").crop(inner), other.crop(inner))).mean
    return sum(means) / 3


def test_the_look_needs_few_pixels_and_no_more_than_the_step_itself() -> None:
    outline = Outline(6000, 4000, format="jpeg")
    tiny = seeking("resize", width=64, height=64, fit="cover")
    assert tiny.demand(outline, 1.0) == pytest.approx(640 / 6000, rel=0.01)
    large = seeking("resize", width=3000, height=3000, fit="cover")
    assert large.demand(outline, 1.0) == 0.75
    cut = seeking("crop", aspect="1:1")
    assert [cut.demand(outline, scale) for scale in (0.02, 0.5)] == [pytest.approx(640 / 6000, rel=0.01), 0.5]
    # Nothing is cut, or something else says where.
    whole = {"width": 60, "height": 40, "fit": "cover"}
    for step in (seeking("resize", **whole), seeking("resize", focus={"x": 0, "y": 0}, **whole | {"height": 60})):
        assert step.demand(outline, 1.0) == node("resize", **{**whole, "height": step.height}).demand(outline, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_the_first_frame_of_an_animation_decides(format: str, tmp_path: Path) -> None:
    frames = [wide(0), wide(640)]
    frames[0].save(tmp_path / f"in.{format}", save_all=True, append_images=frames[1:], duration=100)
    # GIF has no room for the ground's colours, so the cut is made where it must be: at the left edge.
    found = drawn(seeking("crop", aspect="1:1"), tmp_path / f"in.{format}", tmp_path, "webp")
    assert found.n_frames == 2  # type: ignore[attr-defined]
    for number, frame in enumerate(frames):
        found.seek(number)
        assert difference(found.convert("RGB"), frame.crop((0, 0, SIDE, SIDE))) < 15
        assert difference(found.convert("RGB"), frame.crop((640, 0, 960, SIDE))) > 30


FLOW = """
    nodes:
      photo: {type: input}
      seen:  {type: faces}
      any:   {type: conditional, field: facts.seen.count, operator: greaterThan, value: 0}
      head:  {type: resize, from: any.then, width: 100, height: 100, fit: cover, gravity: face}
      plain: {type: resize, from: any.else, width: 50}
      one:   {type: first, from: [head, plain]}
      out:   {type: save, path: out.png, format: png}
"""


async def test_a_flow_finds_faces_tells_of_them_and_decides_by_them(
    sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    desk.face_model = CASCADE
    photo = file_at(saved(wide(640), tmp_path / "in.png"), "image/png")
    await desk.run(sandbox, FLOW, {"photo": [photo]})
    assert desk.image("out.png").size == (100, 100)
    found = desk.outcome.facts["seen"]
    assert found["count"] == 1 and set(found["faces"][0]) == {"left", "top", "width", "height"}
    face = found["faces"][0]
    middle = (face["left"] + face["width"] / 2) * 960, (face["top"] + face["height"] / 2) * 320
    assert middle == (pytest.approx(640 + FACE[0], abs=6), pytest.approx(FACE[1], abs=6))
    assert face["width"] * 960 == pytest.approx(ACROSS, abs=8)
    assert desk.outcome.learned[photo.id]["faces"] == found


async def test_a_picture_without_faces_has_none(sandbox: Sandbox, desk: Desk) -> None:
    desk.face_model = CASCADE
    await desk.run(sandbox, FLOW, {"photo": [file_at(PHOTO, "image/jpeg")]})
    assert desk.outcome.facts["seen"] == {"count": 0, "faces": []}
    assert desk.image("out.png").width == 50


@pytest.mark.parametrize(
    "step",
    ["{type: crop, aspect: '1:1', gravity: face}", "{type: resize, width: 9, height: 9, fit: cover, gravity: face}",
     "{type: faces}", "{type: redact, faces: true}"],
)  # fmt: skip
async def test_without_a_model_a_run_says_what_to_set(step: str, sandbox: Sandbox, desk: Desk) -> None:
    flow = f"nodes:\n  photo: {{type: input}}\n  cut: {step}\n  out: {{type: save, path: out.png}}\n"
    with pytest.raises(NodeInvalid, match="needs the setting `face_model`") as caught:
        await desk.run(sandbox, flow, {"photo": [file_at(PORTRAIT, "image/jpeg")]})
    assert caught.value.node == "cut"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.xml", "<opencv_storage/>"), ("a.xml", "face"), ("a.onnx", "face"), ("a.onnx", ""), ("none.xml", None)],
)
def test_a_file_that_is_no_model_is_named(
    name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(NodeInvalid, match=f"`{name}`, which does not open as a face model"):
        finder(tmp_path / name)
    monkeypatch.setenv("SAFELIGHT_FACE_MODEL", str(tmp_path / name))
    assert [finding.state for finding in faces_finding(load_settings())] == ["fault"]


def test_a_network_for_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "cats.onnx").write_bytes(yunet.sees_green().replace(b"kps_", b"cat_"))
    with pytest.raises(NodeInvalid, match=r"`cats\.onnx`, which does not open as a face model"):
        finder(tmp_path / "cats.onnx")


def test_doctor_says_that_a_model_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faces_finding(load_settings()) == []
    monkeypatch.setenv("SAFELIGHT_FACE_MODEL", str(CASCADE))
    assert [finding.state for finding in faces_finding(load_settings())] == ["ok"]


def test_a_model_of_another_kind_is_refused_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_FACE_MODEL", "faces.caffemodel")
    with pytest.raises(SettingsInvalid, match=r"a face model is a YuNet \.onnx or a cascade \.xml file"):
        load_settings()


async def test_a_flow_inside_another_finds_faces_too(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    desk.face_model = CASCADE
    inner = load_flow("inner", FLOW)

    async def flows(id: str) -> Flow:
        return inner

    outer = "nodes:\n  photo: {type: input}\n  sub: {type: subflow, flow: inner}\n  out: {type: save, path: o.png}\n"
    await desk.run(sandbox, outer, {"photo": [file_at(PORTRAIT, "image/jpeg")]}, flows=flows)
    assert desk.outcome.facts["sub"]["seen"]["count"] == 1


# Hiding them


def test_faces_are_hidden_and_nothing_else(tmp_path: Path) -> None:
    canvas = wide(640)
    found = drawn(node("redact", faces=True).equipped(CASCADE), saved(canvas, tmp_path / "in.png"), tmp_path)
    x, y = 640 + FACE[0], FACE[1]
    reach = ACROSS // 2
    face = found.convert("RGB").crop((x - reach, y - reach, x + reach, y + reach))
    assert face.getextrema() == ((0, 0), (0, 0), (0, 0))
    hidden = ImageChops.difference(found.convert("RGB"), canvas).getbbox()
    assert hidden is not None
    assert (hidden[2] - hidden[0], hidden[3] - hidden[1]) == (pytest.approx(1.5 * ACROSS, abs=8),) * 2


def test_every_frame_has_its_own_faces_hidden(tmp_path: Path) -> None:
    frames = [wide(0), wide(640)]
    frames[0].save(tmp_path / "in.webp", save_all=True, append_images=frames[1:], lossless=True)
    step = node("redact", faces=True, colour="#00ff00").equipped(CASCADE)
    found = drawn(step, tmp_path / "in.webp", tmp_path, "webp")
    for number, at in enumerate((0, 640)):
        found.seek(number)
        shown = found.convert("RGB")
        there, elsewhere = shown.getpixel((at + FACE[0], FACE[1])), shown.getpixel((640 - at + FACE[0], FACE[1]))
        assert there[1] > 200 > 100 > there[0]  # type: ignore[index]
        assert elsewhere[0] > 20 or elsewhere[1] < 200  # type: ignore[index]


# YuNet, and what OpenCV may do


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "green.onnx"
    path.write_bytes(yunet.sees_green())
    return path


def test_yunet_is_given_colours_in_its_order_and_tells_how_sure_it_is(green: Path, tmp_path: Path) -> None:
    # Cells 25 and 60 across, 15 down: 8 pixels each, middles at 204 and 484, 124; red and blue are no green.
    canvas = Image.new("RGB", (640, 360), (128, 128, 128))
    for cell, colour in {25: "lime", 40: "red", 50: "blue", 60: "lime"}.items():
        canvas.paste(colour, (8 * cell, 120, 8 * cell + 8, 128))
    canvas.save(tmp_path / "in.png")
    found = finder(green).faces(open_picture(tmp_path / "in.png", outline_of(tmp_path / "in.png")))
    assert sorted((face.left * 640, face.top * 360, face.width * 640, face.height * 360) for face in found) == [
        pytest.approx((204 - 32, 124 - 32, 64, 64), abs=0.1),
        pytest.approx((484 - 32, 124 - 32, 64, 64), abs=0.1),
    ]
    assert [face.confidence for face in found] == [pytest.approx(1, abs=0.01)] * 2


def test_what_yunet_sees_beyond_the_edge_ends_at_the_edge(green: Path, tmp_path: Path) -> None:
    canvas = Image.new("RGB", (320, 200))
    canvas.paste("lime", (0, 192, 8, 200))
    canvas.save(tmp_path / "in.png")
    (face,) = finder(green).faces(open_picture(tmp_path / "in.png", outline_of(tmp_path / "in.png")))
    assert (face.left * 320, face.top * 200, face.width * 320, face.height * 200) == pytest.approx(
        (0, 164, 36, 36), abs=0.1
    )


def test_it_is_what_the_model_saw_that_stays_and_not_what_catches_the_eye(green: Path, tmp_path: Path) -> None:
    canvas = Image.new("RGB", (640, SIDE), (128, 128, 128))
    with Image.open(PORTRAIT) as portrait:
        canvas.paste(portrait)
    canvas.paste("lime", (560, 80, 568, 88))
    canvas.save(tmp_path / "in.png")
    step = node("crop", aspect="1:1", gravity="face").equipped(green)
    # Its middle is 564, 84; the window ends at the right edge.
    found = drawn(step, tmp_path / "in.png", tmp_path).convert("RGB")
    assert difference(found, canvas.crop((320, 0, 640, SIDE))) == 0
    eye = drawn(node("crop", aspect="1:1", gravity="attention"), tmp_path / "in.png", tmp_path).convert("RGB")
    assert difference(eye, canvas.crop((320, 0, 640, SIDE))) > 30


def threads_started(model: Path, photo: Path) -> tuple[int, list[int]]:
    """How many threads a look starts that are not libvips', and how many faces it finds; called in a child."""
    before = threads()
    found = [len(finder(model).faces(open_picture(photo, outline_of(photo)))) for _ in range(2)]
    return threads() - before, found


def threads() -> int:
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum(not name.startswith("libvips") for name in names)


async def test_a_child_looks_without_threads_in_little_memory(green: Path) -> None:
    small = Sandbox(1, 2**28)
    try:
        assert await small.call(threads_started, CASCADE, PORTRAIT, timeout=60) == (0, [1, 1])
        assert await small.call(threads_started, green, PORTRAIT, timeout=60) == (0, [0, 0])
    finally:
        await small.close()


def test_opencv_is_loaded_by_nobody_who_does_not_look() -> None:
    script = "import sys, pipeline.graph.fused, pipeline.nodes, workers.warm; workers.warm.warm(); "
    script += "print({'cv2', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "set()"


def test_without_the_extra_a_run_says_what_to_install() -> None:
    script = "import sys, pathlib; sys.modules['cv2'] = None; from pipeline.imaging.faces import finder\n"
    script += f"try: finder(pathlib.Path({str(CASCADE)!r}))\nexcept Exception as error: print(error.code, error)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert told == "NODE_INVALID looking for faces needs the extra `faces`: install `safelight[faces]`\n"
