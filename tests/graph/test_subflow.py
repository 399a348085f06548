"""Flows that run other flows as nodes, and picture steps that stand behind steps on whole files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import FlowNotFound, ImageTooLarge, NodeInvalid, ParamsInvalid, TypeNotAllowed
from pipeline.graph.flow import Flow, load_flow
from pipeline.graph.plan import plan
from pipeline.imaging.sandbox import Sandbox
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import PHOTO, corners, difference, opened

SIZES = """
    params:
      width: {type: integer, default: 320}
    nodes:
      photo: {type: input}
      small: {type: resize, width: "{params.width}"}
      tiny:  {type: resize, from: photo, width: 100}
      out:   {type: save, from: [small, tiny], path: "deep/{file.stem}-{node}.png"}
"""
MARK = """
    nodes:
      photo: {type: input}
      mark:  {type: input}
      both:  {type: watermark, from: {image: photo, mark: mark}, scale: 0.5, position: center, margin: 0}
      out:   {type: save, path: marked.png}
"""
CONTACT = """
    nodes:
      photos: {type: input, many: true}
      sheet:  {type: collage, columns: 2, width: 200, height: 100}
      out:    {type: save, path: sheet.png}
"""


def kept(**texts: str) -> Callable[[str], Awaitable[Flow]]:
    async def find(id: str) -> Flow:
        if id not in texts:
            raise FlowNotFound(id=id)
        return load_flow(id, texts[id])

    return find


async def test_what_a_flow_inside_saves_goes_on_as_pictures(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo: {type: input}
          sizes: {type: subflow, flow: sizes, params: {width: 400}}
          gray:  {type: grayscale}
          out:   {type: save, path: "{node}-{width}.png"}
    """
    outputs = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(sizes=SIZES))
    assert [output.path for output in outputs] == ["gray-400.png", "gray-100.png"]
    picture = desk.image("gray-400.png")
    assert picture.size == (400, 225)
    reference = opened(PHOTO).resize((400, 225), Image.Resampling.LANCZOS).convert("L").convert("RGB")
    assert difference(picture.convert("RGB"), reference) < 3
    states = {name: state.status for name, state in desk.states.items()}
    assert states == dict.fromkeys(
        ["photo", "sizes", "sizes/photo", "sizes/small", "sizes/tiny", "sizes/out", "gray", "out"], "completed"
    )


async def test_kept_it_is_published_under_the_names_the_flow_inside_gave(sandbox: Sandbox, desk: Desk) -> None:
    text = "nodes: {photo: {type: input}, sizes: {type: subflow, flow: sizes, keep: true}}"
    outputs = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(sizes=SIZES))
    assert sorted(output.path for output in outputs) == ["photo-small.png", "photo-tiny.png"]
    assert {output.node for output in outputs} == {"sizes"}


async def test_each_file_has_its_own_run_unless_the_input_takes_many(
    sandbox: Sandbox, desk: Desk, tmp_path: Path
) -> None:
    corners(600, 400).save(tmp_path / "corners.png")
    files = [file_at(PHOTO, "image/jpeg"), file_at(tmp_path / "corners.png", "image/png")]
    apart = """
        nodes:
          photos: {type: input, many: true}
          sizes:  {type: subflow, flow: sizes}
          out:    {type: save, path: "{file.stem}/{width}.png"}
    """
    outputs = await desk.run(sandbox, apart, {"photos": files}, flows=kept(sizes=SIZES))
    assert len(outputs) == 4
    together = apart.replace("flow: sizes", "flow: contact")
    (sheet,) = await desk.run(sandbox, together, {"photos": files}, flows=kept(contact=CONTACT))
    assert desk.image(sheet.path).width > desk.image(sheet.path).height


