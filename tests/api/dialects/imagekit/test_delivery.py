"""Every transformation of size, shape, format and look, by a real server and a real worker, decoded and measured."""

from __future__ import annotations

import asyncio

from PIL import ImageChops

from pipeline.model import Edit, Region
from tests.api.dialects.imagekit.gallery import BLACK, WHITE, Gallery, Row, clear_at, every, shows, wrong
from tests.api.quarters import BLUE, GREEN, RED, YELLOW, at, is_whole, near, quarters

PURE, LIGHT = (255, 0, 0), (144, 238, 144)

GEOMETRY: list[Row] = [
    ("w-320", (320, 240), is_whole),
    ("h-120", (160, 120), is_whole),
    ("w-0.5", (320, 240), is_whole),
    ("w-1", (640, 480), is_whole),
    ("w-1280", (1280, 960), is_whole),
    ("w-iw_div_4,h-ih_div_2", (160, 240), is_whole),
    ("w-200:w-cw_div_2", (100, 75), is_whole),
    ("w-200:w-iw_div_4", (160, 120), is_whole),
    ("w-200,w-100", (100, 75), is_whole),
    ("w-320,foo-bar,zz", (320, 240), is_whole),
    ("w-400,ar-4-1", (400, 100), is_whole),
    ("h-100,ar-2_1", (200, 100), is_whole),
    ("w-400,ar-iar_div_2", (400, 600), is_whole),
    ("w-300,h-300,ar-4-1", (300, 300), is_whole),
    ("ar-4-1", (640, 480), is_whole),
    ("w-100,dpr-2", (200, 150), is_whole),
    ("w-100,h-50,dpr-0.5", (50, 25), is_whole),
    ("w-2000,dpr-5", (2000, 1500), is_whole),
    ("dpr-2", (640, 480), is_whole),
    ("w-300,h-300,c-maintain_ratio", (300, 300), is_whole),
    ("w-300,h-300,fo-left", (300, 300), shows(0.6, 0.1, RED)),
    ("w-300,h-300,fo-right", (300, 300), shows(0.4, 0.1, GREEN)),
    ("w-300,h-100,fo-top", (300, 100), shows(0.1, 0.9, RED)),
    ("w-300,h-100,fo-bottom_right", (300, 100), shows(0.9, 0.1, YELLOW)),
    ("w-800,h-800,c-maintain_ratio_no_enlarge", (640, 480), is_whole),
    ("w-300,h-1000,c-maintain_ratio_no_enlarge", (300, 480), is_whole),
    ("w-100,h-300,c-force", (100, 300), is_whole),
    ("w-300,h-300,c-at_max", (300, 225), is_whole),
    ("w-3000,h-3000,c-at_max", (640, 480), is_whole),
    ("w-800,h-800,c-at_max_enlarge", (800, 600), is_whole),
    ("w-300,h-300,c-at_least", (400, 300), is_whole),
    ("w-900,c-at_max", (640, 480), is_whole),
    ("w-300,h-300,cm-pad_resize", (300, 300), every(shows(0.5, 0.02, BLACK), shows(0.1, 0.2, RED))),
    ("w-300,h-300,cm-pad_resize,bg-F3F3F3", (300, 300), shows(0.5, 0.98, (0xF3,) * 3)),
    ("w-300,h-300,cm-pad_resize,bg-lightgreen,fo-top", (300, 300), every(shows(0, 1, LIGHT), shows(0.1, 0, RED))),
    ("w-600,h-300,cm-pad_resize,bg-FF0000,fo-right", (600, 300), every(shows(0.1, 0.5, PURE), shows(1, 0, GREEN))),
    ("w-300,h-300,c-pad_resize,bg-FF000050,f-png", (300, 300), clear_at(0.5, 0.01, 126, 129)),
    ("w-800,h-800,c-pad_resize_no_enlarge,bg-FF0000", (800, 800), every(shows(0.05, 0.5, PURE), shows(0.15, 0.3, RED))),
    ("w-300,h-300,cm-pad_resize,bg-dominant", (300, 300), lambda i: at(i, 0.5, 0) == at(i, 0.5, 1) != BLACK),
    ("w-300,h-300,cm-pad_resize,bg-blurred", (300, 300), every(shows(0.01, 0.2, RED), shows(0.1, 0.01, RED))),
    ("w-300,h-300,cm-pad_resize,bg-blurred_50_N255", (300, 300), every(shows(0.2, 0.01, BLACK), shows(0.1, 0.2, RED))),
    ("w-300,h-300,cm-pad_resize,bg-blurred_auto_255", (300, 300), shows(0.2, 0.01, WHITE)),
    ("w-300,h-300,cm-pad_resize,bg-gradient_dominant", (300, 300), lambda i: at(i, 0, 0) != at(i, 1, 0)),
    ("w-300,h-300,cm-pad_resize,bg-gradient_dominant_4", (300, 300), lambda i: at(i, 0, 0) != at(i, 0, 1)),
    ("w-320,h-240,cm-extract", (320, 240), is_whole),
    ("w-320,h-240,cm-extract,fo-top_left", (320, 240), every(shows(0.9, 0.9, RED), shows(0.1, 0.1, RED))),
    ("w-100,h-100,cm-extract,x-400,y-300", (100, 100), shows(0.5, 0.5, YELLOW)),
    ("w-100,h-100,cm-extract,x-600,y-10", (40, 100), shows(0.5, 0.5, GREEN)),
    ("w-100,h-100,cm-extract,x-iw_sub_cw,y-N5", (100, 100), shows(0.5, 0.5, RED)),
    ("w-100,h-100,cm-extract,xc-320,yc-240", (100, 100), is_whole),
    ("w-200,cm-extract", (200, 480), is_whole),
    ("w-900,h-100,cm-extract", (640, 100), is_whole),
    ("w-800,h-200,cm-pad_extract,bg-0000FF", (800, 200), every(shows(0, 0.5, (0, 0, 255)), shows(0.12, 0.1, RED))),
    ("w-800,h-200,cm-pad_extract_no_shrink", (800, 480), every(shows(0, 0.5, BLACK), shows(0.12, 0.1, RED))),
    ("w-100,h-100,fo-auto", (100, 100), lambda i: True),
    ("w-100,h-100,fo-face", (100, 100), lambda i: True),
    ("w-100,h-100,fo-custom", (100, 100), is_whole),
    ("rt-90", (480, 640), every(shows(0.1, 0.1, BLUE), shows(0.9, 0.1, RED))),
    ("rt-N90", (480, 640), shows(0.1, 0.1, GREEN)),
    ("rt-180,w-320", (320, 240), shows(0.1, 0.1, YELLOW)),
    ("rt-450", (480, 640), shows(0.1, 0.1, BLUE)),
    ("rt-auto", (640, 480), is_whole),
    ("w-100,h-100:rt-45,f-png", (142, 142), every(clear_at(0, 0), clear_at(0.5, 0.5, 255, 255))),
    ("w-100,h-100:rt-45,bg-00FF00,f-png", (142, 142), every(shows(0, 0, (0, 255, 0)), clear_at(0, 0, 255, 255))),
    ("fl-h", (640, 480), shows(0.1, 0.1, GREEN)),
    ("fl-v", (640, 480), shows(0.1, 0.1, BLUE)),
    ("fl-h_v", (640, 480), shows(0.1, 0.1, YELLOW)),
    ("w-400,h-300:w-100,h-100:rt-90", (100, 100), shows(0.1, 0.1, BLUE)),
    ("w-300,h-300,r-50,f-png", (300, 300), every(clear_at(0, 0), clear_at(1, 1), is_whole, clear_at(0.5, 0, 255, 255))),
    ("w-300,h-200,r-max,f-png", (300, 200), every(clear_at(0.02, 0.05), clear_at(0.5, 0, 200, 255))),
    ("w-300,h-300,r-100_0_50_0,f-png", (300, 300), every(clear_at(0, 0), clear_at(1, 0, 255, 255), clear_at(1, 1))),
    ("w-300,b-10_FF0000", (320, 245), every(shows(0, 0, (255, 0, 0)), shows(0.02, 0.5, (255, 0, 0)))),
    ("w-200:b-cw_mul_0.05_yellow", (220, 170), shows(0.5, 0, (255, 255, 0))),
    ("w-200,h-200,b-10_0000FF,r-max,f-png", (220, 220), every(clear_at(0, 0), shows(0.5, 0.01, (0, 0, 255)))),
    ("o-50,f-png", (640, 480), every(clear_at(0.5, 0.5, 126, 129), is_whole)),
    ("n-thumb", (200, 100), lambda i: True),
    ("n-thumb:rt-90", (100, 200), lambda i: True),
    ("n-thumb,fl-h", (200, 100), shows(0.1, 0.1, GREEN)),
    ("n-ik_ml_thumbnail", (400, 300), is_whole),
    ("if-ar_gt_1,w-200,if-else,w-300,if-end", (200, 150), is_whole),
    ("if-h_gte_500_or_w_gt_600_and_h_lt_100,w-50,if-else,w-60:w-0.5,if-end", (30, 22), is_whole),
    ("if-w_eq_640_and_iar_lte_4-3_or_h_eq_1,w-50,if-end", (50, 38), is_whole),
    ("w-100:if-w_eq_100,if-ih_ne_480,w-10,if-else,w-20,if-end,if-end:rt-90", (15, 20), lambda i: True),
]  # fmt: skip


