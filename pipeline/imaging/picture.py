"""The picture that travels between image nodes: lazy libvips pixels that remember the size they stand for.

A picture's `outline` is what a node reasons about: the size as shown, at full scale. Its `pixels` may be fewer (decoded
small because nobody needs more) and not yet turned upright or brought to sRGB; each act settles only what it needs,
so that turning and colour conversion happen on the smallest buffer. Turns, crops and scalings that follow each other
become one: turns add up, a part is cut out before it is turned, and what is scaled again is made of the pixels from
before. Animations are a strip of frames, top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pyvips

from pipeline.imaging.credits import Credits
from pipeline.imaging.profile import in_profile

Gravity = Literal[
    "center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right",
    "attention", "entropy",
]  # fmt: skip

INTERESTS = frozenset({"attention", "entropy"})

# An EXIF orientation is a mirroring left to right or none, then so many quarter turns clockwise (EXIF 2.32, 4.6.4).
QUARTERS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (1, False), 7: (1, True),
            8: (3, False)}  # fmt: skip
MIRRORED = 2
GREYS = frozenset({"b-w", "grey16"})


@dataclass(frozen=True)
class Wish:
    """How a picture wishes to be encoded; None leaves the choice to what it is saved as."""

    format: str | None = None
    quality: int | None = None
    lossless: bool | None = None
    progressive: bool | None = None
    effort: int | None = None
    strip: bool | None = None
    background: tuple[int, ...] = (255, 255, 255)
    formats: tuple[str, ...] = ()
    """Where `format` is not said: the formats of which the one with the fewest bytes is taken."""
    max_bytes: int | None = None
    """The quality falls from `quality`, not below `min_quality`, until the file is no larger than this."""
    min_quality: int | None = None
    profile: bytes | None = None
    """The ICC profile it is written in and carries, whatever `strip` says; None is sRGB."""
    credits: Credits | None = None
    """What is written into it, whatever `strip` says; None writes nothing."""
    dpi: int | None = None
    """Pixels an inch that it says it has."""

    @property
    def optimises(self) -> bool:
        """Whether several encodings have to be tried to fulfil it."""
        return self.max_bytes is not None or (self.format is None and bool(self.formats))


@dataclass(frozen=True)
class Outline:
    """What can be known of a picture without its pixels; `orientation` is the EXIF one not applied yet."""

    width: int
    height: int
    frames: int = 1
    alpha: bool = False
    format: str = "png"
    orientation: int = 1
    vector: bool = False
    """Drawn anew for every size: a scale above 1 gives more detail, not only more pixels."""

    def sized(self, width: int, height: int) -> Outline:
        return replace(self, width=max(1, width), height=max(1, height))

    def upright(self) -> Outline:
        """The same once its EXIF orientation is applied; 5 to 8 swap the sides."""
        swapped = self.orientation >= 5
        width, height = (self.height, self.width) if swapped else (self.width, self.height)
        return replace(self, width=width, height=height, orientation=1)


@dataclass(frozen=True)
class Window:
    """A rectangle inside a frame, pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """Lazy pixels, the outline they stand for, and the encoding they wish."""

    pixels: pyvips.Image
    outline: Outline
    turn: int = 1
    """EXIF orientation still to be applied to the pixels; the outline is already upright."""
    streaming: bool = False
    """The pixels can be read once, from top to bottom."""
    wish: Wish = field(default_factory=Wish)
    scaling: tuple[pyvips.Image, pyvips.Image] | None = None
    """What the pixels were scaled from, when they still are those that were made then: (those pixels, from these)."""

    @property
    def scale(self) -> float:
        """Pixels there are for each pixel of the outline, along the width."""
        return float(self._shown_width / self.outline.width)

    @property
    def _shown_width(self) -> int:
        return int(self._frame_height if self.turn >= 5 else self.pixels.width)

    @property
    def _shown_height(self) -> int:
        return int(self.pixels.width if self.turn >= 5 else self._frame_height)

    @property
    def _frame_height(self) -> int:
        return int(self.pixels.height // self.outline.frames)

    def wishing(self, wish: Wish) -> Picture:
        return replace(self, wish=wish)

    def with_pixels(self, pixels: pyvips.Image) -> Picture:
        """The same with other pixels that stand for the same outline."""
        return replace(self, pixels=pixels)

    def held(self) -> Picture:
        """The same with its pixels in memory, so that they can be read often and in any order."""
        if not self.streaming:
            return self
        # What it was scaled from is let go.
        return replace(self, pixels=self.pixels.copy_memory(), streaming=False, scaling=None)

    def first_frame(self) -> Picture:
        """The still picture of its first frame."""
        if self.outline.frames == 1:
            return self
        pixels = self.pixels.crop(0, 0, self.pixels.width, self._frame_height)
        return replace(self, pixels=pixels, outline=replace(self.outline, frames=1))

    def oriented(self) -> Picture:
        """The picture as its EXIF orientation shows it; turned later, on fewer pixels."""
        if self.outline.orientation == 1:
            return self
        return replace(self, turn=self.outline.orientation, outline=self.outline.upright())

    def scaled(self, width: int, height: int) -> Picture:
        """The whole picture at exactly this size, aspect ratio or not; lanczos3 after an integer shrink.

        Computed from the outline, so that a picture decoded small gives the size the full one would. It was decoded so
        because nobody needs more pixels, so none are added here.
        """
        outline = self.outline.sized(width, height)
        across, down = self._lying(outline)
        promised = self._lying(self.outline)
        if self.pixels.width < promised[0] or self._frame_height < promised[1]:
            across, down = min(across, self.pixels.width), min(down, self._frame_height)
        return replace(self._resampled(across, down), outline=outline)

    def filled(self) -> Picture:
        """The same with as many pixels as its outline promises."""
        return self._resampled(*self._lying(self.outline))

    def _lying(self, outline: Outline) -> tuple[int, int]:
        """Width and height of a frame with this outline before it is turned."""
        return (outline.height, outline.width) if self.turn >= 5 else (outline.width, outline.height)

    def _resampled(self, across: int, down: int) -> Picture:
        """The same with so many pixels in a frame; scaled down twice it would be softer than once."""
        size = (across, down * self.outline.frames)
        if (self.pixels.width, self.pixels.height) == size:
            return self
        source = self.pixels
        if self.scaling and self.scaling[0] is source and across <= source.width and down <= self._frame_height:
            source = self.scaling[1]
        made = _resized(source, *size)
        return replace(self, pixels=made, scaling=(made, source))

    def upright(self) -> Picture:
        """The same with its turn applied to the pixels."""
        if self.turn == 1:
            return self
        if self.turn == MIRRORED:
            # Mirrored rows still come from top to bottom: no need to hold them, nor to go frame by frame.
            return replace(self, pixels=tagged(self.pixels.fliphor(), 1), turn=1)
        held = self.held()
        return replace(
            held, pixels=_each(held.pixels, self.outline.frames, lambda frame: _turned(frame, self.turn)), turn=1
        )

    def in_srgb(self) -> Picture:
        """The same in 8-bit sRGB or grey, whatever profile or depth it came with."""
        return replace(self, pixels=_in_srgb(self.pixels))

    def in_profile(self, profile: bytes) -> Picture:
        """The same in 8 bits of an ICC profile; not converted where it has that already."""
        return replace(self, pixels=in_profile(self.pixels, profile))

    def settled(self, grey: bool = False) -> Picture:
        """The same with exactly the pixels its outline promises: full scale, upright, sRGB with three colour bands.

        With `grey`, a grey one keeps its single band.
        """
        whole = self.filled().upright().in_srgb()
        if whole.pixels.interpretation != "srgb" and not grey:
            whole = replace(whole, pixels=whole.pixels.colourspace("srgb"))
        return whole

    def cropped(self, window: Window) -> Picture:
        """The window of every frame; on a picture decoded small, the nearest whole pixels of it."""
        outline = self.outline.sized(window.width, window.height)
        width, height = self._shown_width, self._shown_height
        x_scale, y_scale = width / self.outline.width, height / self.outline.height
        left, right = round(window.left * x_scale), round((window.left + window.width) * x_scale)
        top, bottom = round(window.top * y_scale), round((window.top + window.height) * y_scale)
        shown = Window(left, top, max(1, right - left), max(1, bottom - top))
        box = _before_turn(shown, width, height, self.turn)
        source = self.held() if outline.frames > 1 else self
        pixels = _each(
            source.pixels, outline.frames, lambda frame: frame.crop(box.left, box.top, box.width, box.height)
        )
        return replace(source, pixels=pixels, outline=outline)

    def padded(self, spot: Window, width: int, height: int, background: tuple[int, ...]) -> Picture:
        """The settled picture set at `spot` into a plain canvas of this size."""
        alpha = self.outline.alpha or len(background) == 4
        base = self.settled(grey=is_neutral(background))
        pixels = base.pixels.addalpha() if alpha and not base.pixels.hasalpha() else base.pixels
        colour = [*background[: 1 if pixels.bands < 3 else 3], *([*background, 255][3:4] if alpha else [])]

        def pad(frame: pyvips.Image) -> pyvips.Image:
            return frame.embed(spot.left, spot.top, width, height, extend="background", background=colour)

        outline = replace(base.outline.sized(width, height), alpha=alpha)
        source = replace(base, pixels=pixels)
        source = source.held() if outline.frames > 1 else source
        return replace(source, pixels=_each(source.pixels, outline.frames, pad), outline=outline)

    def each_frame(self, act: Callable[[pyvips.Image], pyvips.Image], grey: bool = False) -> Picture:
        """The picture with every settled frame replaced by what `act` makes of it; the frame size must stay.

        With `grey`, the act is given grey frames in a single band.
        """
        base = self.settled(grey)
        base = base.held() if base.outline.frames > 1 else base
        pixels = _each(base.pixels, base.outline.frames, act)
        return replace(base, pixels=pixels, outline=replace(base.outline, alpha=bool(pixels.hasalpha())))

    def windowed(self, width: int, height: int, gravity: str, focus: tuple[float, float] | None) -> Picture:
        """The part of this size around `focus`, where the interest is, or where the compass word says."""
        if focus:
            return self.cropped(window_around(self.outline, width, height, *focus))
        if gravity in INTERESTS:
            # Looking for the interest reads the pixels once, cutting reads them again.
            ready = self.upright().held()
            return ready.cropped(ready._interesting(width, height, gravity))
        return self.cropped(window_at(self.outline, width, height, gravity))

    def edges(self, threshold: int, background: tuple[int, ...] | None, unseen: bool = False) -> Window | None:
        """What is left of the settled picture when plain edges are cut, None when nothing would be.

        Plain is what lies within `threshold` of `background`, or of the top left pixel; of an animation, what is plain
        in every frame. Transparent edges count as the background they are laid on; with `unseen` only they are plain.
        """
        whole = self.settled().held()
        height, found = whole.outline.height, []
        for number in range(whole.outline.frames):
            frame = whole.pixels.crop(0, number * height, whole.outline.width, height)
            found.append(_unseen_edges(frame) if unseen else _plain_edges(frame, threshold, background))
        boxes = [box for box in found if box is not None]
        if not boxes:
            return None
        left, top = min(box.left for box in boxes), min(box.top for box in boxes)
        right, bottom = max(box.left + box.width for box in boxes), max(box.top + box.height for box in boxes)
        return Window(left, top, right - left, bottom - top)

    def _interesting(self, width: int, height: int, interest: str) -> Window:
        """Where the most interesting window of this size lies, judged on the first frame.

        `attention` looks for skin tones, saturation and edges, `entropy` for the busiest part (libvips smartcrop).
        """
        still = self.first_frame().in_srgb()
        scale_x, scale_y = still.pixels.width / self.outline.width, still.pixels.height / self.outline.height
        across = min(still.pixels.width, max(1, round(width * scale_x)))
        down = min(still.pixels.height, max(1, round(height * scale_y)))
        found = still.pixels.smartcrop(across, down, interesting=interest)
        left = min(self.outline.width - width, round(-found.xoffset / scale_x))
        top = min(self.outline.height - height, round(-found.yoffset / scale_y))
        return Window(max(0, left), max(0, top), width, height)


def window_at(outline: Outline, width: int, height: int, gravity: str) -> Window:
    """The window of this size that a compass word names; a side that is not named is centred."""
    spare_x, spare_y = outline.width - width, outline.height - height
    left = 0 if "left" in gravity else spare_x if "right" in gravity else spare_x // 2
    top = 0 if "top" in gravity else spare_y if "bottom" in gravity else spare_y // 2
    return Window(left, top, width, height)


def window_around(outline: Outline, width: int, height: int, x: float, y: float) -> Window:
    """The window of this size as near as it can be to the point at fractions `x`, `y` of the picture."""
    left = round(x * outline.width - width / 2)
    top = round(y * outline.height - height / 2)
    return Window(min(max(0, left), outline.width - width), min(max(0, top), outline.height - height), width, height)


def _before_turn(box: Window, width: int, height: int, orientation: int) -> Window:
    """The rectangle that this EXIF orientation shows as `box` in a frame shown as `width` x `height`."""
    quarters, mirrored = QUARTERS[orientation]
    for _ in range(quarters):
        # A quarter turn clockwise shows what was at x, y at (height - 1 - y), x.
        box = Window(box.top, width - box.left - box.width, box.height, box.width)
        width, height = height, width
    return replace(box, left=width - box.left - box.width) if mirrored else box


def tagged(pixels: pyvips.Image, orientation: int) -> pyvips.Image:
    """The pixels with the EXIF orientation they have from now on; 1 leaves those without any alone."""
    if orientation == 1 and not pixels.get_typeof("orientation"):
        return pixels
    copied = pixels.copy()
    copied.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return copied


def _plain_edges(frame: pyvips.Image, threshold: int, background: tuple[int, ...] | None) -> Window | None:
    if frame.hasalpha() and background is None and frame(0, 0)[3] == 0:
        # A see-through corner: what can be seen at all is what is kept.
        return _unseen_edges(frame, max(threshold, 1))
    colour = [float(band) for band in (background or frame(0, 0))[:3]]
    frame = frame.flatten(background=colour) if frame.hasalpha() else frame
    left, top, width, height = frame.find_trim(threshold=threshold, background=colour, line_art=True)
    return Window(left, top, width, height) if width and height else None


def _unseen_edges(frame: pyvips.Image, threshold: int = 1) -> Window | None:
    if not frame.hasalpha():
        return Window(0, 0, frame.width, frame.height)
    left, top, width, height = frame.extract_band(3).find_trim(threshold=threshold, background=[0.0], line_art=True)
    return Window(left, top, width, height) if width and height else None


def _resized(pixels: pyvips.Image, width: int, height: int) -> pyvips.Image:
    # Colours of transparent pixels must not bleed into visible ones, so alpha weighs them while they are mixed.
    weighted = pixels.premultiply() if pixels.hasalpha() else pixels
    across, down = width / pixels.width, height / pixels.height
    resized = weighted
    if across < 1 or down < 1:
        resized = resized.resize(min(1.0, across), vscale=min(1.0, down), gap=2.0)
    if across > 1 or down > 1:
        resized = _enlarged(resized, width, height)
    if (resized.width, resized.height) != (width, height):
        resized = resized.gravity("centre", width, height, extend="copy")
    return resized.unpremultiply().rint().cast(pixels.format) if pixels.hasalpha() else resized


def _enlarged(pixels: pyvips.Image, width: int, height: int) -> pyvips.Image:
    # `resize` lays the corners of pixels over each other and so moves the picture by half a pixel; centres belong on
    # centres: x of the result is (x + 0.5) / scale - 0.5 of the source.
    across, down = width / pixels.width, height / pixels.height
    return pixels.affine(
        [across, 0, 0, down],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, width, height],
        odx=(across - 1) / 2,
        ody=(down - 1) / 2,
        extend="copy",
        premultiplied=True,
    )


