"""The video nodes through the real executor, sandbox and ffmpeg, on films that ffmpeg itself made."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageChops, ImageSequence, ImageStat
from pydantic import ValidationError

from pipeline import sniff
from pipeline.errors import (
    FlowInvalid,
    ImageTimeout,
    ImageUnreadable,
    NodeFailed,
    NodeInvalid,
    SafelightError,
    StorageFull,
    VideoTooLarge,
    VideoUnavailable,
    VideoUnreadable,
)
from pipeline.graph.flow import load_flow
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox
from pipeline.imaging.video.encode import Box, Fit, _fitted, _scaled
from pipeline.imaging.video.ffmpeg import fault_of, reading, run
from pipeline.imaging.video.probe import Probe, probe
from pipeline.model import File, Output
from pipeline.nodes import INDEX
from tests.graph.desk import FORMATS, Desk, file_at

FRAME = 1 / 25
RED, BLUE = (255, 0, 0), (0, 0, 255)
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SIZED = "-f lavfi -i color={colour}:s={size}:r=25:d={seconds}"


def ffmpeg(*arguments: str | Path) -> bytes:
    command = [get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def plain(colour: str, size: str = "160x120", seconds: float = 1.0) -> list[str]:
    return SIZED.format(colour=colour, size=size, seconds=seconds).split()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clock` is red for a second, then blue, with a tone; the red of `ramp` is a hundred times the second it is."""
    folder = tmp_path_factory.mktemp("films")
    tone = ["-f", "lavfi", "-i", "sine=d=2"]
    halves = ["-filter_complex", "[0:v][1:v]concat=n=2:v=1:a=0[v]", "-map", "[v]", "-map", "2:a"]
    written = [*halves, *X264, "-g", "25", "-c:a", "aac", "-metadata", "location=+52.5200+013.4050/"]
    clock = folder / "clock.mp4"
    ffmpeg(*plain("red"), *plain("blue"), *tone, *written, clock)
    ffmpeg("-i", clock, "-c", "copy", folder / "clock.mov")
    ffmpeg("-i", clock, "-c", "copy", folder / "clock.mkv")
    ffmpeg("-i", clock, "-c", "copy", folder / "clock.ts")
    ffmpeg("-i", clock, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", folder / "clock.webm")
    ffmpeg("-i", clock, "-c:v", "mpeg4", "-c:a", "mp3", folder / "clock.avi")
    ffmpeg("-i", clock, folder / "clock.ogv")
    ffmpeg("-i", clock, folder / "clock.mpg")
    (folder / "live.webm").write_bytes(ffmpeg("-i", folder / "clock.webm", "-c", "copy", "-f", "webm", "pipe:1"))
    ramp = "nullsrc=s=160x120:r=25:d=2,format=rgb24,geq=r='T*100':g=0:b=0"
    ffmpeg("-f", "lavfi", "-i", ramp, *tone, *X264, "-g", "10", "-c:a", "aac", folder / "ramp.mp4")
    ffmpeg("-i", folder / "ramp.mp4", "-c", "copy", folder / "ramp.mkv")
    sides = ["-filter_complex", "[0:v][1:v]hstack[v]", "-map", "[v]"]
    halved = [*plain("red", "80x120"), *plain("blue", "80x120"), *sides, *X264]
    ffmpeg(*halved, folder / "sides.mp4")
    for degrees in (90, 180, 270):
        # ffmpeg counts against the clock.
        ffmpeg("-display_rotation", str(-degrees), "-i", folder / "sides.mp4", "-c", "copy", folder / f"t{degrees}.mp4")
    ffmpeg(*plain("red"), "-vf", "setsar=2/1", *X264, folder / "wide.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=161x121:r=25:d=1", "-c:v", "ffvhuff", folder / "foreign.mkv")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=161x121:r=25:d=1", "-c:v", "libx264", "-crf", "1", folder / "odd.mp4")
    ffmpeg(*tone, "-c:a", "aac", folder / "sound.mp4")
    return folder


def sent(path: Path) -> File:
    mime = sniff.media_type(path.read_bytes()[: sniff.HEAD_SIZE], path.name)
    return file_at(path, "application/octet-stream").model_copy(update={"mime": mime})


def flow(*steps: str) -> str:
    head = "accept: {types: [video/*], max_size: 100MB}\nnodes:\n"
    return head + "".join(f"  {line}\n" for line in ("film: {type: input}", *steps))


async def made(sandbox: Sandbox, desk: Desk, film: Path, *steps: str) -> list[Output]:
    return await desk.run(sandbox, flow(*steps), {"film": [sent(film)]})


async def thumbnail(sandbox: Sandbox, desk: Desk, film: Path, parameters: str, *steps: str) -> Image.Image:
    last = 'out: {type: save, path: "out.png"}'
    await made(sandbox, desk, film, f"frame: {{type: video_thumbnail{parameters}}}", *steps, last)
    return desk.image("out.png").convert("RGB")


async def film_of(sandbox: Sandbox, desk: Desk, film: Path, step: str) -> tuple[Probe, Path]:
    (output,) = await made(sandbox, desk, film, f"made: {step}", "out: {type: save}")
    path = desk.out / output.path
    return probe(path), path


def middle(picture: Image.Image) -> tuple[int, ...]:
    found = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(found, tuple)
    return found


def near(found: tuple[int, ...], wanted: tuple[int, ...], by: int = 6) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def frame_at(film: Path, second: float = 0.0) -> Image.Image:
    """The reference: a frame as ffmpeg's own command line writes it."""
    png = film.with_suffix(".reference.png")
    ffmpeg("-ss", str(second), "-i", film, "-frames:v", "1", png)
    return Image.open(png).convert("RGB")


# Thumbnails


@pytest.mark.parametrize(
    ("at", "colour"),
    [
        ("25%", RED), ("75%", BLUE), ("0", RED), ("0.5", RED), ("1.5s", BLUE), ("960ms", RED), ("1s", BLUE),
        ("0%", RED), ("100%", BLUE), ("2s", BLUE),
    ],
)  # fmt: skip
async def test_a_thumbnail_is_the_frame_of_its_time(
    at: str, colour: tuple[int, ...], films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    found = await thumbnail(sandbox, desk, films / "clock.mp4", f', at: "{at}"' if "%" in at else f", at: {at}")
    assert found.size == (160, 120)
    assert near(middle(found), colour)


@pytest.mark.parametrize("name", ["clock.mov", "clock.mkv", "clock.webm", "clock.avi", "clock.ogv", "clock.mpg",
                                  "clock.ts", "live.webm"])  # fmt: skip
async def test_every_container_gives_thumbnails(name: str, films: Path, sandbox: Sandbox, desk: Desk) -> None:
    text = flow(
        'early: {type: video_thumbnail, from: film, at: "25%"}',
        'late: {type: video_thumbnail, from: film, at: "75%"}',
        'out: {type: save, from: [early, late], path: "{node}.png"}',
    )
    await desk.run(sandbox, text, {"film": [sent(films / name)]})
    assert near(middle(desk.image("early.png")), RED, 12) and near(middle(desk.image("late.png")), BLUE, 12)


async def test_a_thumbnail_is_decoded_at_the_size_that_follows(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    found = await thumbnail(sandbox, desk, films / "odd.mp4", ", at: 0", "small: {type: resize, width: 80}")
    assert found.size == (80, 60)
    reference = frame_at(films / "odd.mp4").resize((80, 60), Image.Resampling.LANCZOS)
    assert max(ImageStat.Stat(ImageChops.difference(found, reference)).mean) < 3


async def test_a_whole_thumbnail_has_the_pixels_of_the_frame(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    found = await thumbnail(sandbox, desk, films / "odd.mp4", ", at: 0.4")
    assert found.size == (161, 121)
    assert max(ImageStat.Stat(ImageChops.difference(found, frame_at(films / "odd.mp4", 0.4))).mean) < 2


@pytest.mark.parametrize(
    ("degrees", "size", "first", "last"),
    [
        (90, (120, 160), (60, 40, RED), (60, 120, BLUE)),
        (180, (160, 120), (40, 60, BLUE), (120, 60, RED)),
        (270, (120, 160), (60, 40, BLUE), (60, 120, RED)),
    ],
)
async def test_a_film_shot_upright_gives_an_upright_thumbnail(
    degrees: int, size: tuple[int, int], first: Any, last: Any, films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    found = await thumbnail(sandbox, desk, films / f"t{degrees}.mp4", "")
    assert found.size == size
    for x, y, colour in (first, last):
        assert near(found.getpixel((x, y)), colour)  # type: ignore[arg-type]
    assert (await facts(sandbox, desk, films / f"t{degrees}.mp4"))["rotation"] == degrees


async def test_pixels_that_are_not_square_are_shown_so(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    assert (await thumbnail(sandbox, desk, films / "wide.mp4", "")).size == (320, 120)
    found, path = await film_of(sandbox, desk, films / "wide.mp4", "{type: video_transcode}")
    assert (found.width, found.height, found.square) == (320, 120, True)
    assert frame_at(path).size == (320, 120)


async def test_an_animation_is_taken_with_its_pace(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    steps = ["clip: {type: video_thumbnail, at: 0.5, length: 1s, fps: 10}", "small: {type: resize, width: 80}"]
    (output,) = await made(sandbox, desk, films / "ramp.mp4", *steps, "out: {type: save}")
    assert (output.path, output.mime) == ("ramp-small.webp", "image/webp")
    with Image.open(desk.out / output.path) as moving:
        frames = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(moving)]
    assert [(frame.size, shown) for frame, shown in frames] == [((80, 60), 100)] * 10
    assert [middle(frame)[0] for frame, _ in frames] == [pytest.approx(50 + 10 * count, abs=7) for count in range(10)]


async def test_an_animation_ends_with_the_film(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    clip = 'clip: {type: video_thumbnail, at: "75%", length: 10s, fps: 8}'
    await made(sandbox, desk, films / "ramp.mp4", clip, 'out: {type: save, path: "out.gif"}')
    with Image.open(desk.out / "out.gif") as moving:
        assert (getattr(moving, "n_frames"), moving.size) == (4, (160, 120))  # noqa: B009 - only some formats have it


async def test_too_many_large_frames_are_refused_unless_they_are_scaled_down(
    films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    large = desk.folder / "large.mp4"
    ffmpeg(*plain("red", "1920x1080", 3), *X264, large)
    steps = ["clip: {type: video_thumbnail, at: 0, length: 3s, fps: 30}", 'out: {type: save, path: "out.webp"}']
    with pytest.raises(VideoTooLarge, match="90 frames of 1920 x 1080 pixels") as refusal:
        await made(sandbox, desk, large, *steps)
    assert refusal.value.node == "clip"
    await made(sandbox, desk, large, steps[0], "small: {type: resize, width: 32}", steps[1])
    with Image.open(desk.out / "out.webp") as moving:
        assert moving.size == (32, 18)


async def test_a_thumbnail_is_saved_as_jpeg_and_goes_through_picture_steps(
    films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    steps = ["frame: {type: video_thumbnail}", "round: {type: crop, width: 50, height: 40}", "out: {type: save}"]
    (output,) = await made(sandbox, desk, films / "clock.mp4", *steps)
    assert (output.path, output.mime) == ("clock-round.jpg", "image/jpeg")
    assert desk.image(output.path).size == (50, 40)


async def test_a_thumbnail_of_a_part_and_the_part_itself(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    steps = [
        "part: {type: video_trim, start: 1.2s, exact: true}",
        "frame: {type: video_thumbnail, from: part, at: 0}",
        'out: {type: save, from: [part, frame], path: "{node}"}',
    ]
    outputs = await made(sandbox, desk, films / "clock.mp4", *steps)
    assert {output.path: output.mime for output in outputs} == {"part": "video/mp4", "frame": "image/jpeg"}
    assert near(middle(desk.image("frame").convert("RGB")), BLUE)


async def test_a_time_after_the_end_names_the_parameter(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(NodeInvalid, match="at: the video is 2 seconds long, not 3") as refusal:
        await thumbnail(sandbox, desk, films / "clock.mp4", ", at: 3s")
    assert refusal.value.node == "frame"


async def test_a_thumbnail_is_not_made_of_a_picture(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(NodeInvalid, match="a file as it came"):
        await thumbnail(sandbox, desk, films / "clock.mp4", "", "again: {type: video_thumbnail}")


async def test_a_film_is_no_picture_by_itself(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(ImageUnreadable, match="video/mp4, not an image"):
        await made(sandbox, desk, films / "clock.mp4", "small: {type: resize, width: 10}", "out: {type: save}")
    for name in ("clock.mp4", "clock.webm", "clock.mov"):
        file = sent(films / name)
        assert await facts_of(sandbox, file.key, file.mime, FORMATS, 10**8, 1000, 60) is None


async def test_hdr_is_brought_to_what_screens_show(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    source, film = desk.folder / "sdr.mkv", desk.folder / "hdr.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:d=0.2", "-c:v", "libx264", "-crf", "1", source)
    hlg = "zscale=t=arib-std-b67:p=bt2020:m=bt2020nc:tin=bt709:pin=bt709:min=bt709:r=tv:npl=203,format=yuv420p10le"
    coded = ["-c:v", "libx265", "-x265-params", "log-level=error", "-color_primaries", "bt2020"]
    ffmpeg("-i", source, "-vf", hlg, *coded, "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc", film)
    reference, flat = frame_at(source), frame_at(film)
    found = await thumbnail(sandbox, desk, film, ", at: 0")
    off, untouched = (sum(ImageStat.Stat(ImageChops.difference(one, reference)).mean) for one in (found, flat))
    assert off < untouched / 2
    assert (await facts(sandbox, desk, film))["hdr"] is True
    coded_anew, path = await film_of(sandbox, desk, film, "{type: video_transcode}")
    assert not coded_anew.hdr
    assert sum(ImageStat.Stat(ImageChops.difference(frame_at(path), reference)).mean) < untouched / 2


# Probe


async def facts(sandbox: Sandbox, desk: Desk, film: Path) -> dict[str, Any]:
    await made(sandbox, desk, film, "what: {type: video_probe}")
    found = desk.outcome.facts["what"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("clock.mp4", "h264", "aac"), ("clock.mov", "h264", "aac"), ("clock.mkv", "h264", "aac"),
        ("clock.ts", "h264", "aac"), ("clock.webm", "vp9", "opus"), ("live.webm", "vp9", "opus"),
        ("clock.avi", "mpeg4", "mp3"), ("clock.ogv", "theora", "vorbis"), ("clock.mpg", "mpeg1video", "mp2"),
        ("sides.mp4", "h264", None),
    ],
)  # fmt: skip
async def test_a_probe_finds_what_a_film_is(
    name: str, video: str, audio: str | None, films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    found = await facts(sandbox, desk, films / name)
    seconds = 1.0 if name == "sides.mp4" else 2.0
    assert found.pop("duration") == pytest.approx(seconds, abs=2 * FRAME)
    size = (films / name).stat().st_size
    assert found.pop("bit_rate") == pytest.approx(size * 8 / seconds, rel=0.05)
    assert found == {
        "width": 160, "height": 120, "fps": 25.0, "video_codec": video, "audio_codec": audio,
        "has_audio": audio is not None, "rotation": 0, "hdr": False,
    }  # fmt: skip


async def test_what_a_probe_found_decides_and_is_kept_with_the_file(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    text = flow(
        "what: {type: video_probe}",
        "long: {type: conditional, field: facts.what.duration, operator: greaterThan, value: 1.5}",
        "part: {type: video_trim, from: long.then, end: 1s}",
        "any: {type: first, from: [part, long.else]}",
        "out: {type: save}",
    )
    file = sent(films / "clock.mp4")
    (output,) = await desk.run(sandbox, text, {"film": [file]})
    assert probe(desk.out / output.path).duration == pytest.approx(1, abs=2 * FRAME)
    assert desk.outcome.learned[file.id]["video_probe"]["video_codec"] == "h264"
    (output,) = await desk.run(sandbox, text, {"film": [sent(films / "sides.mp4")]})
    assert output.path == "sides.mp4" and desk.states["part"].status == "skipped"


async def test_a_file_that_takes_the_place_of_another_is_asked_anew(tmp_path: Path, films: Path) -> None:
    path = tmp_path / "film.mp4"
    for name in ("clock.mp4", "sides.mp4"):
        path.write_bytes((films / name).read_bytes())
        assert probe(path).duration == probe(films / name).duration


# Trim


async def test_a_part_is_cut_out_without_encoding(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    (output,) = await made(sandbox, desk, films / "ramp.mp4", "part: {type: video_trim, start: 0.5, end: 1.5}",
                           "out: {type: save}")  # fmt: skip
    assert (output.path, output.mime) == ("ramp-part.mp4", "video/mp4")
    path = desk.out / output.path
    assert probe(path).duration == pytest.approx(1, abs=0.2)
    # An edit list says where it is to be played from.
    assert [frame_at(path, second).getpixel((9, 9))[0] for second in (0, 0.52)] == [  # type: ignore[index]
        pytest.approx(52, abs=6),
        pytest.approx(104, abs=6),
    ]
    packets = ["-map", "0:v", "-c", "copy", "-f", "framemd5", "pipe:1"]
    hashes = [{line.split()[-1] for line in ffmpeg("-i", one, *packets).decode().splitlines() if line[0] != "#"}
              for one in (films / "ramp.mp4", path)]  # fmt: skip
    assert len(hashes[1]) >= 20 and hashes[1] < hashes[0]


async def test_without_an_edit_list_a_part_begins_with_a_key_frame(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    _, path = await film_of(sandbox, desk, films / "ramp.mkv", "{type: video_trim, start: 0.5, duration: 1s}")
    assert path.name == "ramp-made.mkv"
    assert frame_at(path).getpixel((9, 9))[0] == pytest.approx(40, abs=6)  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "made_of", "audio"),
    [("ramp.mp4", "mp4", "aac"), ("ramp.mkv", "mkv", "aac"), ("clock.webm", "webm", "opus"),
     ("clock.avi", "mp4", "aac"), ("clock.mpg", "mp4", "aac"), ("clock.ts", "mp4", "aac")],
)  # fmt: skip
async def test_an_exact_part_begins_and_ends_on_its_frames(
    name: str, made_of: str, audio: str, films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    step = "{type: video_trim, start: 0.76, end: 1.6s, exact: true}"
    found, path = await film_of(sandbox, desk, films / name, step)
    assert path.suffix == f".{made_of}"
    assert found.duration == pytest.approx(0.84, abs=FRAME + 0.02)
    assert (found.width, found.height, found.audio_codec) == (160, 120, audio)
    if name.startswith("ramp"):
        assert frame_at(path).getpixel((9, 9))[0] == pytest.approx(76, abs=6)  # type: ignore[index]
    else:
        assert near(frame_at(path, 0.1).getpixel((9, 9)), RED, 12)  # type: ignore[arg-type]
        assert near(frame_at(path, 0.6).getpixel((9, 9)), BLUE, 12)  # type: ignore[arg-type]


async def test_what_is_not_written_as_it_is_is_encoded(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    found, path = await film_of(sandbox, desk, films / "clock.ogv", "{type: video_trim, end: 1s}")
    assert (path.suffix, found.video_codec, found.audio_codec) == (".mp4", "h264", "aac")


async def test_a_part_stays_turned(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    for exact, rotation in (("false", 90), ("true", 0)):
        step = f"{{type: video_trim, start: 0.2, exact: {exact}}}"
        found, path = await film_of(sandbox, desk, films / "t90.mp4", step)
        assert (found.rotation, found.width, found.height) == (rotation, 120, 160)
        assert near(frame_at(path).getpixel((60, 40)), RED)  # type: ignore[arg-type]


async def test_a_part_behind_the_end_names_the_parameter(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    with pytest.raises(NodeInvalid, match="start: the video is 2 seconds long; 5 is not before it") as refusal:
        await film_of(sandbox, desk, films / "clock.mp4", "{type: video_trim, start: 5s}")
    assert refusal.value.node == "made"


# Transcode


@pytest.mark.parametrize(
    ("parameters", "codec", "audio", "ending"),
    [
        ("", "h264", "aac", ".mp4"),
        (", codec: hevc, effort: 1", "hevc", "aac", ".mp4"),
        (", codec: av1, effort: 1", "av1", "aac", ".mp4"),
        (", format: webm, effort: 1", "vp9", "opus", ".webm"),
        (", format: webm, codec: av1, effort: 1", "av1", "opus", ".webm"),
        (", audio: drop", "h264", None, ".mp4"),
        (", format: webm, audio: drop, effort: 1", "vp9", None, ".webm"),
    ],
)
async def test_a_film_is_written_in_another_format(
    parameters: str, codec: str, audio: str | None, ending: str, films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    found, path = await film_of(sandbox, desk, films / "clock.mp4", f"{{type: video_transcode{parameters}}}")
    assert (found.video_codec, found.audio_codec, path.name) == (codec, audio, f"clock-made{ending}")
    assert (found.width, found.height, found.fps) == (160, 120, 25)
    assert found.duration == pytest.approx(2, abs=FRAME)
    assert near(middle(frame_at(path, 0.5)), RED) and near(middle(frame_at(path, 1.5)), BLUE)
    assert sniff.media_type(path.read_bytes()) == found.mime == f"video/{ending[1:]}"


@pytest.mark.parametrize("name", ["clock.webm", "clock.avi", "clock.mkv", "clock.ogv", "clock.mpg", "clock.ts",
                                  "live.webm", "clock.mov"])  # fmt: skip
async def test_every_container_becomes_mp4(name: str, films: Path, sandbox: Sandbox, desk: Desk) -> None:
    found, path = await film_of(sandbox, desk, films / name, "{type: video_transcode}")
    audio = "mp3" if name == "clock.avi" else "aac"
    assert (found.mime, found.video_codec, found.audio_codec) == ("video/mp4", "h264", audio)
    assert found.duration == pytest.approx(2, abs=2 * FRAME)
    assert near(middle(frame_at(path, 1.5)), BLUE, 12)


async def test_an_mp4_begins_with_its_index_and_tells_nothing_of_where_it_was_shot(
    films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    assert b"loci" in (films / "clock.mp4").read_bytes()
    for step in ("video_transcode", "video_trim, end: 1s", "video_resize, width: 80"):
        _, path = await film_of(sandbox, desk, films / "clock.mp4", f"{{type: {step}}}")
        content = path.read_bytes()
        assert 0 < content.index(b"moov") < content.index(b"mdat")
        assert b"loci" not in content


async def test_sound_that_fits_is_kept_bit_by_bit(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    _, path = await film_of(sandbox, desk, films / "clock.mp4", "{type: video_transcode}")
    packets = ["-map", "0:a", "-c", "copy", "-f", "md5", "pipe:1"]
    assert ffmpeg("-i", path, *packets) == ffmpeg("-i", films / "clock.mp4", *packets)


async def test_quality_and_rate_are_what_was_asked_for(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    sizes = []
    for quality in (20, 75, 95):
        step = f"{{type: video_transcode, quality: {quality}, effort: 1}}"
        sizes.append((await film_of(sandbox, desk, films / "odd.mp4", step))[1].stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    found, path = await film_of(sandbox, desk, films / "clock.mp4", "{type: video_transcode, fps: 5}")
    frames = ffmpeg("-i", path, "-map", "0:v", "-f", "framemd5", "pipe:1").decode().splitlines()
    assert found.fps == 5 and len([line for line in frames if not line.startswith("#")]) == 10
    found, _ = await film_of(sandbox, desk, films / "clock.mp4", "{type: video_transcode, fps: 60}")
    assert found.fps == 25


async def test_odd_sides_lose_a_line_and_nothing_is_blurred(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    step = "{type: video_transcode, quality: 100}"
    found, path = await film_of(sandbox, desk, films / "odd.mp4", step)
    assert (found.width, found.height) == (160, 120)
    pixel_format = subprocess.run([get_ffmpeg_exe(), "-i", path], stderr=subprocess.PIPE).stderr
    assert b"yuv420p(" in pixel_format
    reference = frame_at(films / "odd.mp4").crop((0, 0, 160, 120)).convert("L")
    assert max(ImageStat.Stat(ImageChops.difference(frame_at(path).convert("L"), reference)).mean) < 4


# Resize


@pytest.mark.parametrize(
    ("name", "parameters", "size"),
    [
        ("clock.mp4", "width: 80", (80, 60)),
        ("clock.mp4", "height: 60", (80, 60)),
        ("clock.mp4", "width: 81, height: 41", (54, 40)),
        ("clock.mp4", "width: 100, height: 100, fit: cover", (100, 100)),
        ("clock.mp4", "width: 100, height: 100, fit: contain", (100, 100)),
        ("clock.mp4", "width: 100, height: 100, fit: fill", (100, 100)),
        ("clock.mp4", "width: 320", (160, 120)),
        ("clock.mp4", "width: 320, enlarge: true", (320, 240)),
        ("t90.mp4", "width: 60", (60, 80)),
        ("wide.mp4", "width: 160", (160, 60)),
        ("odd.mp4", "width: 161", (160, 120)),
        ("clock.webm", "width: 80", (80, 60)),
        ("clock.mkv", "width: 80", (80, 60)),
        ("clock.avi", "width: 80", (80, 60)),
    ],
)
async def test_a_film_is_scaled(
    name: str, parameters: str, size: tuple[int, int], films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    before = probe(films / name)
    found, path = await film_of(sandbox, desk, films / name, f"{{type: video_resize, {parameters}}}")
    assert (found.width, found.height) == size == frame_at(path).size
    assert found.duration == pytest.approx(before.duration, abs=2 * FRAME)
    assert found.audio_codec == before.audio_codec
    if name != "clock.avi":
        assert (found.video_codec, path.suffix) == (before.video_codec, Path(name).suffix)


async def test_contain_pads_with_black_and_cover_cuts(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    _, path = await film_of(
        sandbox, desk, films / "sides.mp4", "{type: video_resize, width: 96, height: 96, fit: contain}"
    )
    found = frame_at(path)
    spots = [((48, 4), (0, 0, 0)), ((48, 91), (0, 0, 0)), ((8, 48), RED), ((88, 48), BLUE), ((8, 20), RED)]
    assert all(near(found.getpixel(spot), colour, 12) for spot, colour in spots)  # type: ignore[arg-type]
    _, path = await film_of(sandbox, desk, films / "t90.mp4", "{type: video_resize, width: 96, height: 96, fit: cover}")
    found = frame_at(path)
    assert near(found.getpixel((48, 4)), RED, 12) and near(found.getpixel((48, 91)), BLUE, 12)  # type: ignore[arg-type]


def size_of(width: int, height: int) -> Probe:
    return Probe("video/mp4", 1, width, height, 25, "h264", None, 1, 0, False, True, None)


@given(
    source=st.tuples(st.integers(2, 8000), st.integers(2, 5000)),
    box=st.tuples(st.none() | st.integers(2, 7680), st.none() | st.integers(2, 7680)).filter(any),
    fit=st.sampled_from(("inside", "contain", "cover", "fill")),
    enlarge=st.booleans(),
)
def test_sides_are_even_and_keep_to_the_box(
    source: tuple[int, int], box: tuple[int | None, int | None], fit: Fit, enlarge: bool
) -> None:
    scaled = _scaled(size_of(*source), Box(*box, fit, enlarge))
    assert all(side >= 2 and side % 2 == 0 for side in scaled)
    if fit != "cover":
        assert all(limit is None or side <= limit for side, limit in zip(scaled, box, strict=True))
    if not enlarge:
        assert all(side <= limit for side, limit in zip(scaled, source, strict=True))
    if fit == "cover" and enlarge:
        assert all(limit is None or side >= limit - 1 for side, limit in zip(scaled, box, strict=True))
    for step in _fitted(size_of(*source), Box(*box, fit, enlarge))[1:]:
        assert [int(side) % 2 for side in step.partition("=")[2].split(":")[:2]] == [0, 0]


# What is refused


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{pipe}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{pipe}'\n",
}


@pytest.fixture(params=PLAYLISTS)
def playlist(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A list of films that says it is one, whose only film nobody may open."""
    pipe = tmp_path / "segment.ts"
    os.mkfifo(pipe)
    film = tmp_path / "film.mp4"
    film.write_text(PLAYLISTS[request.param].format(pipe=pipe))
    with ThreadPoolExecutor(1) as beside:
        # A pipe opens for writing as soon as anybody opens it for reading.
        opened = beside.submit(os.open, pipe, os.O_WRONLY)
        yield film
        was_opened = opened.done()
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.close(opened.result(10))
        os.close(reader)
    assert not was_opened


@pytest.mark.parametrize("step", ["video_thumbnail", "video_probe", "video_trim, end: 1s", "video_transcode",
                                  "video_resize, width: 80"])  # fmt: skip
async def test_a_playlist_is_refused_and_nothing_it_names_is_opened(
    playlist: Path, step: str, sandbox: Sandbox, desk: Desk
) -> None:
    with pytest.raises(VideoUnreadable, match="text/plain is not a video"):
        await made(sandbox, desk, playlist, f"step: {{type: {step}, keep: true}}")


@pytest.mark.parametrize(
    "mime", ["video/mp4", "video/webm", "video/x-msvideo", "video/ogg", "video/mpeg", "video/mp2t"]
)
def test_a_playlist_that_is_taken_for_a_film_is_not_followed(playlist: Path, mime: str) -> None:
    with pytest.raises(VideoUnreadable):
        run([*reading(playlist, mime), "-map", "0:V:0", "-f", "null", "-"], 20)


@pytest.mark.parametrize("name", ["clock.mp4", "clock.mov", "clock.mkv", "clock.webm", "clock.avi", "fast.mp4"])
async def test_a_film_that_ends_early_is_refused(name: str, films: Path, sandbox: Sandbox, desk: Desk) -> None:
    source = films / name
    if name == "fast.mp4":
        source = desk.folder / "whole.mp4"
        ffmpeg("-i", films / "clock.mp4", "-c", "copy", "-movflags", "+faststart", source)
    cut = desk.folder / name
    for part in (0.3, 0.7, 0.99):
        cut.write_bytes(source.read_bytes()[: int(source.stat().st_size * part)])
        for step in ("video_probe", "video_transcode"):
            with pytest.raises(VideoUnreadable, match="ends before the video does") as refusal:
                await made(sandbox, desk, cut, f"step: {{type: {step}, keep: true}}")
            assert (refusal.value.code, refusal.value.node) == ("VIDEO_UNREADABLE", "step")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("sound.mp4", "no moving pictures"), ("foreign.mkv", "its codec ffvhuff"), ("head.mp4", "it is damaged"),
     ("photo.png", "image/png is not a video")],
)  # fmt: skip
async def test_what_holds_no_film_is_refused_with_the_reason(
    name: str, reason: str, films: Path, sandbox: Sandbox, desk: Desk
) -> None:
    film = films / name
    if name == "head.mp4":
        film = desk.folder / name
        film.write_bytes((films / "clock.mp4").read_bytes()[:36] + b"\0\0\0\x10free" + bytes(8))
    if name == "photo.png":
        film = desk.folder / name
        Image.new("RGB", (9, 9)).save(film)
    for step in ("video_probe", "video_transcode"):
        with pytest.raises(VideoUnreadable, match=reason):
            await made(sandbox, desk, film, f"step: {{type: {step}, keep: true}}")


async def test_frames_beyond_the_limit_are_not_decoded(sandbox: Sandbox, desk: Desk) -> None:
    film = desk.folder / "huge.avi"
    ffmpeg(*plain("red", "8192x8192", FRAME), "-c:v", "mjpeg", film)
    for step in ("video_probe", "video_thumbnail", "video_transcode"):
        with pytest.raises(VideoTooLarge, match="8192 x 8192 pixels; the limit is 40000000"):
            await made(sandbox, desk, film, f"step: {{type: {step}, keep: true}}")


async def test_damaged_bytes_cost_no_more_than_an_error(films: Path, sandbox: Sandbox, desk: Desk) -> None:
    chance = random.Random(4)
    ends = set()
    for number in range(12):
        name = ("clock.mp4", "clock.webm", "clock.avi")[number % 3]
        content = bytearray((films / name).read_bytes())
        for _ in range(40):
            content[chance.randrange(12, len(content))] = chance.randrange(256)
        film = desk.folder / name
        film.write_bytes(content)
        try:
            await made(sandbox, desk, film, "step: {type: video_thumbnail}", 'out: {type: save, path: "out.png"}')
            ends.add("MADE")
        except SafelightError as error:
            ends.add(error.code)
    assert ends <= {"MADE", "VIDEO_UNREADABLE", "VIDEO_TOO_LARGE", "IMAGE_TIMEOUT"}
    assert len(ends) > 1


async def test_a_step_that_takes_too_long_is_ended_with_its_ffmpeg(sandbox: Sandbox, desk: Desk) -> None:
    film = desk.folder / "noise.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=4", *X264, film)
    step = "step: {type: video_transcode, format: webm, effort: 9, timeout: 500ms, keep: true}"
    with pytest.raises(ImageTimeout) as refusal:
        await made(sandbox, desk, film, step)
    assert refusal.value.node == "step"
    ended = await desk.apart(still_running, str(film))
    assert ended == []


def still_running(name: str) -> list[int]:
    """The programs that have this file among their arguments; a killed one counts until the kernel has ended it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_a_call_of_ffmpeg_has_an_end() -> None:
    with pytest.raises(ImageTimeout, match=r"0\.3 seconds"):
        run(["-f", "lavfi", "-i", "testsrc", "-f", "null", "-"], 0.3)


def test_each_failure_has_its_error() -> None:
    assert isinstance(fault_of("", -signal.SIGXFSZ), NodeFailed)
    assert isinstance(fault_of("[libvpx-vp9 @ 0x5] Error encoding frame: Memory allocation error", 183), MemoryError)
    assert isinstance(fault_of("[vost#0:0/rawvideo] error code: -12 (Cannot allocate memory)", 244), MemoryError)
    assert isinstance(fault_of("Error writing trailer: No space left on device", 228), StorageFull)
    assert fault_of("x", 1).__cause__ is not None


async def test_a_film_that_outgrows_a_file_is_refused(films: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    small = Sandbox(1, 2**31, file_size=4000)
    try:
        with pytest.raises(NodeFailed, match="larger than a file may be"):
            desk = Desk(tmp_path / "run", tmp_path / "out")
            await made(small, desk, films / "clock.mp4", "step: {type: video_transcode, keep: true}")
    finally:
        await small.close()


@pytest.mark.parametrize("kind", [name for name in INDEX if name.startswith("video_")])
def test_without_the_extra_a_flow_is_refused_when_it_is_checked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"video_trim": ", end: 1s", "video_resize": ", width: 80"}.get(kind, "")
    text = flow(f"step: {{type: {kind}{wanted}, keep: true}}")
    assert load_flow("films", text)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FlowInvalid, match=r"films\.yaml:4:3 .*pip install safelight\[video\]"):
        load_flow("films", text)


def test_without_the_extra_a_run_fails_with_what_to_do(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoUnavailable, match=r"pip install safelight\[video\]"):
        run(["-version"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "video_thumbnail", "at": "101%"}, {"type": "video_thumbnail", "at": -1},
        {"type": "video_thumbnail", "at": "soon"}, {"type": "video_thumbnail", "at": float("nan")},
        {"type": "video_thumbnail", "at": True}, {"type": "video_thumbnail", "length": "2min"},
        {"type": "video_thumbnail", "fps": 0}, {"type": "video_trim"}, {"type": "video_trim", "start": 2, "end": 1},
        {"type": "video_trim", "end": 1, "duration": 1}, {"type": "video_transcode", "codec": "vp9"},
        {"type": "video_transcode", "format": "webm", "codec": "h264"}, {"type": "video_transcode", "quality": 0},
        {"type": "video_transcode", "effort": 10}, {"type": "video_resize"}, {"type": "video_resize", "width": 1},
        {"type": "video_resize", "width": 8000}, {"type": "video_resize", "width": 80, "fit": "outside"},
    ],
)  # fmt: skip
def test_impossible_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        INDEX[wrong["type"]].model_validate(wrong)
