"""Addresses as clients write them, how answers are shown, what is refused, and whom private files open to."""

from __future__ import annotations

import io
import time
from unicodedata import normalize
from urllib.parse import quote

from PIL import Image

from pipeline.model import Edit
from pipeline.signing import signature
from tests.api.dialects.imagekit.gallery import Gallery
from tests.api.quarters import encoded, quarters

SECRET = b"private_test_key"


async def test_addresses_as_clients_write_them(gallery: Gallery) -> None:
    assert (await gallery.picture("/shop/tr:w-100/shoes/photo.jpg")).size == (100, 75)
    assert (await gallery.picture("/shop/shoes/tr:w-100/photo.jpg")).size == (100, 75)
    assert (await gallery.picture("/shop/shoes/photo.jpg?tr=w-100")).size == (100, 75)
    assert (await gallery.picture("/shop/shoes/photo.jpg?x=1&tr=w-200%2Ch-100&y=2")).size == (200, 100)
    assert (await gallery.picture("/tr%3Aw-200%2Ch-100%3Art-90/shop/shoes/photo.jpg")).size == (100, 200)
    assert (await gallery.picture("/tr:w-300/shop/shoes/photo.jpg?tr=rt-90")).size == (225, 300)
    assert (await gallery.picture("//shop//shoes/photo.jpg?tr=w-50")).size == (50, 38)
    spelt = "/a%20b/%C3%BCn%C3%AFcode.png".replace("%C3%BCn%C3%AF", quote("ünï"))
    assert (await gallery.picture(f"{spelt}?tr=w-15")).size == (15, 10)
    apart = quote(normalize("NFD", "ünïcode.png"))
    assert (await gallery.picture(f"/a%20b/{apart}?tr=w-12")).size == (12, 8)
    assert (await gallery.picture("/tr:di-@@shop@@shoes@@photo.jpg,w-40/nothing/here.jpg")).size == (40, 30)
    assert (await gallery.picture("/tr:w-40,di-photo.png/here.jpg")).size == (40, 30)
    for path in (
        "/nothing.jpg",
        "/shop/shoes",
        "/shop/",
        "/",
        "/shoes/photo.jpg",
        "/tr:w-100/",
        "/photo.png/x",
        "/../x",
    ):
        assert "exist" in await gallery.refused(path, 404)
    async with gallery.house.ask("GET", "/imagekit/ik/nobody/photo.png", key=None) as answer:
        assert (answer.status, answer.headers["ik-error"][:17]) == (404, "FILE_NOT_FOUND - ")


async def test_how_answers_are_shown(gallery: Gallery) -> None:
    status, headers, _ = await gallery.get(
        "/tr:w-30/shop/shoes/photo.jpg", Accept="image/webp", Origin="https://a.example"
    )
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, "*", "Accept")
    assert headers["content-disposition"].startswith('inline; filename="photo.webp"')
    assert headers["cache-control"] == "public, no-cache"
    assert headers["x-ik-requestid"]
    tag = headers["etag"]
    again = await gallery.get("/tr:w-30/shop/shoes/photo.jpg", Accept="image/webp", If_None_Match=tag)
    assert (again[0], again[2], again[1]["etag"]) == (304, b"", tag)
    head = await gallery.get("/tr:w-30/shop/shoes/photo.jpg", "HEAD", Accept="image/webp")
    assert (head[0], head[2], head[1]["content-length"]) == (200, b"", headers["content-length"])
    part = await gallery.get("/tr:w-30/shop/shoes/photo.jpg", Accept="image/webp", Range="bytes=0-3")
    assert (part[0], part[2]) == (206, b"RIFF")
    for address, kind in (("/photo.png?ik-attachment=true", "attachment"), ("/note.txt", "attachment"),
                          ("/paper.pdf", "inline"), ("/photo.png?ik-attachment=false", "inline")):  # fmt: skip
        assert (await gallery.get(address))[1]["content-disposition"].startswith(kind), address
    for query in ("v=2", "updatedAt=1700000000"):
        assert (await gallery.get(f"/photo.png?{query}"))[1]["cache-control"] == "public, max-age=31536000"


async def test_what_clients_say_of_themselves(gallery: Gallery) -> None:
    sized = await gallery.get("/tr:w-auto/photo.png", Sec_CH_Width="200", DPR="3")
    assert (Image.open(io.BytesIO(sized[2])).size, sized[1]["vary"]) == ((200, 150), "Accept, Sec-CH-Width, Width")
    assert (await gallery.picture("/tr:w-auto/photo.png", Width="100")).size == (100, 75)
    assert (await gallery.picture("/tr:w-auto/photo.png")).size == (640, 480)
    assert (await gallery.picture("/tr:w-auto/photo.png", Width="nonsense")).size == (640, 480)
    assert (await gallery.picture("/tr:w-100,dpr-auto/photo.png", Sec_CH_DPR="1.5")).size == (150, 112)
    assert (await gallery.picture("/tr:w-100,dpr-auto/photo.png")).size == (100, 75)