async def test_several_inputs_are_fed_by_name(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), "#ff0000").save(tmp_path / "red.png")
    text = """
        nodes:
          photo: {type: input}
          logo:  {type: input}
          both:  {type: subflow, from: [photo, logo], flow: mark, into: {mark: logo}}
          out:   {type: save, path: out.png}
    """
    files = {"photo": [file_at(PHOTO, "image/jpeg")], "logo": [file_at(tmp_path / "red.png", "image/png")]}
    await desk.run(sandbox, text, files, flows=kept(mark=MARK))
    picture = desk.image("out.png").convert("RGB")
    assert picture.size == opened(PHOTO).size
    assert picture.getpixel((picture.width // 2, picture.height // 2)) == (255, 0, 0)


async def test_its_facts_are_known_by_node(sandbox: Sandbox, desk: Desk) -> None:
    inner = "nodes: {photo: {type: input}, sum: {type: hash}, out: {type: save, path: a.jpg}}"
    text = "nodes: {photo: {type: input}, inside: {type: subflow, flow: inner, keep: true}}"
    await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(inner=inner))
    assert desk.outcome.facts["inside"]["sum"]["sha256"] == file_at(PHOTO, "image/jpeg").sha256


@pytest.mark.parametrize(
    ("inner", "error", "node"),
    [
        ("nodes: {photo: {type: input}, out: {type: save, path: a.png, storage: x}}", None, None),
        ("accept: {types: [image/png]}\nnodes: {photo: {type: input}, out: {type: save}}", TypeNotAllowed, "inside"),
        ("accept: {max_pixels: 1000}\nnodes: {photo: {type: input}, out: {type: save}}", ImageTooLarge, "inside"),
        (
            "nodes: {a: {type: input}, cut: {type: crop, region: {left: 9000, width: 9, height: 9}}, o: {type: save}}",
            NodeInvalid,
            "inside/cut",
        ),
        ("nodes: {photo: {type: input}, in: {type: subflow, flow: inner}, o: {type: save}}", NodeInvalid, "inside/in"),
        ("nodes: {photo: {type: input}, in: {type: subflow, flow: gone}, o: {type: save}}", FlowNotFound, "inside/in"),
        ("params: {size: {type: integer}}\nnodes: {photo: {type: input}, out: {type: save}}", ParamsInvalid, "inside"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_inside_is_told_with_the_node(
    sandbox: Sandbox, desk: Desk, inner: str, error: type[Exception] | None, node: str | None
) -> None:
    text = "nodes: {photo: {type: input}, inside: {type: subflow, flow: inner}, out: {type: save, path: out.png}}"
    run = desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(inner=inner))
    if error is None:
        assert [output.path for output in await run] == ["out.png"]
        return
    with pytest.raises(error) as caught:
        await run
    assert caught.value.node == node  # type: ignore[attr-defined]
    assert desk.states["inside"].status == "failed"


def test_pictures_of_an_earlier_stage_are_made_again_where_they_are_needed_later() -> None:
    flow = load_flow(
        "later",
        """
        nodes:
          photo: {type: input}
          small: {type: resize, width: 320}
          mark:  {type: subflow, from: photo, flow: sizes}
          both:  {type: watermark, from: {image: small, mark: mark}}
          out:   {type: save, from: [small, both], path: "{node}.png"}
        """,
    )
    first, second, third = plan(flow)
    assert (first.files, first.fused) == (("photo",), ("small",))
    assert (second.files, second.fused, second.again) == (("mark",), ("small", "both"), {"small"})
    assert third.files == ("out",)
    assert [(export.source[0], export.consumer) for export in first.exports] == [("photo", "mark"), ("small", "out")]
    assert [(export.source[0], export.consumer) for export in second.exports] == [("both", "out")]


async def test_a_picture_behind_a_flow_meets_one_from_before(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo: {type: input}
          small: {type: resize, width: 320}
          mark:  {type: subflow, from: photo, flow: sizes}
          both:  {type: watermark, from: {image: small, mark: mark}, scale: 0.2}
          out:   {type: save, from: [small, both], path: "{node}.png"}
    """
    inner = "nodes: {photo: {type: input}, flipped: {type: flip}, out: {type: save, path: a.png}}"
    outputs = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(sizes=inner))
    assert sorted(output.path for output in outputs) == ["both.png", "small.png"]
    small, both = desk.image("small.png").convert("RGB"), desk.image("both.png").convert("RGB")
    assert small.size == both.size == (320, 180)
    assert difference(small.crop((0, 0, 100, 100)), both.crop((0, 0, 100, 100))) == 0
    assert difference(small, both) > 0


async def test_a_choice_joins_pictures_of_two_stages(sandbox: Sandbox, desk: Desk) -> None:
    text = """
        nodes:
          photo: {type: input}
          wide:  {type: conditional, field: width, operator: greaterThan, value: 500}
          far:   {type: subflow, from: wide.else, flow: sizes}
          near:  {type: resize, from: wide.then, width: 64}
          any:   {type: first, from: [far, near]}
          gray:  {type: invert}
          out:   {type: save, path: out.png}
    """
    await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]}, flows=kept(sizes=SIZES))
    assert desk.image("out.png").size == (64, 36)
    assert desk.states["far"].status == "skipped"
    fused = "nodes: {photo: {type: input}, near: {type: resize, width: 64}, out: {type: save, path: near.png}}"
    await desk.run(sandbox, fused, {"photo": [file_at(PHOTO, "image/jpeg")]})
    inverted = desk.image("near.png").convert("RGB").point(lambda value: 255 - value)
    assert difference(desk.image("out.png").convert("RGB"), inverted) == 0
