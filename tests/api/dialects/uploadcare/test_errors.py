"""The vendor's error table: every row that a request can meet, with code, status and text, in both voices."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

import pytest

from pipeline.api.dialects.uploadcare.errors import NEVER, OURS, TABLE, row_of
from pipeline.api.dialects.uploadcare.from_url import BROKE
from pipeline.errors import Internal, SafelightError, ScannerUnavailable, UploadBusy
from tests.api.house import photo

from .desk import MIB, UNKNOWN, Desk, Field, form, signature

KEY: list[Field] = [("UPLOADCARE_PUB_KEY", "demopublic")]
PUB: list[Field] = [("pub_key", "demopublic")]
FILE: list[Field] = [("file", b"some text", "a.txt")]
START: list[Field] = [*KEY, ("filename", "a.bin"), ("content_type", "application/octet-stream")]
IN_TIME = str(int(time.time()) + 600)


def base(*more: Field) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/base/", [*FILE, *KEY, *more]


def key(name: str, *more: Field) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/base/", [*FILE, ("UPLOADCARE_PUB_KEY", name), *more]


def start(*more: Field) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/multipart/start/", [*START, *more]


def complete(*more: Field) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/multipart/complete/", [*KEY, *more]


def group(*more: Field) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/group/", [*PUB, *more]


def fetch(url: str) -> tuple[str, str, Sequence[Field]]:
    return "POST", "/from_url/", [*PUB, ("source_url", url)]


LONG = "k" * 65
ROWS: list[tuple[str, tuple[str, str, Sequence[Field]], int, str]] = [
    ("AutostoreDisabledError", key("draftpublic", ("UPLOADCARE_STORE", "1")), 403, "Autostore is disabled."),
    ("BaseViewsError", base(("tags", "no spaces, please")), 400, "The tag `no spaces` cannot be kept: letters, digits"),
    ("FileMetadataKeyDuplicatedError", base(("metadata[a]", "1"), ("metadata[a]", "2")), 400, "File's metadata key `a` has a duplicate."),  # noqa: E501
    ("FileMetadataKeyEmptyError", base(("metadata[]", "1")), 400, "File's metadata key can not be empty."),
    ("FileMetadataKeyForbiddenError", base(("metadata[a b]", "1")), 400, "File's metadata key `a b` contains symbols not allowed by the metadata key format."),  # noqa: E501
    ("FileMetadataKeyLengthTooBigError", base((f"metadata[{LONG}]", "1")), 400, f"Length of file metadata key `{LONG}` can not be more than 64 symbols."),  # noqa: E501
    ("FileMetadataKeysNumberTooBigError", base(*((f"metadata[k{n}]", "1") for n in range(51))), 400, "A file can not have more than 50 metadata keys."),  # noqa: E501
    ("FileMetadataValueEmptyError", base(("metadata[a]", "")), 400, "Value of the file metadata key `a` can not be empty."),  # noqa: E501
    ("FileMetadataValueLengthTooBigError", base(("metadata[a]", "v" * 513)), 400, "Value of file metadata's key `a` can not be more than 512 symbols in length."),  # noqa: E501
    ("NullCharactersForbiddenError", base(("metadata[a]", "1\0")), 400, "Null characters are not allowed."),
    ("ProjectPublicKeyInvalidError", key("nobody"), 403, "UPLOADCARE_PUB_KEY is invalid."),
    ("ProjectPublicKeyRequiredError", ("POST", "/base/", FILE), 403, "UPLOADCARE_PUB_KEY is required."),
    ("ProjectPublicKeyRequiredError", ("POST", "/multipart/complete/", [("uuid", UNKNOWN)]), 403, "UPLOADCARE_PUB_KEY is required."),  # noqa: E501
    ("ProjectPublicKeyRequiredError", ("POST", "/group/", [("files[]", UNKNOWN)]), 403, "pub_key is required."),
    ("ProjectPublicKeyInvalidError", ("POST", "/from_url/", [("pub_key", "x"), ("source_url", "y")]), 403, "pub_key is invalid."),  # noqa: E501
    ("RequestFiledsNumberLimitExceededError", base(*((f"f{n}", "1") for n in range(1000))), 400, "The request contains too many HTTP POST fields."),  # noqa: E501
    ("RequestSizeLimitExceededError", ("POST", "/base/", [("file", bytes(MIB + 1), "a.bin"), *KEY]), 413, "The size of the request is too large."),  # noqa: E501
    ("SignatureRequiredError", key("signedpublic"), 400, "`signature` is required."),
    ("SignatureExpirationRequiredError", key("signedpublic", ("signature", "ab")), 400, "`expire` is required."),
    ("SignatureExpirationInvalidError", key("signedpublic", ("signature", "ab"), ("expire", "soon")), 400, "`expire` must be a UNIX timestamp."),  # noqa: E501
    ("SignatureExpirationError", key("signedpublic", ("signature", signature("signedsecret", "1")), ("expire", "1")), 403, "Expired signature."),  # noqa: E501
    ("SignatureInvalidError", key("signedpublic", ("signature", signature("x", IN_TIME)), ("expire", IN_TIME)), 403, "Invalid signature."),  # noqa: E501
    ("SignatureRequiredError", ("POST", "/group/", [("pub_key", "signedpublic")]), 400, "`signature` is required."),
    ("SignatureRequiredError", ("POST", "/from_url/", [("pub_key", "signedpublic")]), 400, "`signature` is required."),
    ("SignatureRequiredError", ("POST", "/multipart/start/", [("UPLOADCARE_PUB_KEY", "signedpublic")]), 400, "`signature` is required."),  # noqa: E501
    ("UploadFailedError", ("POST", "/base/", [("file", photo()[:200], "a.jpg"), *KEY]), 403, "Upload failed."),
    ("FileRequiredError", ("POST", "/base/", [("file", b"", "a.txt"), *KEY]), 400, "There should be a file."),
    ("FilesRequiredError", ("POST", "/base/", KEY), 400, "Request does not contain files."),
    ("FilesNumberLimitExceededError", ("POST", "/base/", [*((f"f{n}", b"x", "a") for n in range(101)), *KEY]), 400, "There are too many files."),  # noqa: E501
    ("FilesNumberLimitExceededError", group(*(("files[]", UNKNOWN) for _ in range(1001))), 400, "There are too many files."),  # noqa: E501
    ("FileTypeForbiddenError", key("draftpublic"), 400, "Uploading of these file types is not allowed."),
    ("FileTypeForbiddenError", ("POST", "/multipart/start/", [("UPLOADCARE_PUB_KEY", "largepublic"), ("filename", "a"), ("content_type", "video/mp4"), ("size", str(11 * MIB))]), 400, "Uploading of these file types is not allowed."),  # noqa: E501
    ("MultipartFileSizeLimitExceededError", start(("size", str(31_000_000))), 400, "File size exceeds project limit."),
    ("MultipartFileSizeTooSmallError", start(("size", "10485759")), 400, "File size can not be less than 10485760 bytes. Please use direct upload instead of multipart."),  # noqa: E501
    ("MultipartSizeInvalidError", start(("size", "a lot")), 400, "size should be integer."),
    ("MultipartPartSizeInvalidError", start(("size", "11000000"), ("part_size", "1.5")), 400, "Multipart Upload Part Size should be an integer."),  # noqa: E501
    ("MultipartPartSizeTooSmallError", start(("size", "11000000"), ("part_size", "5242879")), 400, "Multipart Upload Part Size can not be less than 5242880 bytes."),  # noqa: E501
    ("MultipartPartSizeTooBigError", start(("size", "11000000"), ("part_size", "5368709121")), 400, "Multipart Upload Part Size can not be more than 5368709120 bytes."),  # noqa: E501
    ("MultipartFileIdRequiredError", complete(), 400, "uuid is required."),
    ("UUIDInvalidError", complete(("uuid", "x")), 400, "uuid is invalid."),
    ("MultipartFileNotFoundError", complete(("uuid", UNKNOWN)), 404, "File is not found."),
    ("RequestParamRequiredError", ("POST", "/multipart/start/", KEY), 400, "filename is required."),
    ("RequestParamRequiredError", start(), 400, "size is required."),
    ("RequestParamRequiredError", ("POST", "/multipart/start/", [*KEY, ("filename", "a"), ("size", "1")]), 400, "content_type is required."),  # noqa: E501
    ("SourceURLRequiredError", fetch(""), 400, "source_url is required."),
    ("URLSchemeRequiredError", fetch("example.com/a.jpg"), 400, "No URL scheme supplied."),
    ("URLSchemeInvalidError", fetch("ftp://example.com/a.jpg"), 400, "Invalid URL scheme."),
    ("URLHostRequiredError", fetch("http:///a.jpg"), 400, "No URL host supplied."),
    ("URLHostMalformedError", fetch("http://example.com:99999999/a.jpg"), 400, "URL host is malformed."),
    ("URLParsingFailedError", fetch("http://exa mple.com/a.jpg"), 400, "Failed to parse URL."),
    *(
        ("URLHostPrivateIPForbiddenError", fetch(url), 400, "Only public IPs are allowed.")
        for url in ("http://127.0.0.1/a", "http://0x7f.1/a", "http://2130706433/a", "http://[::ffff:10.0.0.1]/a")
    ),
    ("GroupFilesInvalidError", group(), 400, "No files[N] parameters found."),
    ("GroupFileURLParsingFailedError", group(("files[]", "a%2Fb")), 400, "This is not valid file url: a%2Fb."),
    ("GroupFilesNotFoundError", group(("files[0]", UNKNOWN)), 400, "Some files not found."),
    ("MethodNotAllowedError", ("POST", "/info/", []), 405, "HTTP method POST is not allowed for /info/"),
    ("MethodNotAllowedError", ("GET", "/base/", []), 405, "HTTP method GET is not allowed for /base/"),
]  # fmt: skip

QUERIES: list[tuple[str, str, Mapping[str, str], int, str]] = [
    ("ProjectPublicKeyRequiredError", "/info/", {}, 403, "pub_key is required."),
    ("ProjectPublicKeyInvalidError", "/group/info/", {"pub_key": "x"}, 403, "pub_key is invalid."),
    ("FileIdRequiredError", "/info/", {"pub_key": "demopublic"}, 400, "file_id is required."),
    ("FileIdInvalidError", "/info/", {"pub_key": "demopublic", "file_id": "x"}, 400, "file_id is invalid."),
    ("FileNotFoundError", "/info/", {"pub_key": "demopublic", "file_id": UNKNOWN}, 404, "File is not found."),
    ("GroupIdRequiredError", "/group/info/", {"pub_key": "demopublic"}, 400, "group_id is required."),
    ("GroupNotFoundError", "/group/info/", {"pub_key": "demopublic", "group_id": "x"}, 404, "group_id is invalid."),
    ("GroupNotFoundError", "/group/info/", {"pub_key": "demopublic", "group_id": f"{UNKNOWN}~1"}, 404, "group_id is invalid."),  # noqa: E501
    ("TokenRequiredError", "/from_url/status/", {}, 400, "token is required."),
]  # fmt: skip

ELSEWHERE = {
    "AccountLimitsExceededError", "FileInfectedError", "FileSizeLimitExceededError", "HostnameNotFoundError",
    "MultipartFileAlreadyUploadedError", "MultipartFileCompletionFailedError", "MultipartUploadSizeTooLargeError",
    "MultipartUploadSizeTooSmallError", "PostRequestParserFailedError", "RequestThrottledError", "UploadAPIError",
    "UploadViewsError", "URLRedirectsLimitExceededError",
}  # fmt: skip
"""Rows that need more than one request to meet; each has a test of its own, here or where files are fetched."""


@pytest.mark.parametrize(("code", "asked", "status", "text"), ROWS, ids=[f"{n}-{row[0]}" for n, row in enumerate(ROWS)])
async def test_a_row(uc: Desk, code: str, asked: tuple[str, str, Sequence[Field]], status: int, text: str) -> None:
    told = await uc.refusal(*asked)
    assert told[:2] == (code, status)
    assert told[2].startswith(text)
    assert await uc.house.core.records.files.list("demo") == await uc.house.core.records.files.list("nobody")


@pytest.mark.parametrize(("code", "path", "query", "status", "text"), QUERIES)
async def test_a_row_of_a_query(
    uc: Desk, code: str, path: str, query: Mapping[str, str], status: int, text: str
) -> None:
    assert await uc.refusal("GET", path, query=query) == (code, status, text)


def test_every_row_that_can_occur_is_tried() -> None:
    tried = {row[0] for row in (*ROWS, *QUERIES)} | ELSEWHERE | set(BROKE.values()) | {"DownloadFileError"}
    assert set(TABLE) - {"DownloadFileNotFoundError"} == tried


def test_the_table_is_told_whole() -> None:
    """Either a row can occur or it is said why not, and no error of ours is told by a row that there is not."""
    never = [code for codes in NEVER.values() for code in codes]
    assert len(set(never) | set(TABLE)) == len(never) + len(TABLE) == 90
    for row, facts in OURS.values():
        assert TABLE[row][1].count("%s") == len(facts)
    known = {error.code for error in _every(SafelightError)}
    assert set(BROKE) <= known


def _every(kind: type[SafelightError]) -> list[type[SafelightError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in _every(child))]


@pytest.mark.parametrize("kind", OURS)
def test_an_error_of_ours_is_told_by_its_row(kind: type[SafelightError]) -> None:
    """Also those that only a storage of others, or a race, brings about."""
    blanks = {name: f"<{name}>" for name in re.findall(r"{(\w+)", kind.sentence)}
    row, facts = OURS[kind]
    code, text = row_of(kind(**blanks))
    assert (code, text.count("<")) == (row, len(facts))
    assert text == TABLE[row][1] % tuple(f"<{name}>" for name in facts)


def test_what_has_no_row_is_told_in_general() -> None:
    assert row_of(UploadBusy(id="x")) == ("UploadViewsError", "Another request is writing to the upload x.")
    assert row_of(ScannerUnavailable()) == ("UploadAPIError", "Internal error.")
    assert row_of(Internal()) == ("UploadAPIError", "Internal error.")


async def test_rows_that_need_a_file_before(uc: Desk) -> None:
    file = await uc.upload(UPLOADCARE_PUB_KEY="otherpublic")
    told = await uc.refusal("GET", "/info/", query={"pub_key": "demopublic", "file_id": file})
    assert told == ("FileNotFoundError", 404, "File is not found.")
    told = await uc.refusal("POST", "/group/", [*PUB, ("files[]", file)])
    assert told == ("GroupFilesNotFoundError", 400, "Some files not found.")
    told = await uc.refusal("POST", "/multipart/complete/", [("UPLOADCARE_PUB_KEY", "otherpublic"), ("uuid", file)])
    assert told == ("MultipartFileAlreadyUploadedError", 400, "File is already uploaded.")
    told = await uc.refusal("POST", "/multipart/complete/", [*KEY, ("uuid", file)])
    assert told == ("MultipartFileNotFoundError", 404, "File is not found.")


async def test_a_project_that_has_as_many_files_as_it_may(uc: Desk) -> None:
    for _ in range(2):
        await uc.upload(UPLOADCARE_PUB_KEY="draftpublic", UPLOADCARE_STORE="auto")
    sent: list[Field] = [("file", photo(), "a.jpg"), ("UPLOADCARE_PUB_KEY", "draftpublic")]
    assert await uc.refusal("POST", "/base/", sent) == (
        "AccountLimitsExceededError", 403, "Account has reached its limits.")  # fmt: skip


async def test_a_file_over_the_limit_of_its_project(uc: Desk) -> None:
    sent: list[Field] = [("file", photo() + bytes(120_000), "a.jpg"), ("UPLOADCARE_PUB_KEY", "draftpublic")]
    assert await uc.refusal("POST", "/base/", sent) == ("FileSizeLimitExceededError", 400, "File is too large.")


async def test_a_throttled_request_says_when_to_come_again(uc: Desk) -> None:
    fields: list[Field] = [*FILE, ("UPLOADCARE_PUB_KEY", "slowpublic")]
    await uc.ok("POST", "/base/", fields)
    for query, wanted in (({}, 429), ({"jsonerrors": "1"}, 200)):
        status, told, headers = await uc.send("POST", "/base/", fields, query)
        assert status == wanted
        assert 1 <= int(headers["Retry-After"]) <= 60
    assert told["error"] == {
        "status_code": 429,
        "content": "Request was throttled.",
        "error_code": "RequestThrottledError",
    }
    for _ in range(5):  # polling does not count
        await uc.ok("GET", "/from_url/status/", token=UNKNOWN)
        status, _, _ = await uc.send("GET", "/info/", query={"pub_key": "slowpublic", "file_id": UNKNOWN})
        assert status == 404


BROKEN = [
    b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nunfinished",
    b"no form at all",
    b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\xfe\r\n--x--\r\n",
    b"",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/base/", "/group/", "/multipart/start/", "/from_url/"])
@pytest.mark.parametrize("body", BROKEN)
async def test_a_body_that_cannot_be_parsed(uc: Desk, path: str, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    url = f"{uc.house.base}{path}?jsonerrors=1"
    async with uc.house.session.post(url, data=body, headers=headers) as answer:
        told = (await answer.json())["error"]
    assert answer.status == 200
    if body:
        assert told == {
            "status_code": 400,
            "content": "HTTP POST request parsing failed.",
            "error_code": "PostRequestParserFailedError",
        }
    else:
        assert told["error_code"] == "ProjectPublicKeyRequiredError"


async def test_jsonerrors_may_stand_in_the_body(uc: Desk) -> None:
    async with uc.house.session.post(f"{uc.house.base}/group/", data=form([("jsonerrors", "1")])) as answer:
        assert (answer.status, (await answer.json())["error"]["error_code"]) == (200, "ProjectPublicKeyRequiredError")


async def test_records_that_are_away_are_an_internal_error(uc: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.errors import RecordsUnavailable

    async def away(*_: object) -> None:
        raise RecordsUnavailable

    monkeypatch.setattr(uc.house.core.records.files, "get", away)
    told = await uc.refusal("GET", "/info/", query={"pub_key": "demopublic", "file_id": UNKNOWN})
    assert told == ("UploadAPIError", 500, "Internal error.")


def test_blanks_are_the_reference_s() -> None:
    assert all(not re.search("%[^s]", text) for _, text in TABLE.values())
