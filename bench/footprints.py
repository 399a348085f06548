"""Flows and files whose memory is compared with what `safelight flows explain` foresees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Footprint:
    """A flow on files: its nodes after the input as YAML, one a line, and the names of specimens."""

    name: str
    nodes: tuple[str, ...]
    files: tuple[str, ...] = ("large.jpg",)

    @property
    def text(self) -> str:
        many = ", many: true" if len(self.files) > 1 else ""
        nodes = "".join(f"  n{number}: {{{node}}}\n" for number, node in enumerate(self.nodes))
        return f'title: "{self.name}"\nnodes:\n  photo: {{type: input{many}}}\n{nodes}'


def footprints() -> Iterator[Footprint]:
    """All of them: each format in, each format out, each kind of step."""
    for file in INPUTS:
        yield Footprint(f"thumbnail of {file}", (THUMBNAIL, WEBP), (file,))
    for wish in ENCODINGS:
        yield Footprint(f"1600 px as {wish}", (WIDE, f"type: save, format: {wish}"))
    for wish in WHOLE:
        yield Footprint(f"24 MP as {wish}", (MIRRORED, f"type: save, format: {wish}"))
    for name, *nodes in STEPS:
        yield Footprint(name, tuple(nodes))
    yield from OTHERS


THUMBNAIL, WIDE, MIRRORED = "type: resize, width: 300", "type: resize, width: 1600", "type: flip"
JPEG, WEBP, PNG = (f"type: save, format: {name}" for name in ("jpeg", "webp", "png"))
APART = 'type: save, format: webp, path: "{file.stem}-{file.ext}.webp"'
SMALLER = "type: resize, from: photo, width:"
LOGO = 'image: "asset:logo.png"'

INPUTS = (
    "tiny.jpg", "large.jpg", "large-420.jpg", "large-turned.jpg", "large-progressive.jpg",
    "large-progressive-444.jpg", "large.png", "large-interlaced.png", "large-16.png", "large-alpha.png", "large.tiff",
    "large-tiled.tiff", "large-strip.tiff", "large.webp", "large-lossless.webp", "large.avif", "large-444.avif",
    "large.gif", "moving.gif", "large.heic", "large.jxl", "paper.pdf", "drawing.svg", "vast.jpg",
    "vast-progressive.jpg", "vast-progressive-444.jpg", "vast.png", "vast.tiff",
)  # fmt: skip
ENCODINGS = (
    "jpeg", "jpeg, progressive: true", "jpeg, quality: 95", "png", "png, progressive: true", "webp",
    "webp, lossless: true", "avif", "avif, lossless: true", "gif", "tiff",
)  # fmt: skip
WHOLE = ("jpeg", "png", "png, progressive: true", "webp", "avif", "tiff")

STEPS = (
    ("1600 px with a mark", WIDE, f"type: watermark, {LOGO}, opacity: 0.6", JPEG),
    ("1600 px, mark tiled", WIDE, f"type: watermark, {LOGO}, tile: true", JPEG),
    ("three sizes", WIDE, f"{SMALLER} 800", f"{SMALLER} 320", f"{WEBP}, from: [n0, n1, n2]"),
    ("text", WIDE, 'type: text, text: "Spring is here", size: 120, stroke: 4', WEBP),
    ("overlay", WIDE, f"type: overlay, layers: [{{{LOGO}, width: 50%}}, {{{LOGO}, blend: multiply}}]", WEBP),
    ("blur", "type: blur, sigma: 2", JPEG),
    ("wide blur", "type: blur, sigma: 20", JPEG),
    ("rotate", "type: rotate, angle: 10", WEBP),
    ("1600 px, rotate", WIDE, "type: rotate, angle: 10", WEBP),
    ("quarter turn", "type: rotate, angle: 90", JPEG),
    ("adjust", "type: adjust, saturation: 1.5, brightness: 1.2", JPEG),
    ("sharpen", "type: sharpen", JPEG),
    ("trim", "type: trim", JPEG),
    ("trim, 800 px", "type: trim", "type: resize, width: 800", JPEG),
    ("cover by attention", "type: resize, width: 800, height: 800, fit: cover, gravity: attention", WEBP),
    ("crop by attention", "type: crop, width: 3000, height: 3000, gravity: attention", WEBP),
    ("redact", "type: redact, mode: pixelate, regions: [{left: 10%, top: 10%, width: 30%, height: 30%}]", JPEG),
    ("shadow", WIDE, "type: shadow", WEBP),
    ("round corners", WIDE, "type: round, radius: 40", WEBP),
    ("border", WIDE, "type: border, width: 20, radius: 40", WEBP),
    ("pad", WIDE, "type: pad, left: 100, right: 100, extend: mirror", WEBP),
    ("wide gamut", WIDE, "type: icc, to: p3", WEBP),
    ("srcset", "type: srcset, widths: [2400, 1600, 1200, 800, 400], formats: [webp, jpeg]", "type: save"),
    ("srcset with avif", "type: srcset, widths: [1600, 800], formats: [avif, webp, jpeg]", "type: save"),
    ("deepzoom", "type: deepzoom", "type: save"),
    ("optimize", WIDE, "type: optimize, formats: [webp, avif, jpeg], max_bytes: 100KB", "type: save"),
    ("optimize 24 MP", "type: optimize, max_bytes: 2MB", "type: save"),
    ("facts", "type: palette", "type: placeholder", "type: hash", THUMBNAIL, WEBP),
)  # fmt: skip
OTHERS = (
    Footprint("collage of 9", ("type: collage", JPEG), ("large.jpg",) * 9),
    Footprint("collage of 6 progressive", ("type: collage", JPEG), ("large-progressive.jpg",) * 6),
    Footprint("two progressive, apart", (THUMBNAIL, APART), ("large-progressive.jpg", "large-progressive-444.jpg")),
    Footprint("three formats, apart", (THUMBNAIL, APART), ("large.heic", "large.avif", "large.webp")),
    Footprint("cut-out, marked", (WIDE, f"type: watermark, {LOGO}", WEBP), ("large-alpha.png",)),
    Footprint("cut-out, 24 MP", (MIRRORED, PNG), ("large-alpha.png",)),
    Footprint("GIF to WebP", ("type: resize, width: 320", WEBP), ("moving.gif",)),
    Footprint("GIF to GIF", ("type: resize, width: 320", "type: save, format: gif"), ("moving.gif",)),
    Footprint("moving WebP", ("type: resize, width: 320", WEBP), ("moving.webp",)),
    Footprint("backwards", ("type: animate, reverse: true", "type: crop, width: 200", WEBP), ("moving.gif",)),
    Footprint("drawing at 4000 px", ("type: resize, width: 4000, enlarge: true", WEBP), ("drawing.svg",)),
    Footprint("page at 300 dpi", ("type: pdf, dpi: 300", JPEG), ("paper.pdf",)),
    Footprint("page at 600 dpi", ("type: pdf, dpi: 600", PNG), ("paper.pdf",)),
    Footprint("100 MP, 1600 px", (WIDE, JPEG), ("vast.jpg",)),
    Footprint("100 MP as jpeg", (MIRRORED, JPEG), ("vast.jpg",)),
    Footprint("100 MP as png", (MIRRORED, PNG), ("vast.jpg",)),
    Footprint("100 MP deepzoom", ("type: deepzoom, layout: iiif", "type: save"), ("vast.jpg",)),
)
