"""What a file is, told by its first bytes; its name and its declared type are only ever a hint.

Raster images and the common containers are decided by their own exact signatures, text by what it says, the rest by
puremagic where its match is strong. Media types are lower case and without parameters.
"""

from __future__ import annotations

import csv
import json
import mimetypes
import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

import puremagic
from puremagic.main import magic_header_array, multi_part_dict

HEAD_SIZE = 8192
"""How many bytes of a file are enough to tell its type."""
UNKNOWN = "application/octet-stream"
PLAIN_TEXT = "text/plain"

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"II+\0\x08\0\0\0", "image/tiff"),
    (0, b"MM\0+\0\x08\0\0", "image/tiff"),
    (0, b"8BPS\0", "image/vnd.adobe.photoshop"),
    (0, b"\0\0\x01\0", "image/x-icon"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"\xff\x4f\xff\x51", "image/jp2"),
    (0, b"v/1\x01", "image/x-exr"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (4, b"1AY&SY", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (257, b"ustar", "application/x-tar"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\0asm", "application/wasm"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
    (0, b"OTTO\0", "font/otf"),
    (0, b"ID3\x02", "audio/mpeg"),
    (0, b"ID3\x03", "audio/mpeg"),
    (0, b"ID3\x04", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\0\0\x01\xba", "video/mpeg"),
    (0, b"\0\0\x01\xb3", "video/mpeg"),
)
ELSEWHERE = tuple(row for row in SIGNATURES if row[0])
"""The signatures that do not begin with the file."""
FRAME_SYNCS = {
    b"\xff\xfb": "audio/mpeg",
    b"\xff\xfa": "audio/mpeg",
    b"\xff\xf3": "audio/mpeg",
    b"\xff\xf2": "audio/mpeg",
}
FRAME_SYNCS |= {b"\xff\xf1": "audio/aac", b"\xff\xf9": "audio/aac"}
RIFF_FORMS = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
STILL_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})
QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"pnot"})
"""What QuickTime files of before the `ftyp` box begin with."""
PACKET, PACKETS_LOOKED_AT = 188, 20
"""Bytes of a packet of an MPEG transport stream (ISO/IEC 13818-1), each beginning with a G."""
BRANDS = {b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"crx ": "image/x-canon-cr3"}

OFFICE = (
    (b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
)

TEXT_BY_ENDING = {
    ".txt": PLAIN_TEXT,
    ".log": PLAIN_TEXT,
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".toml": "application/toml",
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".vtt": "text/vtt",
    ".srt": "application/x-subrip",
}

HTML_ROOTS = frozenset({"html", "head", "body", "script"})
HTML_STARTS = frozenset(
    {"style", "title", "meta", "link", "table", "div", "p", "a", "br", "h1", "h2", "h3", "iframe", "font", "b", "img"}
    | {"form", "span"}
)
"""First elements of HTML fragments, and of Markdown that begins with one."""
CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
CONTROL_BYTES = bytes(code for code in range(32) if CONTROL.match(chr(code)))
START = 64
"""Bytes in which what is no text mostly shows it."""
PROLOGUE = re.compile(
    r"\s+|<\?.*?\?>|<!--.*?-->|<!doctype\s+(?P<doctype>[\w:.-]+)(?:[^<>\[]|\[.*?\]\s*(?=>))*>", re.S | re.I
)
ROOT = re.compile(r"<(?:[\w.-]+:)?(?P<name>[A-Za-z_][\w.-]*)[\s/>]")
JSON_START = re.compile(
    r'\s*(?:\{\s*"|(?:\[\s*)+(?:\{\s*["}]|"|(?:-?\d[\d.eE+-]*|true|false|null)\s*,))',
)

MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
STRONG_MATCH = 4
"""Shortest signature, in bytes, that puremagic is believed for."""

ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/tif": "image/tiff",
    "image/x-tiff": "image/tiff",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-ms-bmp": "image/bmp",
    "application/x-pdf": "application/pdf",
    "application/x-zip-compressed": "application/zip",
    "application/x-zip": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-sqlite3": "application/vnd.sqlite3",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "video/avi": "video/x-msvideo",
    "text/xml": "application/xml",
    "binary/octet-stream": UNKNOWN,
}
MEDIA_FORMATS = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/tiff": "tiff",
    "image/svg+xml": "svg",
    "image/heic": "heic",
    "image/heif": "heic",
    "image/jxl": "jxl",
    "application/pdf": "pdf",
}
"""The media types that can be read as pictures, and the formats they are in; nobody else maps one to the other."""
FORMAT_TYPES = {name: mime for mime, name in reversed(MEDIA_FORMATS.items())}
ALWAYS_RECOGNISED = frozenset(
    {f"image/{name}" for name in ("jpeg", "png", "gif", "webp", "tiff", "avif", "heic", "bmp", "jxl", "jp2", "x-icon")}
    | {"application/pdf", "application/zip"}
)
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/tiff": "tiff",
    "image/jxl": "jxl",
    "image/jp2": "jp2",
    "image/x-icon": "ico",
    "image/vnd.adobe.photoshop": "psd",
    "application/gzip": "gz",
    "application/x-xz": "xz",
    "application/x-bzip2": "bz2",
    "application/zstd": "zst",
    "application/vnd.rar": "rar",
    "application/yaml": "yaml",
    "application/toml": "toml",
    "application/x-ndjson": "ndjson",
    "application/x-subrip": "srt",
    "application/xml": "xml",
    "application/vnd.sqlite3": "sqlite",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "video/x-matroska": "mkv",
    "video/mp2t": "ts",
    "text/markdown": "md",
    "text/plain": "txt",
    "text/javascript": "js",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/otf": "otf",
    "font/ttf": "ttf",
    UNKNOWN: "bin",
}