BAD = [
    "w-x",
    "w-0",
    "w-N5",
    "w-iw_div_0",
    "w-iw_foo_2",
    "w-iw_div",
    "w-bw_div_2",
    "w-30000",
    "h-20001",
    "w-10_pow_99",
    "ar-4-0,w-10",
    "ar-x,w-10",
    "dpr-9,w-10",
    "dpr-0,w-10",
    "c-foo,w-10",
    "cm-foo,w-10,h-10",
    "fo-nowhere,w-10",
    "fo-person,w-10,h-10",
    "w-10,h-10,cm-extract,x-9999",
    "w-10,h-10,cm-extract,xc-2,yc-2",
    "q-0",
    "q-101",
    "q-best",
    "f-bmp",
    "f-gif",
    "f-svg",
    "f-mp4",
    "bl-0",
    "bl-101",
    "bl-x",
    "rt-x",
    "fl-x",
    "r-x",
    "r-1_2",
    "b-5",
    "b-x_FF0000",
    "b-0_red",
    "b-5_nocolour",
    "bg-nocolour",
    "bg-genfill,w-10,h-10,cm-pad_resize",
    "o-101",
    "t-0",
    "t-100",
    "t-maybe",
    "bg-blurred_200,w-10,h-10,cm-pad_resize",
    "lo-maybe",
    "pr-1",
    "md-x",
    "cp-x",
    "dn-0",
    "orig-maybe",
    "e-nothing",
    "n-nobody",
    "n-",
    "if-ar_gt_1,w-20",
    "if-,w-1,if-end",
    "if-ar_gt,w-1,if-end",
    "if-ar_xx_1,w-1,if-end",
    "if-end",
    "if-ar_gt_1,w-20,if-end,h-10",
    "l-end",
    "l-image,i-photo.png",
    "l-foo,l-end",
    "l-image,i-nowhere.png,l-end",
    "if-q_gt_1,w-20,if-end",
    "w-100:" * 201,
    "w-20000,h-20000",
    "rt-1e9",
    "w-1_add_" * 30 + "1",
    "z-x,w-10,h-10,fo-face",
]


async def test_what_cannot_be_made_is_refused_with_the_reason(gallery: Gallery) -> None:
    for steps in BAD:
        said = await gallery.refused(f"/tr:{steps}/photo.png")
        assert "n0" not in said, said
    for path in (
        "/tr:w-10/note.txt",
        "/tr:w-10/paper.pdf",
        "/tr:pg-0/paper.pdf/ik-thumbnail.jpg",
        "/tr:pg-9/paper.pdf/ik-thumbnail.jpg",
        "/photo.png/ik-gif-video.mp4",
        "/moving.gif/ik-master.m3u8",
        "/a%2Fb.png",
        "/%FF.png",
        "/a%00b.png",
        "/tr:%01/photo.png",
        f"/{'x' * 8001}",
    ):
        await gallery.refused(path)
    async with gallery.house.ask("POST", "/imagekit/ik/demo/photo.png", key=None) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def sign(said: str, expires: str = "9999999999") -> str:
    return signature(SECRET, f"{said}{expires}".encode(), "sha1")


async def test_signed_addresses(gallery: Gallery) -> None:
    apart = normalize("NFD", "ünïcode.png")
    later, sooner = str(int(time.time()) + 600), str(int(time.time()) - 10)
    good = [
        (said := "photo.png", f"/photo.png?ik-s={sign(said)}"),
        (said := "tr:w-30/photo.png", f"/tr:w-30/photo.png?ik-t={later}&ik-s={sign(said, later)}"),
        (said := "photo.png?tr=w-30&v=1", f"/photo.png?tr=w-30&v=1&ik-t={later}&ik-s={sign(said, later)}"),
        (said := "photo.png?tr=w-30%2Ch-2", f"/photo.png?ik-s={sign(said)}&tr=w-30%2Ch-2"),
        (said := "photo.png?b=2&a=1&tr=w-30", f"/photo.png?b=2&ik-s={sign(said)}&a=1&tr=w-30"),
        (said := "a b/ünïcode.png", f"/a%20b/{quote('ünïcode.png')}?ik-s={sign(said)}"),
        (said := "a%20b/ünïcode.png", f"/a%20b/{quote('ünïcode.png')}?ik-s={sign(said)}"),
        (said := f"a b/{quote('ünïcode.png')}", f"/a%20b/{quote('ünïcode.png')}?ik-s={sign(said)}"),
        (said := f"a%20b/{quote(apart)}", f"/a%20b/{quote('ünïcode.png')}?ik-s={sign(said)}"),
        (said := f"a%20b/{quote('ünïcode.png')}", f"/a%20b/{quote('ünïcode.png')}?ik-s={sign(said)}"),
    ]
    for _, address in good:
        assert (await gallery.get(address))[0] == 200, address
    bad = [
        "/photo.png?ik-s=00",
        "/photo.png?ik-s=%C3%BC",
        f"/tr:w-31/photo.png?ik-s={sign('tr:w-30/photo.png')}",
        f"/photo.png?ik-t={sooner}&ik-s={sign('photo.png', sooner)}",
        f"/photo.png?ik-t=soon&ik-s={sign('photo.png', 'soon')}",
        f"/photo.png?ik-t={later}0&ik-s={sign('photo.png', later)}",
        f"/photo.png?a=1&b=2&ik-s={sign('photo.png?b=2&a=1')}",
    ]
    for address in bad:
        await gallery.refused(address, 401)


