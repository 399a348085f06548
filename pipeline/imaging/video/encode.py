"""Write a video anew: a part of it, in another format, or at another size; one call of ffmpeg each.

Metadata of the source (where and when it was shot, with what) does not go into what is written. What is encoded is
upright, 4:2:0 in 8 bits of BT.709 and of even size, which every player can show; MP4 files begin with their index.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Literal

from pipeline.errors import NodeInvalid, VideoTooLarge
from pipeline.imaging.video.ffmpeg import THREADS, reading, run, seeking
from pipeline.imaging.video.frames import colours, scaling
from pipeline.imaging.video.probe import Probe, probe

Codec = Literal["h264", "hevc", "vp9", "av1"]
Format = Literal["mp4", "webm"]
Fit = Literal["inside", "contain", "cover", "fill"]

LONGEST = 6 * 3600
"""Seconds of video that are encoded."""
QUALITY, EFFORT = 75, 5
CRF: dict[Codec, tuple[int, int]] = {"h264": (51, 14), "hevc": (51, 18), "vp9": (63, 20), "av1": (63, 22)}
"""The constant rate factors that quality 1 and 100 stand for; 75 is near what each encoder's authors advise."""
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
"""Of x264 and x265, for effort 1 to 9."""
AUDIO_RATES = {"aac": "160k", "libopus": "112k"}
"""Bits a second of stereo that few can tell from the source."""


@dataclass(frozen=True)
class Container:
    """A kind of file: how ffmpeg writes it, what it is called, and what it holds."""

    muxer: str
    extension: str
    mime: str
    codecs: tuple[Codec, ...] = ()
    """What is encoded into it, the first unless another is said."""
    keeps: frozenset[str] | None = None
    """Sound that goes into it as it is; None for any."""
    sound: str = "aac"
    """The encoder of any other."""


MP4 = Container("mp4", "mp4", "video/mp4", ("h264", "hevc", "av1"), frozenset({"aac", "mp3"}))
MOV = Container("mov", "mov", "video/quicktime", ("h264", "hevc"), frozenset({"aac", "mp3", "alac"}))
WEBM = Container("webm", "webm", "video/webm", ("vp9", "av1"), frozenset({"opus", "vorbis"}), "libopus")
MKV = Container("matroska", "mkv", "video/x-matroska", ("h264", "hevc", "vp9", "av1"))
AVI = Container("avi", "avi", "video/x-msvideo")
FORMATS: dict[Format, Container] = {"mp4": MP4, "webm": WEBM}
SAME = {container.mime: container for container in (MP4, MOV, WEBM, MKV, AVI)}
FAMILIES: dict[str, Codec] = {"h264": "h264", "hevc": "hevc", "vp8": "vp9", "vp9": "vp9", "av1": "av1"}


@dataclass(frozen=True)
class Cut:
    """What part is kept, seconds; `exact` encodes anew, otherwise it begins at the key frame before `start`."""

    start: float
    end: float | None
    exact: bool


@dataclass(frozen=True)
class Style:
    """How pictures and sound are encoded; `fps` is the most frames a second."""

    format: Format | None = None
    codec: Codec | None = None
    quality: int = QUALITY
    effort: int = EFFORT
    audio: Literal["keep", "drop"] = "keep"
    fps: float | None = None


@dataclass(frozen=True)
class Box:
    """The size that is wished; a side that is None follows from the other."""

    width: int | None
    height: int | None
    fit: Fit
    enlarge: bool


@dataclass(frozen=True)
class Film:
    """A finished video file; its name has the extension of what it is."""

    path: Path
    mime: str
    size: int
    sha256: str


def trim(source: Path, target: Path, cut: Cut) -> Film:
    """The part of a video between two times, in `target` with the extension that fits.

    Raises what `probe` and `run` raise, and `NodeInvalid` when nothing of the video lies between them.
    """
    found = probe(source)
    end = found.duration if cut.end is None else min(cut.end, found.duration)
    if cut.start >= end:
        raise NodeInvalid(reason=f"start: the video is {found.duration:g} seconds long; {cut.start:g} is not before it")
    before, behind = seeking(found.mime, cut.start)
    if cut.exact or found.mime not in SAME:
        _check_length(end - cut.start)
        container, codec = _family(found)
        # Packets of sound do not begin where the cut does.
        how = [*_pictures(found, codec, Style(), _evened(found)), *_encoded_sound(found, container)]
    else:
        container, how = SAME[found.mime], ["-c", "copy"]
    part = [*behind, "-t", f"{end - cut.start:.6f}"]
    return _written(source, found, target, container, [*part, *how], before)


def transcode(source: Path, target: Path, style: Style) -> Film:
    """The video in another format or encoding, in `target` with its extension; raises what `probe` and `run` raise."""
    found = probe(source)
    _check_length(found.duration)
    container = FORMATS[style.format or "mp4"]
    codec = style.codec or container.codecs[0]
    sound = ["-an"] if style.audio == "drop" else _sound(found, container)
    return _written(source, found, target, container, [*_pictures(found, codec, style, _evened(found)), *sound])


def resize(source: Path, target: Path, box: Box) -> Film:
    """The video at another size, its format, codec and sound as before where they can be.

    Raises what `probe` and `run` raise.
    """
    found = probe(source)
    _check_length(found.duration)
    container, codec = _family(found)
    how = [*_pictures(found, codec, Style(), _fitted(found, box)), *_sound(found, container)]
    return _written(source, found, target, container, how)