async def test_sizes_and_shapes(gallery: Gallery) -> None:
    region = Region(x=300, y=200, width=40, height=60)
    photo = await gallery.house.core.records.lineages.at("demo", "", "photo.png")
    assert photo is not None
    await gallery.house.core.files.edit(gallery.grant, photo.id, Edit(region=region))

    assert "\n".join(await wrong(gallery, GEOMETRY)) == ""


CLEAR: list[Row] = [
    ("w-320", (320, 240), every(clear_at(0.9, 0.5), clear_at(0.1, 0.5, 255, 255))),
    ("w-320,bg-0000FF", (320, 240), every(shows(0.9, 0.5, (0, 0, 255)), clear_at(0.9, 0.5, 255, 255))),
    ("w-320,bg-0000FF50", (320, 240), every(clear_at(0.9, 0.5, 126, 130), clear_at(0.1, 0.5, 255, 255))),
    ("w-320,f-jpg", (320, 240), every(shows(0.9, 0.5, BLACK), shows(0.1, 0.5, RED))),
    ("w-320,f-jpg,bg-00FF00", (320, 240), shows(0.9, 0.5, (0, 255, 0))),
]
EDGED: list[Row] = [
    ("t-true", (100, 60), shows(0, 0, BLACK)),
    ("t-10", (100, 60), shows(0, 0, BLACK)),
    ("t-false", (200, 100), shows(0, 0, WHITE)),
    ("t-true,w-50", (50, 30), shows(0, 0, BLACK)),
    ("t-true,w-50,h-50,cm-pad_resize,bg-FF0000", (50, 50), every(shows(0.5, 0, (255, 0, 0)), shows(0.5, 0.5, BLACK))),
    ("bl-20", (200, 100), lambda i: not near(at(i, 0.245, 0.5), WHITE, 40) and not near(at(i, 0.26, 0.5), BLACK, 40)),
]


