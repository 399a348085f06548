"""The vendor's error table, which of its rows our errors are, and how they are told in the Upload API.

Codes, statuses and texts are those of the Upload API reference of 2022-04-20, section Errors; the blanks of a text are
filled in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from pipeline import errors as ours
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.voices import Voice
from pipeline.errors import SafelightError

TABLE: Mapping[str, tuple[int, str]] = {
    "AccountLimitsExceededError": (403, "Account has reached its limits."),
    "AutostoreDisabledError": (403, "Autostore is disabled."),
    "BaseViewsError": (400, "Request processing failed."),
    "FileMetadataKeyDuplicatedError": (400, "File's metadata key `%s` has a duplicate."),
    "FileMetadataKeyEmptyError": (400, "File's metadata key can not be empty."),
    "FileMetadataKeyForbiddenError": (
        400,
        "File's metadata key `%s` contains symbols not allowed by the metadata key format.",
    ),
    "FileMetadataKeyLengthTooBigError": (400, "Length of file metadata key `%s` can not be more than %s symbols."),
    "FileMetadataKeysNumberTooBigError": (400, "A file can not have more than %s metadata keys."),
    "FileMetadataValueEmptyError": (400, "Value of the file metadata key `%s` can not be empty."),
    "FileMetadataValueLengthTooBigError": (
        400,
        "Value of file metadata's key `%s` can not be more than %s symbols in length.",
    ),
    "FileSizeLimitExceededError": (400, "File is too large."),
    "MethodNotAllowedError": (405, "HTTP method %s is not allowed for %s"),
    "NullCharactersForbiddenError": (400, "Null characters are not allowed."),
    "PostRequestParserFailedError": (400, "HTTP POST request parsing failed."),
    "ProjectPublicKeyInvalidError": (403, "%s is invalid."),
    "ProjectPublicKeyRequiredError": (403, "%s is required."),
    "RequestFiledsNumberLimitExceededError": (400, "The request contains too many HTTP POST fields."),
    "RequestSizeLimitExceededError": (413, "The size of the request is too large."),
    "RequestThrottledError": (429, "Request was throttled."),
    "SignatureExpirationError": (403, "Expired signature."),
    "SignatureExpirationInvalidError": (400, "`expire` must be a UNIX timestamp."),
    "SignatureExpirationRequiredError": (400, "`expire` is required."),
    "SignatureInvalidError": (403, "Invalid signature."),
    "SignatureRequiredError": (400, "`signature` is required."),
    "UploadAPIError": (500, "Internal error."),
    "UploadFailedError": (403, "Upload failed."),
    "DownloadFileError": (500, "Failed to download the file."),
    "DownloadFileHTTPClientError": (500, "HTTP client error: %s."),
    "DownloadFileHTTPNetworkError": (500, "HTTP network error: %s."),
    "DownloadFileHTTPServerError": (500, "HTTP server error: %s."),
    "DownloadFileHTTPURLValidationError": (500, "HTTP URL validation error: %s."),
    "DownloadFileInternalServerError": (500, "Internal server error."),
    "DownloadFileNotFoundError": (500, "downloaded file not found."),
    "DownloadFileSizeLimitExceededError": (500, "Downloaded file is too big: %s > %s."),
    "DownloadFileTaskFailedError": (500, "download task failed."),
    "DownloadFileTimeLimitExceededError": (
        500,
        "Failed to download the file within the allotted time limit of %s seconds.",
    ),
    "DownloadFileValidationFailedError": (500, "File validation error: %s"),
    "FileIdInvalidError": (400, "file_id is invalid."),
    "FileIdRequiredError": (400, "file_id is required."),
    "FileNotFoundError": (404, "File is not found."),
    "FileRequiredError": (400, "There should be a file."),
    "FilesNumberLimitExceededError": (400, "There are too many files."),
    "FilesRequiredError": (400, "Request does not contain files."),
    "MultipartFileAlreadyUploadedError": (400, "File is already uploaded."),
    "MultipartFileCompletionFailedError": (400, "Can not complete upload. Wrong parts size?"),
    "MultipartFileIdRequiredError": (400, "uuid is required."),
    "MultipartFileNotFoundError": (404, "File is not found."),
    "MultipartFileSizeLimitExceededError": (400, "File size exceeds project limit."),
    "MultipartFileSizeTooSmallError": (
        400,
        "File size can not be less than %s bytes. Please use direct upload instead of multipart.",
    ),
    "MultipartPartSizeInvalidError": (400, "Multipart Upload Part Size should be an integer."),
    "MultipartPartSizeTooBigError": (400, "Multipart Upload Part Size can not be more than %s bytes."),
    "MultipartPartSizeTooSmallError": (400, "Multipart Upload Part Size can not be less than %s bytes."),
    "MultipartSizeInvalidError": (400, "size should be integer."),
    "MultipartUploadSizeTooLargeError": (400, "Uploaded size is more than expected."),
    "MultipartUploadSizeTooSmallError": (400, "File size mismatch. Not all parts uploaded?"),
    "RequestParamRequiredError": (400, "%s is required."),
    "SourceURLRequiredError": (400, "source_url is required."),
    "TokenRequiredError": (400, "token is required."),
    "UUIDInvalidError": (400, "uuid is invalid."),
    "UploadViewsError": (400, "Upload request processing failed."),
    "GroupFileURLParsingFailedError": (400, "This is not valid file url: %s."),
    "GroupFilesInvalidError": (400, "No files[N] parameters found."),
    "GroupFilesNotFoundError": (400, "Some files not found."),
    "GroupIdRequiredError": (400, "group_id is required."),
    "GroupNotFoundError": (404, "group_id is invalid."),
    "FileInfectedError": (400, "The file is infected by %s virus."),
    "FileTypeForbiddenError": (400, "Uploading of these file types is not allowed."),
    "HostnameNotFoundError": (400, "Host does not exist."),
    "URLHostMalformedError": (400, "URL host is malformed."),
    "URLHostPrivateIPForbiddenError": (400, "Only public IPs are allowed."),
    "URLHostRequiredError": (400, "No URL host supplied."),
    "URLParsingFailedError": (400, "Failed to parse URL."),
    "URLRedirectsLimitExceededError": (400, "Too many redirects."),
    "URLSchemeInvalidError": (400, "Invalid URL scheme."),
    "URLSchemeRequiredError": (400, "No URL scheme supplied."),
}
"""Every row that can occur here."""

NEVER: Mapping[str, Sequence[str]] = {
    "Nothing is paid for here": ("AccountBlockedError", "AccountUnpaidError"),
    "A project that is taken out of the settings is not known any more": ("ProjectPublicKeyRemovedError",),
    "A value may have all but NULs, which are `NullCharactersForbiddenError`": ("FileMetadataValueForbiddenError",),
    "`/submit/`, which takes them, is not spoken": ("UploadcareActionInvalidError", "UploadcareActionRequiredError"),
    "Between the vendor's own servers": (
        "FileIdNotUniqueError",
        "InternalRequestForbiddenError",
        "InternalRequestInvalidError",
        "UploadcareFileIdDuplicatedError",
        "UploadcareFileIdInvalidError",
        "UploadcareFileIdRequiredError",
    ),
    "A row with a reason of its own is told instead": (
        "GroupViewsError",
        "URLBlacklistedError",
        "URLValidationError",
    ),
}
"""The rest of the table, by why it cannot."""

Row = tuple[str, tuple[str, ...]]

OURS: Mapping[type[SafelightError], Row] = {
    ours.QuotaExceeded: ("AccountLimitsExceededError", ()),
    ours.MetadataKeyDoubled: ("FileMetadataKeyDuplicatedError", ("key",)),
    ours.MetadataKeyEmpty: ("FileMetadataKeyEmptyError", ()),
    ours.MetadataKeyForbidden: ("FileMetadataKeyForbiddenError", ("key",)),
    ours.MetadataKeyTooLong: ("FileMetadataKeyLengthTooBigError", ("key", "most")),
    ours.MetadataTooMany: ("FileMetadataKeysNumberTooBigError", ("most",)),
    ours.MetadataValueEmpty: ("FileMetadataValueEmptyError", ("key",)),
    ours.MetadataValueForbidden: ("NullCharactersForbiddenError", ()),
    ours.MetadataValueTooLong: ("FileMetadataValueLengthTooBigError", ("key", "most")),
    ours.FileTooLarge: ("FileSizeLimitExceededError", ()),
    ours.ScanTooLarge: ("FileSizeLimitExceededError", ()),
    ours.FileEmpty: ("FileRequiredError", ()),
    ours.BodyEmpty: ("FilesRequiredError", ()),
    ours.MultipartBroken: ("PostRequestParserFailedError", ()),
    ours.BodyTimeout: ("PostRequestParserFailedError", ()),
    ours.BodyTooSlow: ("PostRequestParserFailedError", ()),
    ours.BodyTypeUnsupported: ("PostRequestParserFailedError", ()),
    ours.EncodingUnsupported: ("PostRequestParserFailedError", ()),
    ours.FieldsTooMany: ("RequestFiledsNumberLimitExceededError", ()),
    ours.RequestInvalid: ("PostRequestParserFailedError", ()),
    ours.RateExceeded: ("RequestThrottledError", ()),
    ours.FetchesTooMany: ("RequestThrottledError", ()),
    ours.FileNotFound: ("FileNotFoundError", ()),
    ours.FileTooSmall: ("UploadFailedError", ()),
    ours.ImageUnreadable: ("UploadFailedError", ()),
    ours.ImageTooLarge: ("UploadFailedError", ()),
    ours.ImageTooSmall: ("UploadFailedError", ()),
    ours.ImageSizeUnknown: ("UploadFailedError", ()),
    ours.SvgInvalid: ("UploadFailedError", ()),
    ours.TypeNotAllowed: ("FileTypeForbiddenError", ()),
    ours.TypeMismatch: ("FileTypeForbiddenError", ()),
    ours.SvgRefused: ("FileTypeForbiddenError", ()),
    ours.FileInfected: ("FileInfectedError", ("signature",)),
    ours.UploadNotFound: ("MultipartFileNotFoundError", ()),
    ours.UploadExpired: ("MultipartFileNotFoundError", ()),
    ours.UploadWayWrong: ("MultipartFileNotFoundError", ()),
    ours.PartsMissing: ("MultipartUploadSizeTooSmallError", ()),
    ours.PartSizeWrong: ("MultipartFileCompletionFailedError", ()),
    ours.PartTagWrong: ("MultipartFileCompletionFailedError", ()),
    ours.BodyIncomplete: ("MultipartUploadSizeTooSmallError", ()),
    ours.BodyTooLong: ("MultipartUploadSizeTooLargeError", ()),
    ours.GroupNotFound: ("GroupNotFoundError", ()),
    ours.UrlSchemeMissing: ("URLSchemeRequiredError", ()),
    ours.UrlSchemeUnknown: ("URLSchemeInvalidError", ()),
    ours.UrlHostMissing: ("URLHostRequiredError", ()),
    ours.UrlHostMalformed: ("URLHostMalformedError", ()),
    ours.UrlInvalid: ("URLParsingFailedError", ()),
    ours.AddressRefused: ("URLHostPrivateIPForbiddenError", ()),
    ours.HostNotFound: ("HostnameNotFoundError", ()),
    ours.RedirectsTooMany: ("URLRedirectsLimitExceededError", ()),
}
"""Which row an error of ours is, and the facts that fill its blanks; the nearest class in its line counts."""

FORM_ERRORS = web.RequestKey("form_errors", bool)
"""Whether a field of the body, as the query may, asks for errors as JSON."""


class UploadcareRefused(SafelightError):
    """What the vendor's table has a row for and the house no error; `row` is the vendor's code."""

    code, status, sentence = "UPLOADCARE_REFUSED", 400, "{text}"


def refused(row: str, *blanks: Any) -> UploadcareRefused:
    """The error of a row of the table."""
    return UploadcareRefused(row=row, text=filled(row, blanks))


def filled(row: str, blanks: Sequence[Any] = ()) -> str:
    """The text of a row."""
    return TABLE[row][1] % tuple(blanks)


def row_of(error: SafelightError) -> tuple[str, str]:
    """Code and text that an error is told with; what the table has no row for is one of its two general ones."""
    if isinstance(error, UploadcareRefused):
        return error.facts["row"], error.message
    for kind in type(error).__mro__:
        if issubclass(kind, SafelightError) and kind in OURS:
            code, facts = OURS[kind]
            return code, filled(code, [error.facts.get(name, "") for name in facts])
    if error.status >= 500:
        return "UploadAPIError", filled("UploadAPIError")
    general = "BaseViewsError" if isinstance(error, ours.TagInvalid) else "UploadViewsError"
    return general, error.message


class UploadVoice(Voice):
    """The row's status and bare text, or for whoever asks with `jsonerrors` a document under status 200.

    Browsers' clients never read the body of any other status.
    """

    def told(self, request: web.Request, error: SafelightError, request_id: str) -> web.Response:
        if isinstance(error, ours.MethodNotAllowed):
            error = refused("MethodNotAllowedError", request.method, request.path)
        code, text = row_of(error)
        status, headers = TABLE[code][0], {"Cache-Control": "no-store"}
        if status in (429, 500) and (error.retryable or status == 429):
            headers["Retry-After"] = str(error.retry_after or RETRY_AFTER)
        if not _as_json(request):
            return web.Response(status=status, text=text, headers=headers)
        document = {"error": {"status_code": status, "content": text, "error_code": code}}
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)


def _as_json(request: web.Request) -> bool:
    return is_true(request.query.get("jsonerrors", "")) or request.get(FORM_ERRORS, False)


def is_true(text: str) -> bool:
    """Whether a flag in a query or form is set."""
    return text.lower() not in ("", "0", "false")