def media_type(head: bytes, name: str = "") -> str:
    """The exact media type of a file by its first `HEAD_SIZE` bytes; `name` only decides between kinds of text."""
    head = bytes(head[:HEAD_SIZE])
    found = _by_signature(head) or _by_container(head) or _by_text(head, name)
    return found or _by_packets(head) or _by_catalogue(head) or UNKNOWN


def allowed(found: str, patterns: Sequence[str]) -> bool:
    """Whether the type `found` is one of `patterns`: exact types, `image/*`, `*/*`."""
    if "*/*" in patterns:  # as most have it
        return True
    found = canonical(found)
    main = found.partition("/")[0]
    return any(pattern in ("*/*", "*", f"{main}/*", found) for pattern in map(canonical, patterns))


def may_be_allowed(declared: str, patterns: Sequence[str]) -> bool:
    """Whether bytes that agree with what the sender `declared` can be of a type that is allowed by `patterns`."""
    claim = canonical(declared)
    kind = _kind(claim)
    if kind is None or allowed(claim, patterns):
        return True
    for pattern in map(canonical, patterns):
        # Of the types that are of no kind only some that are of any application can come of such a claim.
        if _kind(pattern) == kind or (_kind(pattern) is None and pattern.partition("/")[0] in ("*", "application")):
            return True
    return False


def agrees(declared: str | None, found: str) -> bool:
    """Whether the bytes, recognised as `found`, can be what the sender `declared`.

    Only a claim to be an image, audio, video, PDF or zip can be untrue; which image it is, the bytes decide. Bytes
    that nobody recognises contradict just the types that would have been recognised for certain.
    """
    claim = canonical(declared or "")
    kind, found = _kind(claim), canonical(found)
    if kind is None or kind == _kind(found):
        return True
    if claim == "image/svg+xml" and found == "application/xml":
        return True
    return found == UNKNOWN and claim not in ALWAYS_RECOGNISED


def extension(mime: str) -> str:
    """The usual extension of a media type, without the dot; empty for a type nobody knows."""
    mime = canonical(mime)
    return EXTENSIONS.get(mime) or (mimetypes.guess_extension(mime, strict=False) or "").lstrip(".")


def canonical(declared: str) -> str:
    """A media type as this module writes it: lower case, no parameters, one spelling for each."""
    bare = declared.partition(";")[0].strip().lower()
    return ALIASES.get(bare, bare)


def _kind(mime: str) -> str | None:
    main = mime.partition("/")[0]
    if main == "image":
        return "image"
    if main in ("audio", "video") or mime == "application/ogg":
        return "sound or film"
    if mime == "application/pdf":
        return "pdf"
    if mime in ("application/zip", "application/epub+zip", "application/java-archive") or mime.startswith(
        ("application/vnd.openxmlformats-", "application/vnd.oasis.opendocument.")
    ):
        return "zip"
    return None


# Signatures of bytes


def _by_signature(head: bytes) -> str | None:
    for offset, signature, mime in _signatures().get(head[:1], ELSEWHERE):
        if head.startswith(signature, offset):
            return mime
    return FRAME_SYNCS.get(head[:2])


@cache
def _signatures() -> Mapping[bytes, Sequence[tuple[int, bytes, str]]]:
    """In their order, those that a file with this first byte can bear; every upload asks for them."""
    firsts = {signature[:1] for offset, signature, _ in SIGNATURES if not offset}
    return {first: tuple(row for row in SIGNATURES if row[0] or row[1].startswith(first)) for first in firsts}


