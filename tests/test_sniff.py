from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.sniff import HEAD_SIZE, agrees, allowed, canonical, extension, media_type


def picture(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, format)
    return buffer.getvalue()


def zipped(**names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in names.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + b"\0\0\0\x08free"


IMAGES = {
    "image/jpeg": picture("JPEG"),
    "image/png": picture("PNG"),
    "image/webp": picture("WEBP"),
    "image/gif": picture("GIF"),
    "image/tiff": picture("TIFF"),
    "image/avif": picture("AVIF"),
    "image/bmp": picture("BMP"),
    "image/x-icon": picture("ICO"),
    "image/jp2": picture("JPEG2000"),
}
BYTES = {
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "application/zip": zipped(a="x"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": zipped(
        **{"[Content_Types]_dot_xml": "<x/>", "word__document_dot_xml": "<x/>"}
    ),
    "application/vnd.oasis.opendocument.text": zipped(mimetype="application/vnd.oasis.opendocument.text"),
    "application/gzip": gzip.compress(b"x"),
    "application/x-bzip2": bz2.compress(b"x"),
    "application/x-xz": lzma.compress(b"x"),
    "application/x-tar": tarred(),
    "application/x-7z-compressed": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24),
    "application/msword": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
    "application/vnd.sqlite3": b"SQLite format 3\0" + bytes(84),
    "application/x-executable": b"\x7fELF\2\1\1" + bytes(57),
    "audio/wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "audio/flac": b"fLaC\0\0\0\x22" + bytes(30),
    "audio/mpeg": b"ID3\x03\0\0\0\0\0\0" + bytes(20),
    "audio/mp4": ftyp(b"M4A ", b"mp42"),
    "audio/ogg": b"OggS\0\2" + bytes(22) + b"\x01vorbis",
    "video/x-msvideo": b"RIFF\0\1\0\0AVI LIST",
    "video/mp4": ftyp(b"isom", b"iso2", b"avc1"),
    "video/quicktime": ftyp(b"qt  ", b"qt  "),
    "video/x-matroska": bytes.fromhex("1a45dfa3a34286810142f7810142f2810442f381084282886d6174726f736b61"),
    "video/mp2t": (b"G\x40\x11\x10" + bytes(184)) * 3,
    "video/webm": bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282847765626d"),
    "font/woff2": b"wOF2\0\1\0\0" + bytes(40),
}


@pytest.mark.parametrize("mime", IMAGES)
def test_images_are_known_by_their_bytes_whatever_they_are_called(mime: str) -> None:
    assert media_type(IMAGES[mime][:HEAD_SIZE]) == mime
    assert media_type(IMAGES[mime][:HEAD_SIZE], "report.csv") == mime


@pytest.mark.parametrize("mime", BYTES)
def test_other_files_are_known_by_their_bytes(mime: str) -> None:
    assert media_type(BYTES[mime], "photo.jpg") == mime


def test_all_kinds_of_tiff() -> None:
    grey = pyvips.Image.black(8, 8)
    assert media_type(bytes(grey.tiffsave_buffer(bigtiff=True))) == "image/tiff"
    assert media_type(b"MM\0*\0\0\0\x08") == "image/tiff"
    assert media_type(b"MM\0+\0\x08\0\0" + bytes(8)) == "image/tiff"


@pytest.mark.parametrize(
    ("head", "mime"),
    [
        (ftyp(b"avif", b"mif1"), "image/avif"),
        (ftyp(b"avis", b"msf1"), "image/avif"),
        (ftyp(b"mif1", b"miaf", b"avif"), "image/avif"),
        (ftyp(b"heic", b"mif1"), "image/heic"),
        (ftyp(b"mif1", b"heic"), "image/heic"),
        (ftyp(b"mif1"), "image/heif"),
        (ftyp(b"isom", b"avif"), "video/mp4"),
        (ftyp(b"mp42", b"isom"), "video/mp4"),
        (ftyp(b"iso5", b"iso6", b"mp41"), "video/mp4"),
        (ftyp(b"M4V ", b"mp42"), "video/mp4"),
        (b"\0\0\0\x08wide\0\1\2\3mdat", "video/quicktime"),
        (b"\0\0\x0c\x94moov\0\0\0lmvhd", "video/quicktime"),
        (b"the moov box", "text/plain"),
        (b"G" * 4000, "text/plain"),
    ],
)
def test_brands_tell_pictures_from_films(head: bytes, mime: str) -> None:
    assert media_type(head) == mime


