"""Purified SVG files: nothing in them acts or reaches out, judged by other parsers and a real browser; looks stay."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tinycss2
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.async_api import async_playwright

from pipeline.errors import SvgInvalid
from pipeline.imaging import vector
from pipeline.imaging.purify.rewriting import LONGEST_ENTITY, MOST_STYLE, purified
from pipeline.imaging.svg import MOST_BYTES, MOST_DEPTH, checked

from .attacks import ATTACKS, FETCHES, HEAD, SCRIPTS, SVG, XLINK, attack, svg

NOWHERE = "http://127.0.0.1:9/hit"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
RASTER = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,")
ACTIVE = {"script", "foreignObject", "iframe", "handler", "listener", "include", "object", "embed", "metadata"}


def judged(made: bytes) -> None:
    """Fail for anything active in the file, read by another parser than that which made it."""
    root = ElementTree.fromstring(made)
    assert b"<!" not in made and b"<?" not in made
    for element in root.iter():
        space, _, local = element.tag.removeprefix("{").rpartition("}")
        assert space == SVG and local not in ACTIVE
        if local in ("set", "animate", "animateMotion", "animateTransform"):
            assert not re.search("href|^on|style", element.get("attributeName", ""), re.I)
        for name, value in element.attrib.items():
            space, _, key = name.removeprefix("{").rpartition("}")
            assert space in ("", XLINK, "http://www.w3.org/XML/1998/namespace")
            assert not key.lower().startswith("on") and key != "base"
            if key == "href":
                assert value.strip().startswith("#") or (local in ("image", "feImage") and RASTER.match(value))
            assert not re.search(r"java|vbscript|text/html|svg\+xml", value, re.I)
            judge_style(value)
        if local == "style":
            judge_style(element.text or "")


def judge_style(text: str) -> None:
    assert not re.search(r"@\s*import|expression|behavior|binding|image-set|src\(|127\.0\.0\.1", text, re.I)
    for target in re.findall(r"url\(\s*[\"']?([^\"')]*)", text, re.I):
        assert target.startswith("#") or RASTER.match(target)


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_active_is_left_of_an_attack(name: str, tmp_path: Path) -> None:
    made = purified(attack(name, NOWHERE))
    judged(made)
    assert checked(made) == made, "what a flow may draw"
    assert purified(made) == made
    path = tmp_path / "pure.svg"
    path.write_bytes(made)
    vector.drawn(path, *vector.size_of(path), 1.0).avg()


def test_these_attacks_would_be_seen() -> None:
    """The judge is worth something: it finds fault with every attack as it came."""
    for name in ATTACKS:
        with pytest.raises((AssertionError, ElementTree.ParseError)):
            judged(attack(name, NOWHERE))
            pytest.fail(name, pytrace=False)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, dict[str, bytes], set[str]]]:
    """Where files are served as pages from, those files, and what beside them was asked for."""
    files: dict[str, bytes] = {}
    hits: set[str] = set()

    async def serve(request: web.Request) -> web.Response:
        name = request.path.strip("/")
        if name not in files:
            hits.add(name)
            return web.Response(status=404)
        kind = "text/html" if name == "page" else "image/svg+xml"
        return web.Response(body=files[name], content_type=kind)

    app = web.Application()
    app.router.add_get("/{name:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", files, hits  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


async def test_a_browser_that_shows_them_as_pages_asks_nobody_for_anything() -> None:
    async with listening() as (base, files, hits), async_playwright() as playwright:
        for number, name in enumerate([*SCRIPTS, *FETCHES]):
            raw = attack(name, f"{base}/hit-{number}")
            files[f"raw-{number}.svg"], files[f"pure-{number}.svg"] = raw, purified(raw)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            seen: dict[str, set[str]] = {}
            for kind in ("pure", "raw"):
                frames = "".join(f'<iframe src="/{name}"></iframe>' for name in files if name.startswith(kind))
                files["page"] = f"<!doctype html>{frames}".encode()
                page = await browser.new_page()
                await page.goto(f"{base}/page", wait_until="networkidle")
                seen[kind] = {hit for hit in hits if hit.startswith("hit-")}
                await page.close()
        finally:
            await browser.close()
    assert seen["pure"] == set()
    assert len(seen["raw"]) > len(SCRIPTS), "the browser does run and load such things"


# What is seen stays


def picture() -> str:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((32, 32)).convert("RGB").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


LEGITIMATE = {
    "shapes": '<rect width="30" height="20" rx="4" fill="#c20" stroke="rgb(0, 80, 200)" stroke-width="2"/>'
    '<circle cx="50" cy="16" r="9" fill-opacity=".5"/><path d="M2 30 Q20 0 60 28" fill="none" stroke="green"/>',
    "gradients": '<linearGradient id="a" gradientUnits="userSpaceOnUse" x2="64"><stop offset="0" stop-color="red"/>'
    '<stop offset="1" stop-color="blue" stop-opacity=".4"/></linearGradient><radialGradient id="b" xlink:href="#a"/>'
    '<rect width="32" height="32" fill="url(#a)"/><rect x="32" width="32" height="32" fill="url(\'#b\') gray"/>',
    "style sheet": "<style type='text/css'><![CDATA[ .a > rect:first-child { fill: #FF8800; stroke:url(#g) } "
    "@media screen { .b{opacity:.5 !important} } ]]></style><linearGradient id='g'><stop stop-color='navy'/>"
    "</linearGradient><g class='a b'><rect width='20' height='20'/><rect x='30' width='20' height='20'/></g>",
    "style attributes": '<g style="fill:none; stroke: hsl(120, 80%, 30%);stroke-dasharray:3,1;stroke-width:2px">'
    '<ellipse cx="30" cy="16" rx="20" ry="10" style="transform: rotate(10deg); fill: rgba(10,20,30,.5)"/></g>',
    "clip and mask": '<defs><clipPath id="c"><circle cx="20" cy="16" r="14"/></clipPath><mask id="m">'
    '<rect width="64" height="32" fill="white" fill-opacity=".4"/></mask></defs><g clip-path="url(#c)" mask="url(#m)">'
    '<rect width="64" height="32" fill="purple"/></g>',
    "filters": '<filter id="f" x="-20%"><feGaussianBlur stdDeviation="2" result="r"/><feOffset in="r" dx="3"/><feMerge>'
    '<feMergeNode/><feMergeNode in="SourceGraphic"/></feMerge></filter><rect x="9" y="9" width="20" height="9" '
    'filter="url(#f)"/><filter id="g"><feTurbulence baseFrequency=".1" seed="2"/></filter>'
    '<rect x="40" width="20" height="30" filter="url( #g )"/>',
    "patterns, symbols and markers": '<defs><pattern id="p" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(30)"><rect width="3" height="3"/></pattern><symbol id="s" viewBox="0 0 4 4">'
    '<path d="M0 0h4v4z"/></symbol><marker id="k" markerWidth="4" markerHeight="4" orient="auto">'
    '<path d="M0 0L4 2L0 4z"/></marker></defs><rect width="30" height="30" fill="url(#p)"/><use href="#s" '
    'x="34" width="12" height="12"/>'
    '<use xlink:href="#s" x="50" width="9" height="9"/><path d="M34 20L60 28" stroke="red" marker-end="url(#k)"/>',
    "a picture inside": f'<image width="32" height="32" xlink:href="{picture()}"/>'
    f'<image x="32" width="32" height="32" href="{picture()}" style="image-rendering:pixelated"/>',
    "text": '<path id="w" d="M0 20 Q30 0 64 20" fill="none"/>'
    '<text x="2" y="12" font-family="\'DejaVu Sans\', sans-serif" font-size="9" xml:space="preserve">a  '
    '&lt;b&gt; &amp;<tspan dy="3" fill="red">ü\t猫</tspan></text>'
    '<text font-size="7"><textPath href="#w" startOffset="10%">along the way</textPath></text>',
    "nested, transformed": '<g transform="translate(8,4) scale(.8) skewX(10)"><svg x="4" width="30" height="20" '
    'viewBox="0 0 10 10" preserveAspectRatio="none"><circle cx="5" cy="5" r="5"/></svg></g><a href="#x"><rect x="44" '
    'width="9" height="9"/></a>',
    "what a drawing program adds": '<switch><foreignObject requiredExtensions="http://ns.adobe.com/x" width="1" '
    'height="1"/><g xmlns:i="http://ns.adobe.com/i" i:extraneous="self"><rect width="20" height="20" fill="teal" '
    'paint-order="stroke" i:knockout="Off"/></g></switch><metadata><r xmlns="urn:r"/></metadata><!-- a remark -->',
}


def pixels(content: bytes) -> bytes:
    shown = vector._loaded(content, 4.0)
    assert shown.max() > 0, "something is drawn"
    drawn: bytes = shown.write_to_memory()
    return drawn


@pytest.mark.parametrize("name", LEGITIMATE)
def test_a_legitimate_file_looks_as_before(name: str) -> None:
    content = svg(LEGITIMATE[name]).encode()
    made = purified(content)
    judged(made)
    assert pixels(made) == pixels(content)
    assert purified(made) == made


def test_the_document_type_of_old_programs_goes_and_its_short_entities_stand() -> None:
    text = (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
        f'"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [<!ENTITY ns_svg "{SVG}"><!ENTITY c "#c20">]>'
        '<svg version="1.1" xmlns="&ns_svg;" width="9" height="9"><rect width="9" height="9" fill="&c;"/></svg>'
    )
    made = purified(text.encode())
    judged(made)
    assert b'fill="#c20"' in made and b"DOCTYPE" not in made


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_every_common_encoding_becomes_utf_8(encoding: str) -> None:
    name = {"utf-8-sig": "utf-8", "latin-1": "iso-8859-1"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{name}"?>' + svg("<title>café</title>")
    assert "<title>café</title>".encode() in purified(text.encode(encoding))


def test_a_file_that_was_cut_out_of_a_page_has_its_namespace_again() -> None:
    made = purified(b'<svg width="9" height="9"><rect width="9" height="9"/></svg>')
    assert ElementTree.fromstring(made).tag == f"{{{SVG}}}svg"


FONT = "data:font/woff2;base64,AAAA"


@pytest.mark.parametrize(
    ("given_style", "kept"),
    [
        (".a{fill:red;stroke:url(#b)}", ".a{fill:red;stroke:url(#b);}"),
        (f"@font-face{{font-family:x;src:url({FONT}) format('woff2'),local('x')}}", f"url({FONT})"),
        ("@font-face{font-family:x;src:url(http://e/x)}", "@font-face{font-family:x;}"),
        ("@keyframes k{from{opacity:0}to{opacity:1;fill:url(x)}}", "@keyframes k{from{opacity:0;}to{opacity:1;}}"),
        ("@supports (display:grid){.a{fill:url(#b)}}", "@supports (display:grid){.a{fill:url(#b);}}"),
        ("a{cursor:url(x),pointer;fill:blue}", "a{fill:blue;}"),
        ("@charset 'x';@namespace url(x);a{fill:red}", "a{fill:red;}"),
        ("a{fill:red} b{fill:url(x", "a{fill:red;}b{}"),
        ("a{width:calc(1px + var(--x))}", "a{width:calc(1px + var(--x));}"),
        ("a{fill:url(#b c)}", "a{}"),
    ],
)
def test_of_a_style_sheet_goes_what_names_others(given_style: str, kept: str) -> None:
    made = ElementTree.fromstring(purified(svg(f"<style>{given_style}</style>").encode()))
    text = made[0].text or ""
    assert kept in text
    assert not any(node.type == "error" for node in tinycss2.parse_stylesheet(text))


LAUGHS = "".join(f'<!ENTITY a{n} "' + f"&a{n - 1};" * 10 + '">' for n in range(1, 10))
INVALID = {
    "no svg": b"<html/>",
    "another namespace": b'<svg xmlns="urn:x"/>',
    "half an element": svg("<g>").encode(),
    "nothing": b"",
    "no text": b"<svg \xff\xfe\xfa",
    "another encoding": b'<?xml version="1.0" encoding="UTF-7"?>' + svg("").encode(),
    "entities in entities": f'<!DOCTYPE svg [<!ENTITY a0 "ha">{LAUGHS}]>'.encode() + svg("<text>&a9;</text>").encode(),
    "a long entity": f'<!DOCTYPE svg [<!ENTITY a "{"x" * (LONGEST_ENTITY + 1)}">]>'.encode() + svg("").encode(),
    "an entity of elements": b'<!DOCTYPE svg [<!ENTITY a "<g/>">]>' + svg("&a;").encode(),
    "many references": b'<!DOCTYPE svg [<!ENTITY a "x">]>' + svg("<text>" + "&a;" * 30_000 + "</text>").encode(),
    "a parameter entity": b'<!DOCTYPE svg [<!ENTITY % a "x"> %a;]>' + svg("").encode(),
    "a long default": f'<!DOCTYPE svg [<!ATTLIST g id CDATA "{"x" * 5000}">]>'.encode() + svg("<g/>" * 9).encode(),
    "depth": svg("<g>" * MOST_DEPTH + "</g>" * MOST_DEPTH).encode(),
    "depth in what goes": svg("<x>" * MOST_DEPTH + "</x>" * MOST_DEPTH).encode(),
    "endless depth": svg("<g>" * 500_000).encode(),
    "elements": svg("<g/>" * 300_000).encode(),
    "bytes": svg(" " * MOST_BYTES).encode(),
    "a deep style": svg("<style>.a{b:" + "(" * 5000 + "}</style>").encode(),
    "a long style": svg(f"<style>{' ' * MOST_STYLE}.</style>").encode(),
    "a broken picture inside": svg('<image href="data:image/png;base64,AAAA"/>').encode(),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_cannot_be_made_safe_is_refused(name: str) -> None:
    with pytest.raises(SvgInvalid, match="cannot be made safe"):
        purified(INVALID[name])


SIGNS = "</g> <style> </style> <![CDATA[ ]]> <script> </script> <title> </title> <!-- --> <x:y/> /> &amp; &#13; x"
PIECES = st.sampled_from(
    [
        *SIGNS.split(),
        "\\",
        "url(",
        ")",
        "{",
        "}",
        "'",
        f'<g a="&lt;" onload="{NOWHERE}">',
        "<image href='http://127.0.0.1/'/>",
        "a{fill:url(http://127.0.0.1/)}",
        "@import '127.0.0.1';",
        "<?x y?>",
        "\r\n",
    ]
)


@given(st.lists(PIECES, max_size=30))
def test_whatever_is_put_together_comes_out_harmless_or_not_at_all(pieces: list[str]) -> None:
    text = svg("".join(pieces))
    try:
        made = purified(text.encode())
    except SvgInvalid:
        return
    judged(made)
    assert purified(made) == made


def test_the_attacks_are_distinct() -> None:
    assert len({attack(name, NOWHERE) for name in ATTACKS}) == len(ATTACKS) >= 50
    assert HEAD.count(XLINK) == 1
