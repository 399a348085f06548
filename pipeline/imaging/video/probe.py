"""Ask a video what it is: its first frame tells the size, what ffmpeg says of its streams the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from pipeline.errors import VideoTooLarge
from pipeline.imaging.video.complete import check_complete
from pipeline.imaging.video.ffmpeg import DEMUXERS, MOST_PIXELS, fault_of, kind_of, reading, run

LONGEST_LOOK = 60.0
"""Seconds that finding out what a video is may take."""
HDR = ("smpte2084", "arib-std-b67")
"""ffmpeg's names of the transfer functions PQ and HLG (ITU-R BT.2100)."""
MATRICES = ("bt709", "bt2020", "smpte170m", "bt470bg")
HD_HEIGHT = 720
"""Pixels from which on a video that does not name its colours has those of ITU-R BT.709."""
FLATTEST = 10
"""Ratio of a pixel's sides beyond which it is not believed."""

STREAM = re.compile(r"  Stream #0:(?P<number>\d+)(?:\[\w+\])?(?:\([^)]*\))?: (?P<kind>Video|Audio): (?P<codec>\w+)(.*)")
MAPPED = re.compile(r"^  Stream #0:(?P<number>\d+) -> #0:0 ", re.M)
DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", re.M)
RATE = re.compile(r", (\d+(?:\.\d+)?)(k?) fps")
TURN = re.compile(r"^ {6}Display Matrix: rotation of (-?\d+\.\d+) degrees")
DIMENSIONS = re.compile(r"^#dimensions 0: (\d+)x(\d+)$", re.M)
PIXEL_RATIO = re.compile(r"^#sar 0: (\d+)/(\d+)$", re.M)
COPIED = re.compile(r"^out_time_us=(\d+)$", re.M)


@dataclass(frozen=True)
class Probe:
    """What a video is; `width` and `height` as it is shown, `duration` in seconds, `rotation` in degrees clockwise."""

    mime: str
    duration: float
    width: int
    height: int
    fps: float | None
    video_codec: str
    audio_codec: str | None
    bit_rate: int | None
    rotation: int
    hdr: bool
    square: bool
    """Whether its pixels are."""
    matrix: str | None
    """What its colours are taken to be encoded with, None where it says so itself or is small."""


def probe(path: Path) -> Probe:
    """What the video file at `path` is; raises `VideoUnreadable`, `VideoTooLarge` and `ImageTimeout`."""
    state = path.stat()
    return _probed(path, state.st_ino, state.st_mtime_ns, state.st_size)


# A path may hold another file now; what it holds is asked for by each step that opens it.
@lru_cache(maxsize=16)
def _probed(path: Path, inode: int, changed: int, size: int) -> Probe:
    mime = kind_of(path)
    check_complete(path, DEMUXERS[mime])
    source = reading(path, mime)
    told = run([*source, "-map", "0:V:0", "-frames:v", "1", "-f", "framecrc", "pipe:1"], LONGEST_LOOK, "info")
    said, _, mapping = told.speech.partition("\nStream mapping:\n")
    mapped, shown = MAPPED.search(mapping), DIMENSIONS.search(told.output.decode())
    if mapped is None or shown is None:
        raise fault_of(told.speech)
    streams = _Streams(said)
    line = streams.lines[int(mapped["number"])]
    width, height = _shown(int(shown[1]), int(shown[2]), told.output.decode())
    duration = _duration(said) or _counted(source)
    unsaid = not any(name in line for name in MATRICES)
    return Probe(
        mime=mime,
        duration=duration,
        width=width,
        height=height,
        fps=_rate(line),
        video_codec=streams.codecs[int(mapped["number"])],
        audio_codec=streams.audio,
        bit_rate=round(size * 8 / duration) if duration else None,
        rotation=streams.turns.get(int(mapped["number"]), 0),
        hdr=any(name in line for name in HDR),
        square=width == int(shown[1]),
        matrix="bt709" if unsaid and height >= HD_HEIGHT else None,
    )


class _Streams:
    """What ffmpeg says of the streams of its input."""

    def __init__(self, said: str) -> None:
        self.lines: dict[int, str] = {}
        self.codecs: dict[int, str] = {}
        self.turns: dict[int, int] = {}
        self.audio: str | None = None
        number = -1
        for line in said.splitlines():
            if found := STREAM.match(line):
                number = int(found["number"])
                self.lines[number], self.codecs[number] = line, found["codec"]
                if found["kind"] == "Audio":
                    self.audio = self.audio or found["codec"]
            elif turned := TURN.match(line):
                # Counted against the clock there.
                self.turns[number] = round(-float(turned[1])) % 360


def _shown(width: int, height: int, header: str) -> tuple[int, int]:
    """Width and height in square pixels; a frame whose pixels are not square is shown wider or narrower."""
    ratio = PIXEL_RATIO.search(header)
    if ratio and int(ratio[1]) and int(ratio[2]):
        square = Fraction(int(ratio[1]), int(ratio[2]))
        if Fraction(1, FLATTEST) <= square <= FLATTEST:
            width = max(1, round(width * square))
    if width * height > MOST_PIXELS:
        raise VideoTooLarge(reason=f"{width} x {height} pixels; the limit is {MOST_PIXELS}")
    return width, height


def _duration(said: str) -> float | None:
    found = DURATION.search(said)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _counted(source: list[str]) -> float:
    """The duration of a file that does not say it, as one a browser recorded: all of it is read, nothing decoded."""
    told = run([*source, "-map", "0:V:0", "-c", "copy", "-f", "null", "-progress", "pipe:1", "-"], LONGEST_LOOK)
    times = COPIED.findall(told.output.decode())
    return int(times[-1]) / 1_000_000 if times else 0.0


def _rate(line: str) -> float | None:
    found = RATE.search(line)
    return float(found[1]) * (1000 if found[2] else 1) if found else None