def _written(
    source: Path, found: Probe, target: Path, container: Container, how: list[str], before: list[str] | None = None
) -> Film:
    path = target.with_name(f"{target.name}.{container.extension}")
    kept = ["-map", "0:V:0", "-map", "0:a:0?", "-map_metadata", "-1", "-map_chapters", "-1"]
    index = ["-movflags", "+faststart"] if container.muxer in ("mp4", "mov") else []
    # Apple's players know HEVC by this name only.
    name = ["-tag:v", "hvc1"] if container.muxer in ("mp4", "mov") and "libx265" in how else []
    run(
        [
            "-y",
            *(before or []),
            *reading(source, found.mime),
            *kept,
            *how,
            *name,
            *index,
            "-f",
            container.muxer,
            str(path),
        ]
    )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Film(path, container.mime, path.stat().st_size, digest)


def _check_length(seconds: float) -> None:
    if seconds > LONGEST:
        raise VideoTooLarge(reason=f"{seconds:.0f} seconds are to be encoded; the limit is {LONGEST}")


# Pictures


def _family(found: Probe) -> tuple[Container, Codec]:
    """The container and the codec that are nearest to those of the video; MP4 where its own is not written."""
    container = SAME.get(found.mime, MP4)
    container = container if container.codecs else MP4
    codec = FAMILIES.get(found.video_codec, container.codecs[0])
    return container, codec if codec in container.codecs else container.codecs[0]


def _pictures(found: Probe, codec: Codec, style: Style, filters: list[str]) -> list[str]:
    fewer = [f"fps={style.fps:g}"] if style.fps and (found.fps is None or found.fps > style.fps) else []
    chain = [*fewer, *filters, *colours(found), "format=yuv420p"]
    return ["-vf", ",".join(chain), *_encoder(codec, style), "-threads", str(THREADS)]


def _encoder(codec: Codec, style: Style) -> list[str]:
    worst, best = CRF[codec]
    crf = str(round(worst - (worst - best) * (style.quality - 1) / 99))
    if codec == "h264":
        return ["-c:v", "libx264", "-preset", PRESETS[style.effort - 1], "-crf", crf]
    if codec == "hevc":
        quiet = ["-x265-params", f"log-level=error:pools={THREADS}"]
        return ["-c:v", "libx265", "-preset", PRESETS[style.effort - 1], "-crf", crf, *quiet]
    if codec == "vp9":
        pace = ["-deadline", "good", "-cpu-used", str(5 - (style.effort - 1) // 2), "-row-mt", "1"]
        return ["-c:v", "libvpx-vp9", *pace, "-crf", crf, "-b:v", "0"]
    return ["-c:v", "libsvtav1", "-preset", str(13 - style.effort), "-crf", crf, "-svtav1-params", f"lp={THREADS}"]


def _evened(found: Probe) -> list[str]:
    """The filters to the nearest size that can be encoded."""
    # A side of odd length loses its last line: scaling by one pixel would blur all of it.
    even = f"crop={_even(found.width)}:{_even(found.height)}:0:0"
    return ["setsar=1", even] if found.square else [scaling(found, found.width, found.height), even]


def _fitted(found: Probe, box: Box) -> list[str]:
    """The filters from the video to the box: scale, then cut what hangs over or pad what is left."""
    width, height = _scaled(found, box)
    steps = [scaling(found, width, height)]
    if box.fit == "cover" and box.width and box.height:
        steps.append(f"crop={min(width, _even(box.width))}:{min(height, _even(box.height))}")
    if box.fit == "contain" and box.width and box.height:
        steps.append(f"pad={max(width, _even(box.width))}:{max(height, _even(box.height))}:(ow-iw)/2:(oh-ih)/2")
    return steps


def _scaled(found: Probe, box: Box) -> tuple[int, int]:
    """The even size of the whole frame before anything is cut or added."""
    most = inf if box.enlarge else 1.0
    across = min(box.width / found.width, most) if box.width else None
    down = min(box.height / found.height, most) if box.height else None
    if box.fit != "fill" or not (across and down):
        given = [ratio for ratio in (across, down) if ratio]
        across = down = max(given) if box.fit == "cover" else min(given)
    width = _nearest(found.width * across, box.width, found.width, box)
    return width, _nearest(found.height * down, box.height, found.height, box)


def _nearest(length: float, side: int | None, source: int, box: Box) -> int:
    """The even length that is nearest, but neither beyond the box nor, unless it may, beyond the source."""
    limits = [_even(side)] if side and box.fit != "cover" else []
    limits += [] if box.enlarge else [_even(source)]
    return min([max(2, 2 * round(length / 2)), *limits])


def _even(length: int) -> int:
    return max(2, length - length % 2)


# Sound


def _sound(found: Probe, container: Container) -> list[str]:
    """Sound as it is where the container holds it."""
    if container.keeps is None or found.audio_codec in container.keeps:
        return ["-c:a", "copy"]
    return _encoded_sound(found, container)


def _encoded_sound(found: Probe, container: Container) -> list[str]:
    return ["-c:a", container.sound, "-b:a", AUDIO_RATES[container.sound]] if found.audio_codec else ["-an"]
