"""Flows through the real executor and a real sandbox child: outputs, states, pruning, failures."""

from __future__ import annotations

import asyncio
import os
import signal
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import FlowInvalid, ImageCrashed, ImageTimeout, ImageUnreadable, InputMissing, NodeInvalid
from pipeline.graph.flow import load_flow
from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import PHOTO, PHOTO_SIZE, corners, difference, opened


async def test_one_source_two_outputs_as_pillow_would_make_them(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo: {type: input}
          small: {type: resize, width: 320}
          large: {type: resize, from: photo, width: 1600}
          out:   {type: save, from: [small, large], path: "{metadata.album}/{node}-{width}x{height}.png"}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    assert [(output.source, output.path) for output in outputs] == [
        ("small", "spring/small-320x180.png"),
        ("large", "spring/large-1600x900.png"),
    ]
    for name, size in (("small-320x180", (320, 180)), ("large-1600x900", (1600, 900))):
        reference = opened(PHOTO).resize(size, Image.Resampling.LANCZOS)
        assert difference(desk.image(f"spring/{name}.png"), reference) < 2.0
    assert {name: state.status for name, state in desk.states.items()} == dict.fromkeys(
        ["photo", "small", "large", "out"], "completed"
    )
    assert all(state.ms is not None for state in desk.states.values())


async def test_the_path_names_the_format_and_a_file_that_is_right_already_is_passed_on(
    sandbox: Sandbox, desk: Desk
) -> None:
    text = """
        nodes:
          photo:    {type: input}
          original: {type: save, path: "kept/{file.name}"}
          same:     {type: save, from: photo, path: "same/{file.stem}.jpg"}
          web:      {type: save, from: photo, path: "web/{file.stem}.webp"}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    assert [output.mime for output in outputs] == ["image/jpeg", "image/jpeg", "image/webp"]
    assert (desk.out / "kept/photo.jpg").read_bytes() == PHOTO.read_bytes()
    assert (desk.out / "same/photo.jpg").read_bytes() == PHOTO.read_bytes()
    assert desk.image("web/photo.webp").size == PHOTO_SIZE


BRANCHES = """
    nodes:
      photo: {type: input}
      big:   {type: conditional, field: width, operator: greaterThan, value: 500}
      small: {type: resize, from: big.then, width: 100}
      one:   {type: first, from: [small, big.else]}
      out:   {type: save, path: "out.png"}
"""


@pytest.mark.parametrize(("width", "expected", "skipped"), [(600, (100, 50), []), (400, (400, 200), ["small"])])
async def test_the_way_not_taken_is_skipped(
    width: int, expected: tuple[int, int], skipped: list[str], sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    corners(width, width // 2).save(tmp_path / "in.png")
    await desk.run(sandbox, BRANCHES, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert desk.image("out.png").size == expected
    assert [name for name, state in desk.states.items() if state.status == "skipped"] == skipped


async def test_a_condition_can_ask_what_a_step_made(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    corners(300, 200).save(tmp_path / "in.png")
    text = """
        nodes:
          photo:  {type: input}
          square: {type: crop, aspect: "1:1"}
          exact:  {type: conditional, field: ratio, operator: equals, value: 1}
          yes:    {type: save, from: exact.then, path: square.png}
          no:     {type: save, from: exact.else, path: oblong.png}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert [output.path for output in outputs] == ["square.png"]
    assert desk.states["no"].status == "skipped"


async def test_files_that_are_no_pictures_pass_through_choices_and_saves(
    sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    text = """
        nodes:
          document: {type: input}
          picture:  {type: conditional, field: mime, operator: startsWith, value: image/}
          page:     {type: resize, from: picture.then, width: 100}
          kept:     {type: first, from: [page, picture.else]}
          out:      {type: save, path: "docs/{file.name}"}
    """
    outputs = await desk.run(sandbox, text, {"document": [file_at(tmp_path / "notes.txt", "text/plain")]})
    assert [(output.path, output.mime) for output in outputs] == [("docs/notes.txt", "text/plain")]
    assert (desk.out / "docs/notes.txt").read_text() == "hello"


async def test_several_files_are_each_treated_and_packed_into_one_zip(
    sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    for number, size in enumerate([(400, 300), (300, 400)]):
        (tmp_path / str(number)).mkdir()
        corners(*size).save(tmp_path / str(number) / "photo.png")
    files = [file_at(tmp_path / str(number) / "photo.png", "image/png") for number in range(2)]
    text = """
        nodes:
          photos: {type: input, many: true}
          small:  {type: resize, width: 100, height: 100}
          packed: {type: zip, from: [small, photos]}
          out:    {type: save, path: "archive-{run.id}.zip"}
    """
    outputs = await desk.run(sandbox, text, {"photos": files})
    assert [(output.path, output.mime) for output in outputs] == [("archive-run-1.zip", "application/zip")]
    with zipfile.ZipFile(desk.out / "archive-run-1.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["photo-small.png", "photo-small-2.png", "photo.png", "photo-2.png"]
        archive.extractall(tmp_path / "unpacked")
    assert opened(tmp_path / "unpacked/photo-small.png").size == (100, 75)
    assert opened(tmp_path / "unpacked/photo-small-2.png").size == (75, 100)
    assert (tmp_path / "unpacked/photo-2.png").read_bytes() == (tmp_path / "1/photo.png").read_bytes()


async def test_keep_publishes_what_is_between(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    corners(400, 200).save(tmp_path / "in.png")
    text = """
        nodes:
          photo: {type: input}
          half:  {type: resize, width: 200, keep: true}
          tiny:  {type: resize, width: 50}
          out:   {type: save, path: tiny.png}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert [(output.node, output.path) for output in outputs] == [("out", "tiny.png"), ("half", "in-half.png")]
    assert desk.image("in-half.png").size == (200, 100)


async def test_params_and_assets_reach_the_nodes(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.new("RGB", (800, 400), (10, 20, 30)).save(tmp_path / "in.png")
    text = """
        params: {size: {type: integer, minimum: 10}, logo: {type: string, default: logo}}
        nodes:
          photo:  {type: input}
          square: {type: resize, width: "{params.size}", height: "{params.size}", fit: cover}
          marked: {type: watermark, image: "asset:{params.logo}.png", position: center, scale: 0.5}
          out:    {type: save, path: "out.png"}
    """
    await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]}, {"size": "128"})
    found = desk.image("out.png").convert("RGB")
    assert found.size == (128, 128)
    assert found.getpixel((2, 2)) == (10, 20, 30)
    assert max(found.get_flattened_data()) > (150, 0, 0)


async def test_a_missing_asset_names_its_node(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo:  {type: input}
          marked: {type: watermark, image: "asset:nothing.png"}
          out:    {type: save}
    """
    with pytest.raises(NodeInvalid, match=r"no asset `nothing\.png`") as caught:
        await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    assert caught.value.node == "marked"
    assert desk.states["marked"].status == "failed"


async def test_damaged_pixels_fail_the_run_and_name_the_node(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    whole = file_at(PHOTO, "image/jpeg")
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:400_000])
    cut = whole.model_copy(update={"key": str(tmp_path / "cut.jpg")})
    text = """
        nodes:
          photo: {type: input}
          small: {type: resize, width: 2000}
          out:   {type: save, path: out.webp}
    """
    with pytest.raises(ImageUnreadable) as caught:
        await desk.run(sandbox, text, {"photo": [cut]})
    assert caught.value.node in ("small", "out")
    assert desk.states[str(caught.value.node)].error is not None
    assert list(desk.made) == []


async def test_on_error_skip_goes_on_without_the_node(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    corners(100, 100).save(tmp_path / "in.png")
    text = """
        nodes:
          photo:   {type: input}
          outside: {type: crop, region: {left: 500, top: 0, width: 5, height: 5}, on_error: skip}
          lost:    {type: save, path: lost.png}
          plain:   {type: save, from: photo, path: plain.webp}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "in.png", "image/png")]})
    assert [output.path for output in outputs] == ["plain.webp"]
    state = desk.states["outside"]
    assert (state.status, state.error and state.error.code) == ("skipped", "NODE_INVALID")
    assert desk.states["lost"].status == "skipped"


async def test_an_input_that_is_not_required_may_stay_away(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    corners(100, 100).save(tmp_path / "in.png")
    text = """
        nodes:
          photo:  {type: input}
          badge:  {type: input, required: false}
          marked: {type: watermark, from: {image: photo, mark: badge}, position: top-left, margin: 0}
          best:   {type: first, from: [marked, photo]}
          out:    {type: save, path: out.webp, lossless: true}
    """
    photo = file_at(tmp_path / "in.png", "image/png")
    await desk.run(sandbox, text, {"photo": [photo]})
    assert desk.states["badge"].status == desk.states["marked"].status == "skipped"
    assert desk.image("out.webp").getpixel((5, 5)) == (255, 0, 0)
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "badge.png")
    await desk.run(sandbox, text, {"photo": [photo], "badge": [file_at(tmp_path / "badge.png", "image/png")]})
    assert desk.image("out.webp").getpixel((5, 5)) == (1, 2, 3)


async def test_a_required_input_is_asked_for(sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(InputMissing, match="its input `photo`"):
        await desk.run(sandbox, BRANCHES, {})


async def test_a_node_that_takes_too_long_ends_its_run_and_no_other(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo: {type: input}
          slow:  {type: save, path: out.avif, effort: 9, timeout: 200ms}
    """
    with pytest.raises(ImageTimeout) as caught:
        await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    assert caught.value.node == "slow"
    quick = text.replace("out.avif, effort: 9, timeout: 200ms", "out.jpg, quality: 50")
    assert len(await desk.run(sandbox, quick, {"photo": [file_at(PHOTO, "image/jpeg")]})) == 1


def cpu_of(pid: str) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_picture_is_drawn_again_after_a_crash_as_often_as_its_node_says(
    sandbox: Sandbox, desk: Desk, retries: int
) -> None:
    text = f"""
        nodes:
          photo: {{type: input}}
          small: {{type: resize, width: 1000}}
          out:   {{type: save, path: out.webp, retries: {retries}}}
    """
    photo = {"photo": [file_at(PHOTO, "image/jpeg")]}
    await desk.run(sandbox, text.replace("out.webp", "out.jpg"), photo)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    before = {pid: cpu_of(pid) for pid in children}
    drawing = asyncio.create_task(desk.run(sandbox, text, photo))
    async with asyncio.timeout(20):
        while not (busy := [pid for pid in children if cpu_of(pid) > before[pid] + 0.05]):
            await asyncio.sleep(0.005)
    os.kill(int(busy[0]), signal.SIGKILL)  # as the kernel does when memory is short
    if retries:
        assert len(await drawing) == 1
        assert desk.image("out.webp").width == 1000
    else:
        with pytest.raises(ImageCrashed):
            await drawing


async def test_smaller_sizes_are_derived_from_larger_ones_without_visible_loss(sandbox: Sandbox, desk: Desk) -> None:
    sizes = (1600, 800, 320)
    nodes = "\n".join(f"          s{size}: {{type: resize, from: photo, width: {size}}}" for size in sizes)
    text = f"""
        nodes:
          photo: {{type: input}}
{nodes}
          out: {{type: save, from: [s320, s800, s1600], path: "{{node}}.png"}}
    """
    await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    for size in sizes:
        height = round(PHOTO_SIZE[1] * size / PHOTO_SIZE[0])
        reference = opened(PHOTO).resize((size, height), Image.Resampling.LANCZOS)
        assert difference(desk.image(f"s{size}.png"), reference) < 2.0


async def test_layers_come_from_assets_and_from_other_nodes(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), (10, 20, 30)).save(tmp_path / "in.png")
    Image.new("RGB", (90, 90), (1, 200, 3)).save(tmp_path / "badge.png")
    text = """
        params: {logo: {type: string, default: logo}}
        nodes:
          photo: {type: input}
          badge: {type: input}
          small: {type: resize, width: 30}
          laid:
            type: overlay
            from: {image: photo, layer2: small}
            layers:
              - {image: "asset:{params.logo}.png", position: top-left, width: 100}
              - {image: layer2, position: bottom-right, x: 5, y: 5}
          out: {type: save, path: out.png}
    """
    photo, badge = (file_at(tmp_path / name, "image/png") for name in ("in.png", "badge.png"))
    await desk.run(sandbox, text, {"photo": [photo], "badge": [badge]})
    found = desk.image("out.png").convert("RGB")
    assert found.crop((365, 265, 395, 295)).getcolors() == [(900, (1, 200, 3))]
    assert found.crop((0, 0, 100, 100)).getcolors(10_000) != [(10_000, (10, 20, 30))]
    assert found.crop((100, 0, 360, 260)).getcolors() == [(67_600, (10, 20, 30))]


LAYERS = """
    nodes:
      photo: {{type: input}}
      laid:  {{type: overlay, from: {source}, layers: [{{image: layer2}}]}}
      out:   {{type: save, path: out.png}}
"""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("photo", "Nothing comes into `laid` at `layer2`"),
        ("{image: photo, layer1: photo, layer2: photo}", "into its port `layer1`"),
    ],
)
def test_the_ports_that_layers_name_are_those_that_are_fed(source: str, complaint: str) -> None:
    with pytest.raises(FlowInvalid, match=complaint):
        load_flow("layers", LAYERS.format(source=source))
    load_flow("layers", LAYERS.format(source="{image: photo, layer2: photo}"))


SHEET = """
    nodes:
      photos: {type: input, many: true}
      cover:  {type: input, required: false}
      small:  {type: resize, from: photos, width: 60}
      sheet:  {type: collage, from: [cover, small, photos], columns: 3, width: 40, height: 30, gap: 0, keep: true}
      thumb:  {type: resize, width: 30}
      out:    {type: save, path: "{width}x{height}-{file.stem}.png"}
"""


async def test_all_pictures_of_all_sources_are_gathered_into_one(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    colours = [(200, 0, 0), (0, 200, 0)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (400, 300), colour).save(tmp_path / f"{number}.png")
    Image.new("RGB", (50, 50), (0, 0, 200)).save(tmp_path / "cover.png")
    photos = [file_at(tmp_path / f"{number}.png", "image/png") for number in range(2)]
    outcome = await desk.run(
        sandbox, SHEET, {"photos": photos, "cover": [file_at(tmp_path / "cover.png", "image/png")]}
    )
    assert [output.path for output in outcome] == ["30x15-cover-thumb.png", "cover-sheet.png"]
    assert desk.made["cover-sheet.png"].artifact.origin is None
    found = desk.image("cover-sheet.png")
    assert (found.size, desk.image("30x15-cover-thumb.png").size) == ((120, 60), (30, 15))
    cells = [found.getpixel((20 + 40 * column, 15 + 30 * row)) for row in range(2) for column in range(3)]
    assert cells == [(0, 0, 200), *colours, *colours, (255, 255, 255)]


async def test_a_source_that_was_skipped_is_not_gathered(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "in.png")
    await desk.run(sandbox, SHEET, {"photos": [file_at(tmp_path / "in.png", "image/png")]})
    assert desk.image("in-sheet.png").size == (80, 30)
    assert desk.made["in-sheet.png"].artifact.origin is not None


async def test_a_picture_lost_on_the_way_leaves_a_gap(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.effect_noise((900, 900), 80).save(tmp_path / "in.png")
    whole = file_at(tmp_path / "in.png", "image/png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:300_000])
    text = """
        nodes:
          good:  {type: input}
          bad:   {type: input}
          lost:  {type: crop, gravity: entropy, width: 300, on_error: skip}
          sheet: {type: collage, from: [lost, good], columns: 2, width: 20, height: 20, gap: 0}
          out:   {type: save, path: out.png}
    """
    bad = whole.model_copy(update={"key": str(tmp_path / "cut.png")})
    await desk.run(sandbox, text, {"good": [whole], "bad": [bad]})
    assert desk.states["lost"].status == "skipped"
    found = desk.image("out.png").convert("RGB")
    assert found.size == (40, 20)
    assert found.crop((0, 0, 20, 20)).getcolors() == [(400, (255, 255, 255))]
    assert (255, 255, 255) not in [colour for _, colour in found.crop((20, 0, 40, 20)).getcolors(400) or []]


async def test_a_late_frame_reaches_a_format_that_holds_only_one(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    text = """
        nodes:
          clip:   {type: input}
          middle: {type: frames, frame: 1}
          poster: {type: save, path: poster.png}
          back:   {type: animate, from: clip, reverse: true, loop: 2}
          moving: {type: save, path: back.webp}
          ending: {type: save, from: back, path: last.png}
    """
    await desk.run(sandbox, text, {"clip": [file_at(tmp_path / "in.gif", "image/gif")]})
    assert desk.image("poster.png").convert("RGB").getpixel((5, 5)) == (0, 255, 0)
    assert desk.image("last.png").convert("RGB").getpixel((5, 5)) == (0, 0, 255)
    moving = desk.image("back.webp")
    assert (getattr(moving, "n_frames", 1), moving.info["loop"]) == (3, 2)