def _by_container(head: bytes) -> str | None:
    if head.startswith(b"RIFF"):
        return RIFF_FORMS.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    if head[4:8] in QUICKTIME_BOXES and head.startswith(b"\0"):
        return "video/quicktime"
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0" and len(head) >= 26:
        return "image/bmp"
    if head.startswith(b"PK\x03\x04"):
        return _by_zip_entries(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head[:128] else "audio/ogg"
    return None


def _by_brands(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    listed = head[16 : min(size, len(head), 1024)]
    major = head[8:12]
    compatible = {listed[at : at + 4] for at in range(0, len(listed) - 3, 4)}
    if major in AVIF_BRANDS or (major in STILL_BRANDS and compatible & AVIF_BRANDS):
        return "image/avif"
    if major in HEIC_BRANDS or (major in STILL_BRANDS and compatible & HEIC_BRANDS):
        return "image/heic"
    if major in STILL_BRANDS:
        return "image/heif"
    return BRANDS.get(major, "video/mp4")


def _by_zip_entries(head: bytes) -> str:
    if head[30:38] == b"mimetype":
        stored = head[38 : 38 + int.from_bytes(head[22:26], "little")][:100].decode("ascii", "replace")
        if MEDIA_TYPE.fullmatch(stored) and stored.startswith("application/"):
            return stored
    if b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        return next((mime for folder, mime in OFFICE if folder in head), "application/zip")
    return "application/zip"


def _by_packets(head: bytes) -> str | None:
    starts = head[: PACKET * PACKETS_LOOKED_AT : PACKET]
    return "video/mp2t" if len(starts) > 2 and set(starts) == set(b"G") else None


@cache
def _catalogued_starts() -> Mapping[int, frozenset[bytes]]:
    """By offset, the first bytes of every signature in the catalogue that is believed; asking it all takes 0.5 ms."""
    rows = magic_header_array
    parts = [
        (row.byte_match + more.byte_match, more) for row in rows for more in multi_part_dict.get(row.byte_match, ())
    ]
    starts: defaultdict[int, set[bytes]] = defaultdict(set)
    for signature, row in [*((row.byte_match, row) for row in rows), *parts]:
        if row.offset >= 0 and len(signature) >= STRONG_MATCH:
            starts[row.offset].add(signature[:STRONG_MATCH])
    return {offset: frozenset(found) for offset, found in starts.items()}


def _by_catalogue(head: bytes) -> str | None:
    for at, starts in _catalogued_starts().items():
        if head[at : at + STRONG_MATCH] in starts:
            break
    else:
        return None
    try:
        guesses = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError, IndexError):
        return None
    for guess in guesses:
        # Its footers would be compared with the end of the head, which is not the end of the file.
        if (
            len(guess.byte_match) < STRONG_MATCH
            or guess.offset < 0
            or not head.startswith(guess.byte_match, guess.offset)
        ):
            continue
        mime = canonical(guess.mime_type or "")
        if MEDIA_TYPE.fullmatch(mime) and mime not in ALWAYS_RECOGNISED and not mime.startswith("text/"):
            return mime
    return None


# Text


def _by_text(head: bytes, name: str) -> str | None:
    text = _decoded(head)
    if text is None:
        return None
    ending = _ending(name.lower())
    return _by_markup(text, ending) or _by_json(text, ending, len(head) < HEAD_SIZE) or _by_name_or_table(text, ending)


def _has_control(head: bytes) -> bool:
    """Several times as fast as to look for them in the text."""
    return len(head.translate(None, CONTROL_BYTES)) < len(head)


def _ending(name: str) -> str:
    """Its last extension with the dot, as `PurePath.suffix` has it, which costs ten times as much."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return dot + ending if stem and ending else ""


def _decoded(head: bytes) -> str | None:
    """The head as text, None when it is not text; a character cut by the end of the head does not matter."""
    if not head:
        return None
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    if encoding == "utf-8" and (_has_control(head[:START]) or _has_control(head)):
        return None
    bare, cuts = head.removeprefix(BOM_UTF8), 4 if len(head) == HEAD_SIZE else 1
    for cut in range(cuts):
        try:
            text = bare[: len(bare) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if encoding == "utf-16" and CONTROL.search(text) else text
    return None


def _by_markup(text: str, ending: str) -> str | None:
    doctype, at = "", 0
    while step := PROLOGUE.match(text, at):
        doctype, at = (step["doctype"] or doctype).lower(), step.end()
    root = ROOT.match(text, at)
    name = root["name"].lower() if root else ""
    if name == "svg" or (not root and doctype == "svg"):
        return "image/svg+xml"
    if doctype == "html" or name in HTML_ROOTS:
        return "text/html"
    if text.lstrip().startswith("<?xml") or (root and ending == ".xml"):
        return "application/xml"
    return "text/html" if name in HTML_STARTS and ending not in TEXT_BY_ENDING else None


def _by_json(text: str, ending: str, whole: bool) -> str | None:
    if not (_parses(text) if whole else JSON_START.match(text)):
        return None
    return "application/json" if whole else TEXT_BY_ENDING.get(ending, "application/json")


def _parses(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _by_name_or_table(text: str, ending: str) -> str:
    if text.startswith("WEBVTT"):
        return "text/vtt"
    return TEXT_BY_ENDING.get(ending) or _by_table(text)


def _by_table(text: str) -> str:
    """CSV only for what can hardly be prose: three rows or more, all with the same three columns or more."""
    lines = text.splitlines()[:20] if "\n" in text or "\r" in text else []
    if len(lines) < 3:
        return PLAIN_TEXT
    for delimiter, mime in ((",", "text/csv"), (";", "text/csv"), ("\t", "text/tab-separated-values")):
        try:
            widths = {len(row) for row in csv.reader(lines[: max(3, len(lines) - 1)], delimiter=delimiter) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and widths.pop() >= 3:
            return mime
    return PLAIN_TEXT
