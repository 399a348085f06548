from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ImageUnreadable
from pipeline.imaging.whole import WALKS, check_whole

from .pictures import VARIANTS, animation, noisy, saved, trailing, vips

PHOTO = Path(__file__).parents[1] / "photos" / "sunset.jpg"


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return {name: make() for name, (_, make) in VARIANTS.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_whole_files_pass(name: str, made: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(made[name])
    check_whole(path, VARIANTS[name][0])


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith("tiff")])
def test_bytes_after_the_end_do_no_harm(name: str, made: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(made[name] if name.startswith("avif") else trailing(made[name]))
    check_whole(path, VARIANTS[name][0])


def _end_of_picture(name: str, data: bytes) -> int:
    """Where the first picture ends: a phone's second one may be cut without harm to it."""
    return data.index(b"\xff\xd9\xff\xd8", len(data) // 4) + 2 if name == "jpeg mpo" else len(data)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_cut_anywhere_is_refused(name: str, made: dict[str, bytes], tmp_path: Path) -> None:
    data, format = made[name], VARIANTS[name][0]
    end = _end_of_picture(name, data)
    path = tmp_path / "image"
    for cut in {1, 2, 3, 8, 16, *range(12, end, max(1, end // 150)), end - 30, end - 9, end - 5, end - 3, end - 1}:
        if _only_padding_is_missing(format, data, cut):
            continue
        path.write_bytes(data[: max(1, cut)])
        with pytest.raises(ImageUnreadable) as refusal:
            check_whole(path, format)
        assert "ends before" in str(refusal.value) or cut < 40


def _only_padding_is_missing(format: str, data: bytes, cut: int) -> bool:
    return format in ("webp", "tiff") and not any(data[cut:])


@pytest.mark.parametrize("format", WALKS)
def test_an_empty_file_is_refused(format: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.touch()
    with pytest.raises(ImageUnreadable, match="empty"):
        check_whole(path, format)


def test_a_header_without_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    data = saved(noisy(), "PNG")
    path.write_bytes(data[:33] + data[-12:])
    with pytest.raises(ImageUnreadable, match="no image"):
        check_whole(path, "png")
    path.write_bytes(b"\xff\xd8\xff\xd9")
    with pytest.raises(ImageUnreadable, match="no image"):
        check_whole(path, "jpeg")
    path.write_bytes(b"GIF89a\1\0\1\0\0\0\0;")
    with pytest.raises(ImageUnreadable, match="no image"):
        check_whole(path, "gif")


def test_damage_in_the_pixels_is_left_to_the_decoder(tmp_path: Path) -> None:
    data = bytearray(saved(noisy(), "JPEG"))
    middle = len(data) * 3 // 4
    data[middle : middle + 4] = b"\xff\xc1\xff\xff"
    path = tmp_path / "image"
    path.write_bytes(data)
    check_whole(path, "jpeg")


def test_a_photograph_of_a_camera_is_whole() -> None:
    check_whole(PHOTO, "jpeg")


HOSTILE = {
    "jpeg of markers": ("jpeg", b"\xff\xd8" + b"\xff\x01" * 20_000_000),
    "jpeg of short segments": ("jpeg", b"\xff\xd8" + b"\xff\xfe\0\0" * 10_000_000),
    "jpeg of padding": ("jpeg", b"\xff\xd8" + b"\xff" * 40_000_000),
    "jpeg of stuffed bytes": ("jpeg", b"\xff\xd8\xff\xda\0\2" + b"\xff\0" * 20_000_000),
    "png of empty chunks": ("png", b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0aaaa\0\0\0\0" * 3_000_000),
    "webp of empty chunks": ("webp", b"RIFF\xff\xff\xff\x7fWEBP" + b"aaaa\0\0\0\0" * 4_000_000),
    "gif of filler": ("gif", b"GIF89a" + bytes(20_000_000)),
    "gif of tiny blocks": ("gif", b"GIF89a" + bytes(7) + b"!\xfe" + b"\x01a" * 10_000_000),
    "avif of empty boxes": ("avif", b"\0\0\0\x08free" * 5_000_000),
    "tiff in a circle": ("tiff", b"II*\0\x08\0\0\0" + b"\0\0\x08\0\0\0"),
    "tiff of directories that overlap": (
        "tiff",
        b"II*\0\x08\0\0\0" + b"".join(b"\xff\x0f" + (8 + 2 * n).to_bytes(4, "little") for n in range(1, 500_000)),
    ),
    "avif with endless extents": (
        "avif",
        (12 + 16 + 6 * 500_000).to_bytes(4, "big")
        + b"meta\0\0\0\0"
        + (16 + 6 * 500_000).to_bytes(4, "big")
        + b"iloc\0\0\0\0\0\0\xff\xff"
        + b"\0\1\0\0\xff\xff" * 500_000,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structures_end_in_time(name: str, tmp_path: Path) -> None:
    format, data = HOSTILE[name]
    path = tmp_path / "image"
    path.write_bytes(data)
    start = time.perf_counter()
    if name == "tiff in a circle":
        check_whole(path, format)
    else:
        with pytest.raises(ImageUnreadable):
            check_whole(path, format)
    assert time.perf_counter() - start < 10


SEEDS = [saved(noisy(8, 8), "JPEG"), saved(noisy(8, 8), "PNG"), saved(noisy(8, 8), "WEBP"), animation("GIF")]
SEEDS += [vips(".avif", noisy(16, 16), effort=0), vips(".tif", noisy(32, 32), tile=True, tile_width=16, tile_height=16)]
FORMATS = ["jpeg", "png", "webp", "gif", "avif", "tiff"]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_damaged_structures_pass_or_are_refused_but_nothing_else(
    which: int, edits: list[tuple[float, int]], tmp_path: Path
) -> None:
    data = bytearray(SEEDS[which])
    for where, value in edits:
        data[int(where * len(data))] = value
    path = tmp_path / "image"
    path.write_bytes(data)
    try:
        check_whole(path, FORMATS[which])
    except ImageUnreadable as refusal:
        assert str(refusal).startswith("The image cannot be read: ")