def _each(strip: pyvips.Image, frames: int, act: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    if frames == 1:
        return act(strip)
    height = strip.height // frames
    done = [act(strip.crop(0, number * height, strip.width, height)) for number in range(frames)]
    return pyvips.Image.arrayjoin(done, across=1)


def _turned(pixels: pyvips.Image, orientation: int) -> pyvips.Image:
    return tagged(pixels, orientation).autorot()


def is_neutral(colour: Sequence[float]) -> bool:
    """Whether a colour is a shade of grey, so that one band can hold it."""
    return len(set(colour[:3])) == 1


def _in_srgb(pixels: pyvips.Image) -> pyvips.Image:
    if pixels.get_typeof("icc-profile-data") and not _is_srgb(pixels.get("icc-profile-data")):
        try:
            made = pixels.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
            return _single(made) if pixels.interpretation in GREYS else made
        except pyvips.Error:
            # A broken profile says nothing; the pixels are read as what their bands are.
            pixels = pixels.copy()
            pixels.remove("icc-profile-data")
    if pixels.interpretation == "cmyk":
        return pixels.icc_transform("srgb", input_profile="cmyk", intent="relative", black_point_compensation=True)
    if pixels.interpretation in ("srgb", "b-w") and pixels.format == "uchar":
        return pixels
    return pixels.colourspace("b-w" if pixels.interpretation in GREYS else "srgb")


def _single(pixels: pyvips.Image) -> pyvips.Image:
    """Grey that lies in three equal bands, in one."""
    grey = pixels.extract_band(1)
    one = (grey.bandjoin(pixels.extract_band(3)) if pixels.hasalpha() else grey).copy(interpretation="b-w")
    # A profile for three bands does not fit one.
    one.remove("icc-profile-data")
    return one


def _is_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile or b"s\0R\0G\0B" in profile
