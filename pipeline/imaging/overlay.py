"""Lay one picture over another."""

from __future__ import annotations

from typing import Literal

import pyvips

from pipeline.imaging.picture import Outline, Picture, Window, window_at
from pipeline.imaging.shapes import masked

Mixing = Literal["over", "multiply", "screen", "overlay", "darken", "lighten", "add"]
Blend = Mixing | Literal["inside", "outside", "displace"]
NEUTRAL = 127.5
"""The level that displaces nothing."""


def laid(base: Picture, mark: Picture, position: str, margin: int, opacity: float) -> Picture:
    """The base with the mark at a compass position, `margin` pixels from the edges it is near."""
    top = _translucent(mark, opacity)
    spot = _spot(base.outline, mark.outline, position, margin)
    box = _overlap(base.outline, spot)
    if box is None:
        return base
    seen = _cut(top, Window(box.left - spot.left, box.top - spot.top, box.width, box.height))
    return base.each_frame(lambda frame: _composed(frame, seen, box, "over", base.streaming))


def tiled(base: Picture, mark: Picture, gap: int, opacity: float) -> Picture:
    """The base covered with copies of the mark, `gap` pixels apart."""
    one = _translucent(mark, opacity)
    cell = one.embed(0, 0, one.width + gap, one.height + gap)
    across = -(-base.outline.width // cell.width)
    down = -(-base.outline.height // cell.height)
    sheet = cell.replicate(across, down).crop(0, 0, base.outline.width, base.outline.height)
    return base.each_frame(lambda frame: _mixed(frame, sheet))


def layered(base: Picture, layer: Picture, spot: Window, opacity: float, blend: Mixing) -> Picture:
    """The base with a layer at `spot`, which may hang over its edges, mixed the way `blend` says."""
    box = _overlap(base.outline, spot)
    if box is None:
        return base
    seen = layer.settled().pixels.crop(box.left - spot.left, box.top - spot.top, box.width, box.height)
    top = _faded(seen, opacity).copy_memory()
    ready = base if blend == "over" else base.settled().held()
    return ready.each_frame(lambda frame: _composed(frame, top, box, blend, ready.streaming))


def cut_by(base: Picture, layer: Picture, spot: Window, opacity: float, keeps: bool) -> Picture:
    """What the shape of a layer at `spot` leaves of the base: what is under it when it `keeps`, or all the rest."""
    box, outline = _overlap(base.outline, spot), base.outline
    shape = pyvips.Image.black(outline.width, outline.height)
    if box is not None:
        seen = _cut(layer.settled().pixels, Window(box.left - spot.left, box.top - spot.top, box.width, box.height))
        veil = _faded(seen, opacity).extract_band(3)
        shape = veil.embed(box.left, box.top, outline.width, outline.height).copy_memory()
    mask = shape if keeps else 255 - shape
    return base.each_frame(lambda frame: masked(frame, mask.cast("uchar")))


def displaced(base: Picture, layer: Picture, spot: Window, opacity: float, shift: tuple[int, int]) -> Picture:
    """The base with its pixels moved about under a layer at `spot`.

    Each is taken from as far to the right as red says and from as far below as green does: from minus `shift` at 0 to
    plus `shift` at 255; less where the layer is less to be seen.
    """
    box = _overlap(base.outline, spot)
    if box is None:
        return base
    seen = _cut(layer.settled().pixels, Window(box.left - spot.left, box.top - spot.top, box.width, box.height))
    top = _faded(seen, opacity)
    way = (top.extract_band(0, n=2) - NEUTRAL) * (top.extract_band(3) / 255) * [one / NEUTRAL for one in shift]
    way = way.copy_memory()

    def move(frame: pyvips.Image) -> pyvips.Image:
        x, y = pyvips.Image.xyz(box.width, box.height).linear(1, [box.left, box.top]) + way
        index = _clamped(x, frame.width - 1).bandjoin(_clamped(y, frame.height - 1))
        moved = frame.mapim(index, interpolate=pyvips.Interpolate.new("bilinear"), extend="copy")
        return frame.insert(moved.cast("uchar").copy(interpretation="srgb"), box.left, box.top)

    return base.settled().held().each_frame(move)


def _clamped(places: pyvips.Image, most: int) -> pyvips.Image:
    return (places > 0).ifthenelse((places < most).ifthenelse(places, most), 0)


def washed(frame: pyvips.Image, plane: pyvips.Image) -> pyvips.Image:
    """The frame under a plane of its own size, which has alpha."""
    return _mixed(frame, plane)


def backed(picture: Picture, plate: Picture, spot: Window) -> Picture:
    """The picture with a plate at `spot` behind it, which is seen through what is transparent."""
    box = _overlap(picture.outline, spot)
    if box is None:
        return picture
    seen = plate.settled().pixels.crop(box.left - spot.left, box.top - spot.top, box.width, box.height)
    seen = seen if seen.hasalpha() else seen.addalpha()
    outline = picture.outline
    sheet = seen.embed(box.left, box.top, outline.width, outline.height).copy_memory()
    return picture.each_frame(lambda frame: sheet.composite2(frame if frame.hasalpha() else frame.addalpha(), "over"))


def _spot(base: Outline, mark: Outline, position: str, margin: int) -> Window:
    # The margin keeps its distance only from the edges the mark is near; it gives way when there is no room for it.
    inset_x = min(margin, max(0, (base.width - mark.width) // 2))
    inset_y = min(margin, max(0, (base.height - mark.height) // 2))
    room = base.sized(base.width - 2 * inset_x, base.height - 2 * inset_y)
    found = window_at(room, mark.width, mark.height, position)
    return Window(found.left + inset_x, found.top + inset_y, mark.width, mark.height)


def _translucent(mark: Picture, opacity: float) -> pyvips.Image:
    return _faded(mark.settled().pixels, opacity).copy_memory()


def _faded(pixels: pyvips.Image, opacity: float) -> pyvips.Image:
    pixels = pixels if pixels.hasalpha() else pixels.addalpha()
    if opacity == 1:
        return pixels
    return pixels.extract_band(0, n=3).bandjoin((pixels.extract_band(3) * opacity).cast("uchar"))


def _overlap(base: Outline, spot: Window) -> Window | None:
    left, top = max(0, spot.left), max(0, spot.top)
    right, bottom = min(base.width, spot.left + spot.width), min(base.height, spot.top + spot.height)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def _cut(pixels: pyvips.Image, box: Window) -> pyvips.Image:
    return pixels.crop(box.left, box.top, box.width, box.height)


def _composed(frame: pyvips.Image, mark: pyvips.Image, box: Window, blend: Mixing, streaming: bool) -> pyvips.Image:
    if streaming:
        # One act reads the whole frame. Were what lies under the mark and what lies beside it read by two, libvips
        # 8.18 would forget rows that it still needs, and a stream cannot be read again.
        return _mixed(frame, mark, box.left, box.top)
    return frame.insert(_blended(_cut(frame, box), mark, blend), box.left, box.top)


def _blended(base: pyvips.Image, layer: pyvips.Image, blend: Mixing) -> pyvips.Image:
    """The layer over the base, its colours first blended with those under it.

    As in W3C Compositing and Blending Level 1, section 5.1: where the base is transparent nothing is blended. libvips
    blends opaque colours only as the standard says, so transparency is put in around it.
    """
    if blend == "over":
        return _mixed(base, layer)
    source, under = layer.extract_band(0, n=3), base.extract_band(0, n=3)
    colour = under.composite2(source, blend).extract_band(0, n=3)
    if base.hasalpha():
        share = base.extract_band(3) / 255
        colour = colour * share + source * (1 - share)
    colour = colour.rint().cast("uchar").copy(interpretation="srgb")
    return _mixed(base, colour.bandjoin(layer.extract_band(3)))


def _mixed(base: pyvips.Image, mark: pyvips.Image, left: int = 0, top: int = 0) -> pyvips.Image:
    mixed = base.composite2(mark, "over", x=left, y=top).cast("uchar")
    return mixed if base.hasalpha() else mixed.extract_band(0, n=3)