@pytest.mark.parametrize(
    ("text", "name", "mime"),
    [
        ("hello world\nsecond line", "", "text/plain"),
        ("Grüße aus Köln ☀\n", "", "text/plain"),
        ("\ufeffwith a mark", "", "text/plain"),
        ("x" * 20_000, "", "text/plain"),
        ("é" * 9_000, "a.txt", "text/plain"),
        ("# Title\n\ntext", "README.md", "text/markdown"),
        ("<p align=center>Logo</p>\n\n# Title", "README.md", "text/markdown"),
        ('{"a": [1, 2, 3]}', "", "application/json"),
        ("[1, 2, 3]", "", "application/json"),
        (json.dumps([{"number": n} for n in range(5000)]), "", "application/json"),
        (json.dumps({"text": "x" * 20_000}), "data.bin", "application/json"),
        ("{ not json }", "a.json", "text/plain"),
        ("[1] A. Author, A Book\n" * 600, "", "text/plain"),
        ("[[section]]\nkey = 1\n" * 600, "", "text/plain"),
        ('{"a": 1}\n{"a": 2}\n', "log.ndjson", "application/x-ndjson"),
        ("[" * 6000, "", "text/plain"),
        ("a,b,c\n1,2,3\n4,5,6\n", "", "text/csv"),
        ("a;b;c\n1;2;3\n4;5;6\n", "", "text/csv"),
        ("a\tb\tc\n1\t2\t3\n4\t5\t6\n", "", "text/tab-separated-values"),
        ("a,b\n1,2\n", "table.csv", "text/csv"),
        ("a,b,c\n1,2,3\n4,5,6\n", "notes.txt", "text/plain"),
        ("Dear Sir, I write,\nas you know, to say\n", "", "text/plain"),
        ("<!DOCTYPE html><title>x</title>", "", "text/html"),
        ("  <!-- hi --><html><body>", "page.txt", "text/html"),
        ("<script>alert(1)</script>", "photo.jpg", "text/html"),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "", "image/svg+xml"),
        ('<?xml version="1.0"?>\n<!-- x -->\n<svg:svg xmlns:svg="x">', "a.txt", "image/svg+xml"),
        (
            '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "a" "b" [<!ENTITY e "x">]><svg width="1">',
            "",
            "image/svg+xml",
        ),
        ('<?xml version="1.0"?><feed/>', "", "application/xml"),
        ("<feed><a/></feed>", "a.xml", "application/xml"),
        ("<feed><a/></feed>", "", "text/plain"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nhi", "", "text/vtt"),
        ("a: 1\nb: 2\n", "flow.yaml", "application/yaml"),
        ("ID3 tags are explained here", "", "text/plain"),
        ("OTTO has no font", "", "text/plain"),
        ("BM is not always a bitmap, as this long line of text wants to show", "", "text/plain"),
        ("PK is short for something else", "", "text/plain"),
    ],
)
def test_text(text: str, name: str, mime: str) -> None:
    assert media_type(text.encode()[:HEAD_SIZE], name) == mime


def test_utf_16_is_text() -> None:
    assert media_type("hello world".encode("utf-16")) == "text/plain"