async def test_transparency_and_edges(gallery: Gallery) -> None:
    assert "\n".join(await wrong(gallery, CLEAR, "clear.png")) == ""
    assert "\n".join(await wrong(gallery, EDGED, "edged.png")) == ""


FORMATS = [
    ("photo.png", "", "image/avif,image/webp,*/*", "image/avif"),
    ("photo.png", "", "image/webp,*/*", "image/webp"),
    ("photo.png", "", "*/*", "image/png"),
    ("photo.png", "", "", "image/png"),
    ("shop/shoes/photo.jpg", "", "*/*", "image/jpeg"),
    ("shop/shoes/photo.jpg", "w-100", "image/webp", "image/webp"),
    ("shop/shoes/photo.jpg", "w-100,f-auto", "image/webp", "image/webp"),
    ("shop/shoes/photo.jpg", "w-100,f-jpg", "image/webp", "image/jpeg"),
    ("shop/shoes/photo.jpg", "w-100,f-jpeg", "image/webp", "image/jpeg"),
    ("shop/shoes/photo.jpg", "w-100,f-png", "image/webp", "image/png"),
    ("shop/shoes/photo.jpg", "w-100,f-webp", "", "image/webp"),
    ("shop/shoes/photo.jpg", "w-100,f-avif", "", "image/avif"),
    ("shop/shoes/photo.jpg", "w-100,f-orig", "image/webp", "image/jpeg"),
    ("shop/shoes/photo.jpg", "w-100,r-10", "", "image/png"),
    ("shop/shoes/photo.jpg", "w-100,r-10,f-jpg", "", "image/jpeg"),
    ("photo.png", "w-100,f-png:f-webp", "", "image/webp"),
    ("moving.gif", "", "image/webp", "image/gif"),
    ("moving.gif", "w-32", "image/webp", "image/gif"),
    ("moving.gif", "w-32,f-gif", "", "image/gif"),
    ("moving.gif", "w-32,f-webp", "", "image/webp"),
    ("moving.gif", "w-32,f-png", "", "image/png"),
    ("drawing.svg", "", "image/webp", "image/svg+xml"),
    ("drawing.svg", "f-svg", "image/webp", "image/svg+xml"),
    ("drawing.svg", "f-orig", "image/webp", "image/svg+xml"),
    ("drawing.svg", "w-400", "", "image/png"),
    ("drawing.svg", "w-400", "image/webp", "image/webp"),
    ("note.txt", "", "image/webp", "text/plain"),
    ("paper.pdf", "", "image/webp", "application/pdf"),
    ("paper.pdf", "orig-true", "image/webp", "application/pdf"),
    ("paper.pdf/ik-thumbnail.jpg", "", "", "image/png"),
    ("paper.pdf/ik-thumbnail.jpg", "w-50,f-jpg", "", "image/jpeg"),
]


