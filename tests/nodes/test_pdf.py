"""The pdf node through the real executor: pages, sizes, sharpness, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pipeline import sniff
from pipeline.errors import FlowInvalid, ImageTooLarge, ImageUnreadable, NodeInvalid
from pipeline.imaging.header import read_header
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File
from pipeline.nodes.pdf import Pdf
from tests.graph.desk import Desk, file_at
from tests.imaging.papers import encrypted, page_of, pdf, quartered
from tests.nodes.studio import corners, opened, quarters

PAGES = pdf([quartered(300, 200), (72, 144, page_of(((0, 0, 1), 0, 0, 36, 144))), quartered(100, 100)])
WHITE, BLUE = (255, 255, 255), (0, 0, 255)


def sent(desk: Desk, content: bytes, name: str = "paper.pdf") -> File:
    path = desk.folder / name
    path.write_bytes(content)
    mime = sniff.media_type(content, name)
    facts = read_header(str(path), mime, 10**8, 1000)
    return file_at(path, "application/octet-stream").model_copy(update={"mime": mime, "image": facts})


async def page(sandbox: Sandbox, desk: Desk, content: bytes, parameters: str, *steps: str) -> Image.Image:
    text = flow(f"page: {{type: pdf{parameters}}}", *steps, 'out: {type: save, path: "out.png"}')
    await desk.run(sandbox, text, {"paper": [sent(desk, content)]})
    return desk.image("out.png")


def flow(*steps: str) -> str:
    return "nodes:\n" + "".join(f"  {line}\n" for line in ("paper: {type: input}", *steps))


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ("", (625, 417)),
        (", dpi: 72", (300, 200)),
        (", dpi: 300", (1250, 833)),
        (", page: 2", (150, 300)),
        (", page: 2, dpi: 72", (72, 144)),
        (", page: 3, dpi: 10", (14, 14)),
    ],
)
async def test_a_page_has_the_size_its_dpi_says(
    parameters: str, size: tuple[int, int], sandbox: Sandbox, desk: Desk
) -> None:
    found = await page(sandbox, desk, PAGES, parameters)
    assert (found.size, found.mode) == (size, "RGB")
    if "page: 2" in parameters:
        assert quarters(found) == [BLUE, WHITE, BLUE, WHITE]
    else:
        assert quarters(found) == [(255, 0, 0), (0, 255, 0), BLUE, WHITE]


@pytest.mark.parametrize("width", [10, 72, 500, 3000])
async def test_a_page_is_drawn_anew_for_the_size_that_follows(width: int, sandbox: Sandbox, desk: Desk) -> None:
    grow = f"large: {{type: resize, width: {width}, enlarge: true}}"
    found = await page(sandbox, desk, PAGES, ", page: 2, dpi: 72", grow)
    assert found.size == (width, 2 * width)
    # Enlarged pixels would mix the two colours where they meet.
    assert [found.getpixel((x, width)) for x in range(width)] == [BLUE] * (width // 2) + [WHITE] * (width // 2)


async def test_the_number_of_the_page_may_come_with_the_run(sandbox: Sandbox, desk: Desk) -> None:
    text = "params:\n  page: {type: integer, default: 1}\n" + flow(
        'page: {type: pdf, page: "{params.page}", dpi: 72}', 'out: {type: save, path: "{node}-{width}x{height}.png"}'
    )
    outputs = await desk.run(sandbox, text, {"paper": [sent(desk, PAGES)]}, {"page": 2})
    assert [output.path for output in outputs] == ["page-72x144.png"]


async def test_one_pdf_gives_several_pages_and_its_first_beside(sandbox: Sandbox, desk: Desk) -> None:
    text = flow(
        "first: {type: resize, width: 90}",
        "second: {type: pdf, from: paper, page: 2, dpi: 72}",
        "small: {type: resize, width: 36}",
        "third: {type: pdf, from: paper, page: 3, dpi: 36}",
        'out: {type: save, from: [first, second, small, third], path: "{node}.png"}',
    )
    await desk.run(sandbox, text, {"paper": [sent(desk, PAGES)]})
    sizes = {name: desk.image(f"{name}.png").size for name in ("first", "second", "small", "third")}
    assert sizes == {"first": (90, 60), "second": (72, 144), "small": (36, 72), "third": (50, 50)}


async def test_a_page_without_a_wish_is_saved_as_png(sandbox: Sandbox, desk: Desk) -> None:
    text = flow("page: {type: pdf, page: 2}", "out: {type: save}")
    (output,) = await desk.run(sandbox, text, {"paper": [sent(desk, PAGES)]})
    assert (output.path, output.mime) == ("paper-page.png", "image/png")


async def test_a_page_goes_through_a_choice(sandbox: Sandbox, desk: Desk) -> None:
    text = flow(
        "kind: {type: conditional, field: mime, operator: equals, value: application/pdf}",
        "page: {type: pdf, from: kind.then, page: 3, dpi: 72}",
        "any: {type: first, from: [page, kind.else]}",
        'out: {type: save, path: "out.png"}',
    )
    await desk.run(sandbox, text, {"paper": [sent(desk, PAGES)]})
    assert desk.image("out.png").size == (100, 100)
    corners(40, 30).save(desk.folder / "in.png")
    await desk.run(sandbox, text, {"paper": [sent(desk, (desk.folder / "in.png").read_bytes(), "photo.png")]})
    assert desk.image("out.png").size == (40, 30)


async def test_a_page_that_is_not_there_names_the_parameter(sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(NodeInvalid, match="page: the PDF has 3 pages, not 4") as refusal:
        await page(sandbox, desk, PAGES, ", page: 4")
    assert refusal.value.node == "page"


async def test_a_page_beyond_the_limits_is_too_large(sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(ImageTooLarge) as refusal:
        await page(sandbox, desk, pdf([quartered(2000, 2000)]), ", dpi: 1200")
    assert refusal.value.node == "page"


async def test_a_picture_is_no_pdf(sandbox: Sandbox, desk: Desk) -> None:
    corners(40, 30).save(desk.folder / "in.png")
    text = flow("page: {type: pdf}", "out: {type: save}")
    with pytest.raises(ImageUnreadable, match="not a PDF"):
        await desk.run(sandbox, text, {"paper": [sent(desk, (desk.folder / "in.png").read_bytes(), "photo.png")]})


async def test_a_page_is_not_made_of_a_picture_that_was_made(sandbox: Sandbox, desk: Desk) -> None:
    text = flow("small: {type: resize, width: 20}", "page: {type: pdf}", "out: {type: save}")
    with pytest.raises(NodeInvalid, match="a file as it came") as refusal:
        await desk.run(sandbox, text, {"paper": [sent(desk, PAGES)]})
    assert refusal.value.node == "page"
    with pytest.raises(FlowInvalid):
        await desk.run(sandbox, flow("all: {type: zip}", "page: {type: pdf}", "out: {type: save}"), {})


async def test_an_encrypted_pdf_ends_the_run_with_a_code(sandbox: Sandbox, desk: Desk) -> None:
    file = sent(desk, PAGES)
    Path(file.key).write_bytes(encrypted())
    with pytest.raises(ImageUnreadable, match="encrypted"):
        await desk.run(sandbox, flow("page: {type: pdf}", "out: {type: save}"), {"paper": [file]})


async def test_the_last_of_ten_thousand_pages_is_drawn(sandbox: Sandbox, desk: Desk) -> None:
    many = pdf([quartered(72, 72)] * 9_999 + [quartered(72, 36)])
    assert (await page(sandbox, desk, many, ", page: 10000, dpi: 72")).size == (72, 36)


@pytest.mark.parametrize("wrong", [{"page": 0}, {"page": -1}, {"dpi": 5}, {"dpi": 5000}, {"page": 1.5}])
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Pdf.model_validate({"type": "pdf", **wrong})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.floats(0.5, 300), height=st.floats(0.5, 300), dpi=st.integers(10, 300), scale=st.floats(0.01, 4))
def test_what_is_foretold_is_what_is_drawn(width: float, height: float, dpi: int, scale: float, tmp_path: Path) -> None:
    path = tmp_path / "in.pdf"
    path.write_bytes(pdf([quartered(round(width, 2), round(height, 2))]))
    step = Pdf(type="pdf", dpi=dpi)
    outline, picture = step.outline_in(path), step.open(path, scale)
    assert (picture.outline.width, picture.outline.height) == (outline.width, outline.height)
    assert picture.pixels.width == max(1, round(outline.width * scale))
    settled = picture.settled().pixels
    assert (settled.width, settled.height, settled.bands) == (outline.width, outline.height, 3)
    settled.pngsave(str(tmp_path / "out.png"))
    assert opened(tmp_path / "out.png").size == (outline.width, outline.height)