RECORDED = [
    # imagekitio 5.11.0 and @imagekit/nodejs 7.11.0
    "/photo.png?tr=w-300,h-200:rt-90&ik-s=9f6ce8e0ba0004a437b806bbeb6a39d71a36fe82",
    "/a%20b/%C3%BCn%C3%AFcode.png?tr=w-300,h-200:rt-90&ik-s=11217761a9ae8ebbb637b34bcae64ae50f67dc6c",
    "/tr:w-300,h-200:rt-90/a%20b/%C3%BCn%C3%AFcode.png?ik-s=43db6c48eb9ae48f4d9ce0ced502e058b8c117fc",
    "/photo.png?tr=l-text,ie-aMOpL2xsbywgd8O2cmxkID8%2FPz4%2BPg%3D%3D,l-end&ik-s=85bc54f5c7aa468a0cb0135d563de2972841ebd0",
    "/tr:l-text,ie-aMOpL2xsbywgd8O2cmxkID8%2FPz4%2BPg%3D%3D,l-end/photo.png?ik-s=d9ad10d50b869af6030c00116e10a7badaea5f27",
    "/photo.png?tr=l-image,i-shop@@shoes@@photo.jpg,w-bw_div_2,l-end&ik-s=cf70a85c3532ad6be15856dd9a52687c383b2b41",
    # 5.11.0 on an address with `x=a%20b`, which it writes back with a blank
    "/photo.png?x=a%20b&tr=w-300,h-200:rt-90&ik-s=d071ddf5973d70310c5688284e22e0ff5b82bd27",
    # imagekitio 4.2.0, whose blanks and letters are encoded by whoever asks
    "/tr:h-200,w-300:rt-90/a%20b/%C3%BCn%C3%AFcode.png?ik-s=8ee9fbe6c58f76949c7e7e6c07fb91d6298247b7",
    "/a%20b/%C3%BCn%C3%AFcode.png?tr=h-200%2Cw-300%3Art-90&ik-s=351aa807962ea4a5310b24b20e1970ce6a4067f0",
    # imagekit 6.0.0
    "/photo.png?tr=w-300%2Ch-200%3Art-90&ik-s=a226b44ffcbacb3d9df039c56ae351b4d20edf8c",
]


async def test_addresses_that_clients_signed(gallery: Gallery) -> None:
    for address in RECORDED:
        assert (await gallery.get(address))[0] == 200, address
        await gallery.refused(address[:-1] + ("0" if address[-1] != "0" else "1"), 401)


async def test_private_and_unpublished_files(gallery: Gallery) -> None:
    await gallery.send(encoded(quarters()), "private.png", private="true")
    hidden = await gallery.send(encoded(quarters()), "hidden.png")
    await gallery.house.core.files.edit(gallery.grant, hidden, Edit(published=False))
    for path in ("private.png", "tr:w-30/private.png", "tr:n-thumb,w-20/private.png", "tr:orig-true/private.png"):
        await gallery.refused(f"/{path}", 401)
        status, headers, _ = await gallery.get(f"/{path}?ik-s={sign(path)}")
        assert (status, headers["cache-control"]) == (200, "private, no-cache")
    for path in ("tr:n-thumb/private.png", "tr:n-ik_ml_thumbnail/private.png", "tr:n-thumb:n-thumb/private.png"):
        assert (await gallery.get(f"/{path}"))[0] == 200, path
    for path in ("hidden.png", "tr:n-thumb/hidden.png"):
        await gallery.refused(f"/{path}", 404)
        await gallery.refused(f"/{path}?ik-s={sign(path)}", 404)
    laid = "tr:l-image,i-private.png,w-50,l-end/photo.png"
    assert "private.png" in await gallery.refused(f"/{laid}")
    assert (await gallery.get(f"/{laid}?ik-s={sign(laid)}"))[0] == 200
    await gallery.refused("/tr:di-private.png/none.png", 404)
