"""Run ffmpeg on a stranger's file: one parser, chosen by the first bytes, no network, no other file, bounded output.

A playlist, or a file that names other files, is never followed: the parser is forced, and only plain files and pipes
may be opened. Only decoders of codecs that people use are let at the bytes.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import IO, TypeVar

from pydantic import AfterValidator

from pipeline.errors import ImageTimeout, NodeFailed, StorageFull, VideoTooLarge, VideoUnavailable, VideoUnreadable
from pipeline.imaging.confine import spawned
from pipeline.sniff import HEAD_SIZE, media_type

MISSING = "video nodes need the extra `video`: pip install safelight[video]"
ABSENT = "there is no program `ffmpeg` where the extra `video` looks for it"

DEMUXERS = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/ogg": "ogg",
    "video/mpeg": "mpeg",
    "video/mp2t": "mpegts",
    "image/gif": "gif",
}
"""The media types that are read as videos, and ffmpeg's parser of each."""
UNINDEXED, MARGIN = frozenset({"mpeg", "mpegts"}), 10.0
"""Containers in which a place is only guessed, and how many seconds before it are decoded therefore."""
DECODERS = (
    "h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "mpeg2video", "mpeg1video",
    "h263", "gif", "mjpeg", "prores", "theora", "png", "rawvideo", "aac", "mp3", "mp3float", "mp2", "mp2float", "opus",
    "libopus", "vorbis", "flac", "alac", "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb",
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw",
)  # fmt: skip
MOST_PIXELS = 40_000_000
"""Pixels of one frame; 8K has 33 million."""
THREADS = 2
"""For each of decoding and encoding: parallelism comes from runs."""
LONGEST_SPEECH = 1 << 20
"""Bytes that are kept of what ffmpeg says."""
OVERSIZE = re.compile(r"Picture size (\d+)x(\d+) exceeds")
STARVED = re.compile(r"Cannot allocate memory|[Mm]emory allocation|malloc of size|Failed to allocate")
FOREIGN = re.compile(r"Codec \((\w+)\) not on whitelist")
ENVIRONMENT = {"LC_ALL": "C", "SVT_LOG": "1"}

T = TypeVar("T")


class FfmpegError(Exception):
    """What ffmpeg said before it gave up, for the log."""


@dataclass(frozen=True)
class Told:
    """What ffmpeg wrote to its output, and what it said."""

    output: bytes
    speech: str


def installed(value: T) -> T:
    """`value`; raises ValueError when the extra is not installed."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ValueError(MISSING)
    return value


NEEDED = AfterValidator(installed)
"""Beside the type of a node: a flow with it is refused where the extra is not installed."""


def kind_of(path: Path) -> str:
    """The media type of a video file by its first bytes; raises `VideoUnreadable` for what is not read as one."""
    with path.open("rb") as file:
        mime = media_type(file.read(HEAD_SIZE))
    if mime not in DEMUXERS:
        raise VideoUnreadable(reason=f"{mime} is not a video that is read here")
    return mime


def reading(path: Path, mime: str) -> list[str]:
    """The arguments that open the file at `path` as a video of type `mime` and nothing else."""
    closed = ["-protocol_whitelist", "file,pipe", "-codec_whitelist", ",".join(DECODERS)]
    bounded = ["-max_pixels", str(MOST_PIXELS), "-threads", str(THREADS)]
    return ["-f", DEMUXERS[mime], *closed, *bounded, "-i", f"file:{path}"]


def seeking(mime: str, second: float) -> tuple[list[str], list[str]]:
    """The arguments before the input and behind it that begin exactly at `second`."""
    margin = min(second, MARGIN) if DEMUXERS[mime] in UNINDEXED else 0.0
    return ["-ss", f"{second - margin:.6f}"], ["-ss", f"{margin:.6f}"] if margin else []


def run(arguments: Sequence[str], seconds: float | None = None, loglevel: str = "error") -> Told:
    """Run ffmpeg to its end; `seconds` bound it where the sandbox call has no close bound of its own.

    Raises `VideoUnreadable`, `VideoTooLarge`, `ImageTimeout`, `MemoryError`, `StorageFull`, `VideoUnavailable`, and
    `NodeFailed` when what it writes grows too large.
    """
    head = [_program(), "-nostdin", "-hide_banner", "-nostats", "-loglevel", loglevel, "-filter_threads", "1"]
    with (
        spawned(
            [*head, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        ) as running,
        ThreadPoolExecutor(1) as beside,
        _ended_after(seconds, running.kill),
    ):
        assert running.stdout is not None and running.stderr is not None
        speaking = beside.submit(_first, running.stderr)
        output = running.stdout.read()
        speech = speaking.result().decode("utf-8", "replace")
    if running.returncode:
        raise fault_of(speech, running.returncode)
    return Told(output, speech)


def _program() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as cause:
        raise VideoUnavailable(reason=MISSING) from cause
    try:
        program = shutil.which(str(get_ffmpeg_exe()))
    except RuntimeError as cause:
        raise VideoUnavailable(reason=ABSENT) from cause
    if program is None:
        raise VideoUnavailable(reason=ABSENT)
    return program


def _first(stream: IO[bytes]) -> bytes:
    """The first bytes of what ffmpeg says; it is heard out, or else it would wait."""
    kept = stream.read(LONGEST_SPEECH)
    while stream.read(LONGEST_SPEECH):
        pass
    return kept


@contextmanager
def _ended_after(seconds: float | None, end: Callable[[], None]) -> Iterator[None]:
    if seconds is None:
        yield
        return
    late = Event()

    def stop() -> None:
        late.set()
        end()

    timer = Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():
        raise ImageTimeout(seconds=f"{seconds:g}")


def fault_of(speech: str, code: int = 0) -> Exception:
    """The error that ends a run of ffmpeg which failed, or made nothing, by what it said."""
    fault: Exception
    if code == -signal.SIGXFSZ or "File too large" in speech:
        fault = NodeFailed(reason="the video it writes is larger than a file may be here")
    elif found := OVERSIZE.search(speech):
        fault = VideoTooLarge(reason=f"{found[1]} x {found[2]} pixels; the limit is {MOST_PIXELS}")
    elif STARVED.search(speech):
        fault = MemoryError()
    elif "No space left on device" in speech:
        fault = StorageFull()
    elif found := FOREIGN.search(speech):
        fault = VideoUnreadable(reason=f"its codec {found[1]} is not read here")
    elif "matches no streams" in speech:
        fault = VideoUnreadable(reason="there are no moving pictures in it")
    else:
        fault = VideoUnreadable(reason="it is damaged")
    fault.__cause__ = FfmpegError(f"exit code {code}: {speech[-2000:].strip()}")
    return fault