@pytest.mark.parametrize(
    "head", [b"", bytes(8192), bytes(range(256)) * 32, b"\xff" * 100, os.urandom(0), b"\0text\0", b"\x00\x01\x02\x03"]
)
def test_bytes_nobody_knows(head: bytes) -> None:
    assert media_type(head, "photo.jpg") == "application/octet-stream"


def test_a_character_cut_by_the_end_of_the_head_does_not_matter() -> None:
    text = ("x" + "€" * 4000).encode()
    assert media_type(text[:HEAD_SIZE]) == "text/plain"
    assert media_type(text[:HEAD_SIZE] + b"more than was asked for") == "text/plain"
    assert media_type(text[:99]) == "application/octet-stream"


@given(st.binary(max_size=300))
def test_any_bytes_have_a_type(head: bytes) -> None:
    main, slash, sub = media_type(head).partition("/")
    assert main and slash and sub


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FFF), min_size=1, max_size=200))
def test_words_are_never_called_anything_but_a_kind_of_text(words: str) -> None:
    found = media_type(b"word " + words.encode())
    assert found.startswith("text/"), found


@pytest.mark.parametrize(
    ("found", "patterns", "wanted"),
    [
        ("image/png", ["*/*"], True),
        ("image/png", ["image/*"], True),
        ("image/png", ["IMAGE/PNG"], True),
        ("image/jpeg", ["image/jpg"], True),
        ("image/png", ["image/jpeg", "application/pdf"], False),
        ("text/plain", ["image/*"], False),
        ("application/pdf", ["image/*", "application/pdf"], True),
        ("image/png", [], False),
        ("imagery/png", ["image/*"], False),
        ("image/png", [".png"], False),
    ],
)
def test_allowed(found: str, patterns: list[str], wanted: bool) -> None:
    assert allowed(found, patterns) is wanted


@pytest.mark.parametrize(
    ("declared", "found", "wanted"),
    [
        (None, "image/png", True),
        ("", "text/plain", True),
        ("application/octet-stream", "image/png", True),
        ("application/x-made-up", "image/png", True),
        ("text/plain", "image/png", True),
        ("image/jpeg", "image/png", True),
        ("image/jpeg; charset=binary", "image/jpeg", True),
        ("image/jpeg", "text/html", False),
        ("image/png", "application/octet-stream", False),
        ("image/x-targa", "application/octet-stream", True),
        ("image/x-targa", "text/html", False),
        ("image/svg+xml", "application/xml", True),
        ("image/svg+xml", "text/html", False),
        ("video/mp4", "audio/mp4", True),
        ("audio/ogg", "application/ogg", True),
        ("video/mp2t", "application/octet-stream", True),
        ("video/mp4", "image/jpeg", False),
        ("application/pdf", "application/pdf", True),
        ("application/pdf", "text/html", False),
        ("application/pdf", "application/octet-stream", False),
        ("application/zip", "application/vnd.oasis.opendocument.text", True),
        ("application/zip", "image/png", False),
    ],
)
def test_what_was_declared_against_what_was_found(declared: str | None, found: str, wanted: bool) -> None:
    assert agrees(declared, found) is wanted


@pytest.mark.parametrize(
    ("mime", "wanted"),
    [
        ("image/jpeg", "jpg"),
        ("image/png", "png"),
        ("image/webp", "webp"),
        ("image/avif", "avif"),
        ("image/gif", "gif"),
        ("image/tiff", "tiff"),
        ("image/svg+xml", "svg"),
        ("application/pdf", "pdf"),
        ("application/zip", "zip"),
        ("text/plain; charset=utf-8", "txt"),
        ("text/csv", "csv"),
        ("application/json", "json"),
        ("video/mp4", "mp4"),
        ("application/octet-stream", "bin"),
        ("application/x-made-up", ""),
    ],
)
def test_extension(mime: str, wanted: str) -> None:
    assert extension(mime) == wanted


def test_one_spelling_for_each_type() -> None:
    assert canonical(" Image/JPG ; q=1") == "image/jpeg"
