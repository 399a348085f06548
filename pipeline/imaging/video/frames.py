"""Take frames out of a video: one as a still picture, or several as an animation, at the size that is needed."""

from __future__ import annotations

from pathlib import Path

import pyvips

from pipeline.errors import NodeInvalid, VideoTooLarge
from pipeline.imaging.frames import timed
from pipeline.imaging.picture import Outline, Picture, Wish
from pipeline.imaging.video.ffmpeg import fault_of, reading, run, seeking
from pipeline.imaging.video.probe import Probe, probe

BANDS = 3
LONGEST_SEARCH = 60.0
"""Seconds that decoding may take; seeking goes by key frames, so it is little even in a long video."""
MOST_IN_MEMORY = 120_000_000
"""Pixels of all frames of an animation as they are decoded."""
STEPS_BACK = (0.1, 0.5, 2.0)
"""Seconds before the asked time at which a frame is looked for when the video ends without one after it."""
SDR_WHITE = 100
"""Candela per square metre that stand for white when HDR is brought to the range of a usual screen."""
TONE_MAPPED = (
    f"zscale=t=linear:npl={SDR_WHITE},format=gbrpf32le,zscale=p=bt709,tonemap=mobius:param=0.5:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
"""PQ and HLG (ITU-R BT.2100) as BT.709; the curve leaves the darker half as it is and bends what is brighter."""


def outline_of(path: Path, at: str | float, length: float | None, fps: float) -> Outline:
    """The outline of the frame `at` seconds or percent, or of the animation that begins there.

    Raises what `probe` raises, and `NodeInvalid` when the video ends before `at`.
    """
    found = probe(path)
    frames = _count(found, _second(found, at), length, fps)
    return Outline(found.width, found.height, frames, format="webp" if frames > 1 else "jpeg")


def picture_of(path: Path, at: str | float, length: float | None, fps: float, scale: float) -> Picture:
    """The picture itself at no less than `scale` of its outline; raises what `outline_of` raises."""
    found, outline = probe(path), outline_of(path, at, length, fps)
    scale = min(1.0, scale)
    width, height = (max(1, round(side * scale)) for side in (outline.width, outline.height))
    if width * height * outline.frames > MOST_IN_MEMORY:
        raise VideoTooLarge(
            reason=f"{outline.frames} frames of {width} x {height} pixels; scale them down, or take fewer"
        )
    strip = _decoded(path, found, _second(found, at), width, height, outline.frames, fps)
    pixels = pyvips.Image.new_from_memory(strip, width, height * outline.frames, BANDS, "uchar")
    picture = Picture(pixels.copy(interpretation="srgb"), outline, wish=Wish(format=outline.format))
    return timed(picture, [round(1000 / fps)] * outline.frames, 0) if outline.frames > 1 else picture


def colours(found: Probe) -> list[str]:
    """The filters that bring the colours of a video into what every screen shows."""
    return [TONE_MAPPED] if found.hdr else []


def scaling(found: Probe, width: int, height: int) -> str:
    """The filter that brings the whole frame to this size, with square pixels."""
    matrix = f":in_color_matrix={found.matrix}" if found.matrix else ""
    return f"scale={width}:{height}:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp{matrix},setsar=1"


def _second(found: Probe, at: str | float) -> float:
    """The time that `at` names; the end is the last frame."""
    if isinstance(at, str):
        return found.duration * float(at.removesuffix("%")) / 100
    if at > found.duration:
        raise NodeInvalid(reason=f"at: the video is {found.duration:g} seconds long, not {at:g}")
    return at


def _count(found: Probe, at: float, length: float | None, fps: float) -> int:
    """How many frames there are from `at` on within `length` seconds; 1 for a still picture."""
    if length is None:
        return 1
    return max(1, round(min(length, found.duration - at) * fps))


def _decoded(path: Path, found: Probe, at: float, width: int, height: int, frames: int, fps: float) -> bytes:
    """The frames as RGB, one below the other; where the video has fewer, its last one again."""
    filters = [f"fps={fps:g}"] if frames > 1 else []
    filters += [scaling(found, width, height), *colours(found), "format=rgb24"]
    taken = ["-map", "0:V:0", "-vf", ",".join(filters), "-frames:v", str(frames), "-f", "rawvideo", "pipe:1"]
    size = width * height * BANDS
    for second in (at, *(at - step for step in STEPS_BACK), 0.0):
        before, behind = seeking(found.mime, max(0.0, second))
        told = run([*before, *reading(path, found.mime), *behind, *taken], LONGEST_SEARCH)
        if len(told.output) >= size:
            return told.output + told.output[-size:] * (frames - len(told.output) // size)
    raise fault_of(told.speech)