async def test_formats(gallery: Gallery) -> None:
    async def check(name: str, steps: str, accept: str, mime: str) -> None:
        told = {"Accept": accept} if accept else {}
        status, headers, body = await gallery.get(f"/tr:{steps}/{name}" if steps else f"/{name}", **told)
        assert (status, headers["content-type"].partition(";")[0]) == (200, mime), (name, steps, accept, body[:200])
        chosen = mime in ("image/avif", "image/webp", "image/png", "image/jpeg") and not {"f-", "orig"} & {steps[-7:-4]}
        assert (
            headers.get("vary", "").startswith("Accept") or not accept or not chosen or "f-" in steps or "gif" in name
        )

    await asyncio.gather(*(check(*row) for row in FORMATS))


async def test_how_results_are_written(gallery: Gallery) -> None:
    async def size(steps: str, name: str = "shop/shoes/photo.jpg") -> int:
        return len((await gallery.get(f"/tr:{steps}/{name}"))[2])

    assert await size("q-10,f-jpg", "mostly.png") < await size("q-95,f-jpg", "mostly.png")
    assert (await gallery.picture("/tr:f-jpg,pr-true/photo.png")).info.get("progressive")
    assert not (await gallery.picture("/tr:f-jpg,pr-false/photo.png")).info.get("progressive")
    lossless = await gallery.picture("/tr:f-webp,lo-true/photo.png")
    assert ImageChops.difference(lossless.convert("RGB"), quarters()).getbbox() is None
    assert round((await gallery.picture("/tr:dn-300,f-png/photo.png")).info["dpi"][0]) == 300
    assert round((await gallery.picture("/tr:dn-150,f-jpg/photo.png")).info["dpi"][0]) == 150
    assert "icc_profile" not in (await gallery.picture("/tr:w-100/profiled.jpg")).info
    kept = await gallery.picture("/tr:w-100,md-true/turned.jpg")
    assert kept.getexif()[0x8298] == "Ada"
    plain = await gallery.picture("/turned.jpg")
    assert (plain.size, dict(plain.getexif())) == ((480, 640), {}), "upright, and nothing told about it"
    moving = await gallery.picture("/tr:w-32/moving.gif")
    assert (getattr(moving, "n_frames", 1), moving.size) == (3, (32, 24))


async def test_what_is_stored_is_sent_when_it_is_asked_for(gallery: Gallery) -> None:
    for path in ("shop/shoes/photo.jpg", "photo.png", "note.txt", "moving.gif"):
        folder, _, name = path.rpartition("/")
        file = await gallery.house.core.records.lineages.at("demo", folder, name)
        assert file is not None
        stored = b"".join([piece async for piece in gallery.house.core.storages[file.storage].open(file.key)])
        for address in (f"/tr:orig-true/{path}", f"/{path}?tr=orig-true", f"/{folder}/tr:w-100,orig-true/{name}"):
            status, headers, body = await gallery.get(address)
            assert (status, body, headers["etag"]) == (200, stored, f'"{file.sha256}"'), address
    status, headers, body = await gallery.get("/note.txt", Range="bytes=3-9")
    assert (status, body, headers["content-range"]) == (206, b"picture", "bytes 3-9/10")
