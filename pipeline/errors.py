"""Every error raised on purpose: a stable code, an HTTP status, whether trying again may help, and one sentence.

The sentence is fit for strangers; the cause (`raise ... from cause`) goes to the log only. A dialect turns an error
into its vendor's shape, `workers.jobs` turns a retryable one into another try; nobody else looks at `status`.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SafelightError(Exception):
    """The base of every error a caller can meet; `facts` fill the blanks of the sentence."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    sentence: ClassVar[str] = "Something went wrong inside the server."

    def __init__(self, *, node: str | None = None, retry_after: int | None = None, **facts: Any) -> None:
        self.node = node
        self.retry_after = retry_after
        self.facts = facts
        super().__init__(self.sentence.format(**facts))

    @property
    def message(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.node, self.retry_after, self.facts)


def _rebuild(cls: type[SafelightError], node: str | None, retry_after: int | None, facts: dict[str, Any]) -> Any:
    return cls(node=node, retry_after=retry_after, **facts)


class Internal(SafelightError):
    """A fault of ours; the log holds the cause."""


# Requests


class RequestInvalid(SafelightError):
    code, status, sentence = "REQUEST_INVALID", 400, "{reason}"


class FieldsTooMany(RequestInvalid):
    sentence = "A form may have {most} text fields at most."


class RouteNotFound(SafelightError):
    code, status, sentence = "NOT_FOUND", 404, "Nothing is served at this address."


class MethodNotAllowed(SafelightError):
    code, status, sentence = "METHOD_NOT_ALLOWED", 405, "This address answers {allowed} only."


class UpgradeRequired(SafelightError):
    code, status, sentence = "UPGRADE_REQUIRED", 426, "This address speaks WebSocket and nothing else."


class CursorInvalid(SafelightError):
    code, status, sentence = "CURSOR_INVALID", 400, "The cursor is not one this list gave out."


class KeyRequired(SafelightError):
    code, status, sentence = "KEY_REQUIRED", 401, "Send an API key as `Authorization: Bearer <key>`."


class KeyInvalid(SafelightError):
    code, status, sentence = "KEY_INVALID", 401, "This API key is not known here."


class KeyNotAdmin(SafelightError):
    code, status, sentence = "KEY_NOT_ADMIN", 403, "Only the `admin_keys` control queues and workers."


class SignatureInvalid(SafelightError):
    code, status, sentence = "SIGNATURE_INVALID", 403, "The signature does not belong to this address."


class SignatureExpired(SafelightError):
    code, status, sentence = "SIGNATURE_EXPIRED", 403, "The signed address has expired."


class IdempotencyMismatch(SafelightError):
    code, status = "IDEMPOTENCY_MISMATCH", 422
    sentence = "This Idempotency-Key was used for a different request."


class IdempotencyInProgress(SafelightError):
    code, status, retryable = "IDEMPOTENCY_IN_PROGRESS", 409, True
    sentence = "The first request with this Idempotency-Key has not been answered yet."


# Bodies and uploads


class BodyEmpty(SafelightError):
    code, status, sentence = "BODY_EMPTY", 400, "The request carries no file."


class FileEmpty(SafelightError):
    code, status, sentence = "FILE_EMPTY", 422, "The file `{name}` is empty."


class MultipartBroken(SafelightError):
    code, status, sentence = "MULTIPART_BROKEN", 400, "The multipart body cannot be read: {reason}."


class FormPartsTooMany(SafelightError):
    code, status, sentence = "FORM_PARTS_TOO_MANY", 413, "A form may have {most} parts at most."


class BodyIncomplete(SafelightError):
    code, status, sentence = "BODY_INCOMPLETE", 400, "The body ended after {received} of {declared} bytes."


class BodyTooLong(SafelightError):
    code, status, sentence = "BODY_TOO_LONG", 400, "The body is longer than the declared {declared} bytes."


class BodyTimeout(SafelightError):
    code, status, retryable = "BODY_TIMEOUT", 408, True
    sentence = "No byte arrived for {seconds} seconds."


class BodyTooSlow(SafelightError):
    code, status, retryable = "BODY_TOO_SLOW", 408, True
    sentence = "The body arrives at less than {rate} bytes a second."


class EncodingUnsupported(SafelightError):
    code, status = "CONTENT_ENCODING_UNSUPPORTED", 415
    sentence = "Send the body without Content-Encoding; `{encoding}` is not accepted."


class BodyTypeUnsupported(SafelightError):
    code, status = "CONTENT_TYPE_UNSUPPORTED", 415
    sentence = "A body of type {found} is not read here; send {expected}."


class FileTooLarge(SafelightError):
    code, status, sentence = "FILE_TOO_LARGE", 413, "The file is larger than the {limit} bytes allowed here."


class FileTooSmall(SafelightError):
    code, status, sentence = "FILE_TOO_SMALL", 422, "The file has {size} bytes; at least {least} are wanted here."


class TypeNotAllowed(SafelightError):
    code, status = "TYPE_NOT_ALLOWED", 415
    sentence = "Files of type {found} are not accepted here; allowed: {allowed}."


class TypeMismatch(SafelightError):
    code, status = "TYPE_MISMATCH", 415
    sentence = "The file was declared as {declared} but its bytes are {found}."


class SvgRefused(SafelightError):
    code, status, sentence = "SVG_REFUSED", 415, "SVG files are not accepted here."


class SvgInvalid(SafelightError):
    code, status, sentence = "SVG_INVALID", 422, "The SVG cannot be made safe: {reason}."


class RouteUnknown(SafelightError):
    code, status, sentence = "ROUTE_UNKNOWN", 422, "The project has no route `{name}`."


class NameInvalid(SafelightError):
    code, status, sentence = "NAME_INVALID", 400, "The name `{name}` cannot be used: {reason}."


class ChecksumMismatch(SafelightError):
    code, status, sentence = "CHECKSUM_MISMATCH", 422, "The bytes do not have the declared {algorithm} checksum."


class UploadNotFound(SafelightError):
    code, status, sentence = "UPLOAD_NOT_FOUND", 404, "There is no upload {id}."


class UploadExpired(SafelightError):
    code, status, sentence = "UPLOAD_EXPIRED", 410, "The upload {id} has expired."


class UploadBusy(SafelightError):
    code, status, retryable = "UPLOAD_BUSY", 423, True
    sentence = "Another request is writing to the upload {id}."


class UploadTakenOver(SafelightError):
    code, status, retryable = "UPLOAD_TAKEN_OVER", 423, True
    sentence = "A newer request writes to {id} now; ask how far it has come before you go on."


class OffsetMismatch(SafelightError):
    code, status, sentence = "OFFSET_MISMATCH", 409, "The upload stands at {expected}, not at {given}."


class SizeInconsistent(SafelightError):
    code, status = "SIZE_INCONSISTENT", 400
    sentence = "The upload {id} has {declared} bytes by what was said before, not {given}."


class PieceInvalid(SafelightError):
    code, status, sentence = "PIECE_INVALID", 400, "The upload {id} cannot be joined with others: {reason}."


class StretchInvalid(SafelightError):
    code, status = "STRETCH_INVALID", 400
    sentence = "A file of {total} bytes has no {length} bytes from {start} on."


class StretchesTooMany(SafelightError):
    code, status, sentence = "STRETCHES_TOO_MANY", 400, "A file may come in {most} stretches at most; send larger ones."


class StretchesMissing(SafelightError):
    code, status = "STRETCHES_MISSING", 409
    sentence = "Bytes are missing: of {total} there are {reach} without a gap."


class UploadJoined(SafelightError):
    code, status, sentence = "UPLOAD_JOINED", 403, "The upload {id} takes no bytes: it was joined of others."


class ProtocolUnknown(SafelightError):
    code, status, sentence = "PROTOCOL_UNKNOWN", 412, "Say `Tus-Resumable: {known}`; no other version is spoken here."


class UploadComplete(SafelightError):
    code, status, sentence = "UPLOAD_COMPLETE", 400, "The upload {id} has been completed before."


class ChecksumUnknown(SafelightError):
    code, status, sentence = "CHECKSUM_UNKNOWN", 400, "A checksum is one of {known}, not `{given}`."


class PartTooSmall(SafelightError):
    code, status = "PART_TOO_SMALL", 422
    sentence = "Part {number} has {size} bytes; every part but the last needs at least {least}."


class SizeRequired(SafelightError):
    code, status, sentence = "SIZE_REQUIRED", 422, "Say how many bytes the file has."


class PartSizeInvalid(SafelightError):
    code, status = "PART_SIZE_INVALID", 422
    sentence = "A part has {least} to {most} bytes, and a file {parts} parts at most."


class PartNumberInvalid(SafelightError):
    code, status, sentence = "PART_NUMBER_INVALID", 422, "There is no part {number}; parts are numbered 1 to {most}."


class PartSizeWrong(SafelightError):
    code, status, sentence = "PART_SIZE_WRONG", 422, "Part {number} has {size} bytes; it must have {wanted}."


class PartTagWrong(SafelightError):
    code, status = "PART_TAG_WRONG", 422
    sentence = "Part {number} is there with other bytes than those of this entity tag; send it again."


class PartsMissing(SafelightError):
    code, status, sentence = "PARTS_MISSING", 409, "{count} parts have not arrived: {numbers}."


class PutTypeWrong(SafelightError):
    code, status, sentence = "PUT_TYPE_WRONG", 403, "This address takes a body of type {wanted} only."


class PutLengthWrong(SafelightError):
    code, status, sentence = "PUT_LENGTH_WRONG", 403, "This address takes a body of exactly {wanted} bytes only."


class UploadWayWrong(SafelightError):
    code, status = "UPLOAD_WAY_WRONG", 409
    sentence = "The upload {id} takes its bytes another way; it was begun with `way: {way}`."


class TicketUsed(SafelightError):
    code, status, sentence = "TICKET_USED", 409, "This one-time address was used before, or is being used now."


class TokenUsed(SafelightError):
    code, status, sentence = "TOKEN_USED", 409, "This token was used before; every upload needs a new one."


class SignatureRequired(SafelightError):
    code, status = "SIGNATURE_REQUIRED", 403
    sentence = "This project takes signed uploads only; send `X-Signature` and `X-Expires` with the public key."


class RateExceeded(SafelightError):
    code, status, retryable = "RATE_EXCEEDED", 429, True
    sentence = "The project may send {limit} requests a minute; try again in {seconds} seconds."


class QuotaExceeded(SafelightError):
    """Not a 5xx, which upload clients answer by sending everything again."""

    code, status, sentence = "QUOTA_EXCEEDED", 413, "The project has no room left: {limit} {unit} are its limit."


# Files


class FileNotFound(SafelightError):
    code, status, sentence = "FILE_NOT_FOUND", 404, "There is no file {id}."


class MetadataInvalid(SafelightError):
    """Metadata beyond what is kept with a file; each limit has a class of its own."""

    code, status, sentence = "METADATA_INVALID", 400, "The metadata cannot be kept."


class MetadataKeyEmpty(MetadataInvalid):
    code, sentence = "METADATA_KEY_EMPTY", "A metadata key is empty."


class MetadataKeyTooLong(MetadataInvalid):
    code, sentence = "METADATA_KEY_TOO_LONG", "The metadata key `{key}` has more than {most} characters."


class MetadataKeyForbidden(MetadataInvalid):
    code = "METADATA_KEY_FORBIDDEN"
    sentence = "The metadata key `{key}` may have letters, digits and `_ - . :` only."


class MetadataKeyDoubled(MetadataInvalid):
    code, sentence = "METADATA_KEY_DOUBLED", "The metadata key `{key}` is given more than once."


class MetadataValueEmpty(MetadataInvalid):
    code, sentence = "METADATA_VALUE_EMPTY", "The metadata value of `{key}` is empty."


class MetadataValueTooLong(MetadataInvalid):
    code, sentence = "METADATA_VALUE_TOO_LONG", "The metadata value of `{key}` has more than {most} characters."


class MetadataValueForbidden(MetadataInvalid):
    code = "METADATA_VALUE_FORBIDDEN"
    sentence = "The metadata value of `{key}` has a character that is not allowed."


class MetadataTooMany(MetadataInvalid):
    code, sentence = "METADATA_TOO_MANY", "A file has at most {most} metadata keys."


class MetadataKeyNotFound(SafelightError):
    code, status, sentence = "METADATA_KEY_NOT_FOUND", 404, "The file has no metadata key `{key}`."


class TagInvalid(SafelightError):
    """A tag that cannot be kept."""

    code, status, sentence = "TAG_INVALID", 400, "The tag `{tag}` cannot be kept: {reason}."


class TagTooLong(TagInvalid):
    code, sentence = "TAG_TOO_LONG", "The tag `{tag}` has more than {most} characters."


class TagsTooMany(TagInvalid):
    code, sentence = "TAGS_TOO_MANY", "A file has at most {most} tags."


class FolderInvalid(SafelightError):
    code, status, sentence = "FOLDER_INVALID", 400, "The folder `{folder}` cannot be used: {reason}."


class RegionInvalid(SafelightError):
    code, status = "REGION_INVALID", 422
    sentence = "The region does not lie within the {width} x {height} pixels of the picture."


class GroupInvalid(SafelightError):
    code, status, sentence = "GROUP_INVALID", 400, "A group has 1 to {most} files."


class MemberNotFound(SafelightError):
    code, status, sentence = "MEMBER_NOT_FOUND", 404, "The group {id} has no file number {place}."


class MemberGone(SafelightError):
    code, status, sentence = "MEMBER_GONE", 404, "The file {file} of the group {id} was deleted."


class GroupNotFound(SafelightError):
    code, status, sentence = "GROUP_NOT_FOUND", 404, "There is no group {id}."


class SheetNotFound(SafelightError):
    code, status, sentence = "SHEET_NOT_FOUND", 404, "There is no {kind} {id}."


class SheetExists(SafelightError):
    code, status, sentence = "SHEET_EXISTS", 409, "There is a {kind} {id} already."


class SheetsTooMany(SafelightError):
    code, status, sentence = "SHEETS_TOO_MANY", 409, "A project has {most} documents of a kind at most."


class PathTaken(SafelightError):
    code, status, sentence = "PATH_TAKEN", 409, "There is a file at `{path}` already."


class VersionsTooMany(SafelightError):
    code, status, sentence = "VERSIONS_TOO_MANY", 409, "A file has {most} versions at most."


class HaulNotFound(SafelightError):
    code, status, sentence = "HAUL_NOT_FOUND", 404, "There is no work on many files {id}."


class HaulGivenUp(SafelightError):
    code, status, sentence = "HAUL_GIVEN_UP", 422, "This was given up: the worker died {times} times over it."


class RangeNotSatisfiable(SafelightError):
    code, status, sentence = "RANGE_NOT_SATISFIABLE", 416, "The range lies outside the {size} bytes of the file."


# Fetching from a URL


class UrlInvalid(SafelightError):
    code, status, sentence = "URL_INVALID", 422, "This URL cannot be used: {reason}."


class UrlSchemeMissing(UrlInvalid):
    code, sentence = "URL_SCHEME_MISSING", "The URL has no scheme; it begins with https:// or http://."


class UrlSchemeUnknown(UrlInvalid):
    code, sentence = "URL_SCHEME_UNKNOWN", "Only https and http URLs are fetched, not `{scheme}`."


class UrlHostMissing(UrlInvalid):
    code, sentence = "URL_HOST_MISSING", "The URL names no host."


class UrlHostMalformed(UrlInvalid):
    code, sentence = "URL_HOST_MALFORMED", "The host of the URL is none that there can be."


class HostNotFound(SafelightError):
    """A name that is not in the public DNS: it does not exist, or only for those inside, which must look the same."""

    code, status, sentence = (
        "HOST_NOT_FOUND",
        422,
        "The host of the URL does not exist, as far as the public DNS tells.",
    )


class RedirectRefused(SafelightError):
    code, status = "REDIRECT_REFUSED", 422
    sentence = "The URL redirects to where it is not followed: {reason}."


class RedirectsTooMany(SafelightError):
    code, status, sentence = "REDIRECTS_TOO_MANY", 422, "The URL redirects more than {most} times."


class SourceUnreachable(SafelightError):
    code, status, retryable = "SOURCE_UNREACHABLE", 502, True
    sentence = "The server of the URL cannot be reached: {reason}."


class SourceBroken(SafelightError):
    code, status, retryable = "SOURCE_BROKEN", 502, True
    sentence = "The answer of the URL's server broke off or cannot be read."


class SourceFailed(SafelightError):
    code, status, retryable = "SOURCE_FAILED", 502, True
    sentence = "The server of the URL answered {answered}."


class SourceRejected(SafelightError):
    code, status, sentence = "SOURCE_REJECTED", 422, "The server of the URL answered {answered}."


class SourceNotFound(SourceRejected):
    code = "SOURCE_NOT_FOUND"


class SourceEncoded(SafelightError):
    code, status = "SOURCE_ENCODED", 422
    sentence = "The server of the URL compressed its answer as `{coding}`, which was not asked for and is not read."


class SourceInflates(SafelightError):
    code, status = "SOURCE_INFLATES", 422
    sentence = "The compressed answer of the URL's server grows to more than {times} times its size."


class SourceSilent(SafelightError):
    code, status, retryable = "SOURCE_SILENT", 504, True
    sentence = "The server of the URL sent nothing for {seconds} seconds."


class SourceTooSlow(SafelightError):
    code, status, retryable = "SOURCE_TOO_SLOW", 504, True
    sentence = "The server of the URL sends less than {rate} bytes a second."


class FetchTimeout(SafelightError):
    code, status, sentence = "FETCH_TIMEOUT", 504, "The file could not be fetched within {seconds} seconds."


class FetchNotFound(SafelightError):
    code, status, sentence = "FETCH_NOT_FOUND", 404, "There is no fetch {id}."


class FetchEnded(SafelightError):
    code, status, sentence = "FETCH_ENDED", 409, "The fetch {id} has already ended."


class FetchCancelled(SafelightError):
    code, status, sentence = "FETCH_CANCELLED", 409, "The fetch was cancelled."


class FetchGivenUp(SafelightError):
    code, status, sentence = "FETCH_GIVEN_UP", 422, "The fetch was given up: its worker died {times} times over it."


class FetchesTooMany(SafelightError):
    code, status, retryable = "FETCHES_TOO_MANY", 429, True
    sentence = "The project has {most} fetches waiting or under way, and no more at once."


# Images


class ImageUnreadable(SafelightError):
    code, status, sentence = "IMAGE_UNREADABLE", 422, "The image cannot be read: {reason}."


class ImageTooLarge(SafelightError):
    code, status, sentence = "IMAGE_TOO_LARGE", 422, "The image has {pixels} pixels; the limit is {limit}."


class ImageFramesTooMany(ImageTooLarge):
    sentence = "The image has {frames} frames; the limit is {limit}."


class ImageTooWide(ImageTooLarge):
    code, sentence = "IMAGE_TOO_WIDE", "The image is {found} pixels wide; the limit is {limit}."


class ImageTooHigh(ImageTooLarge):
    code, sentence = "IMAGE_TOO_HIGH", "The image is {found} pixels high; the limit is {limit}."


class ImageTooSmall(SafelightError):
    code, status, sentence = "IMAGE_TOO_SMALL", 422, "The image has {found} pixels; at least {least} are wanted."


class ImageTooNarrow(ImageTooSmall):
    code, sentence = "IMAGE_TOO_NARROW", "The image is {found} pixels wide; at least {least} are wanted."


class ImageTooLow(ImageTooSmall):
    code, sentence = "IMAGE_TOO_LOW", "The image is {found} pixels high; at least {least} are wanted."


class ImageSizeUnknown(SafelightError):
    code, status = "IMAGE_SIZE_UNKNOWN", 422
    sentence = "How large the picture is cannot be told, and only certain sizes are accepted here."


class ImageMemoryExceeded(ImageTooLarge):
    sentence = "The image work needs more than the {limit} bytes of memory it may have."


class ImageTimeout(SafelightError):
    code, status, sentence = "IMAGE_TIMEOUT", 422, "The image work did not end within {seconds} seconds."


class ImageCrashed(SafelightError):
    code, status, retryable = "IMAGE_CRASHED", 422, True
    sentence = "The image work ended the process that did it (exit code {exit_code})."


class VideoUnreadable(SafelightError):
    code, status, sentence = "VIDEO_UNREADABLE", 422, "The video cannot be read: {reason}."


class VideoUnavailable(SafelightError):
    code, status, sentence = "VIDEO_UNAVAILABLE", 422, "Videos are not worked on here: {reason}."


class VideoTooLarge(SafelightError):
    code, status, sentence = "VIDEO_TOO_LARGE", 422, "The video is too large: {reason}."


class SandboxClosed(SafelightError):
    code, status, retryable = "SANDBOX_CLOSED", 503, True
    sentence = "The server stopped before the image work was done; try again shortly."


# Flows and runs


class FlowNotFound(SafelightError):
    code, status, sentence = "FLOW_NOT_FOUND", 404, "There is no flow `{id}`."


class FlowVersionNotFound(SafelightError):
    code, status, sentence = "FLOW_VERSION_NOT_FOUND", 404, "The flow `{id}` has no version {version}."


class ProjectUnknown(SafelightError):
    code, status, sentence = "PROJECT_UNKNOWN", 422, "There is no project `{id}` in the settings."


class FlowPaused(SafelightError):
    code, status, sentence = "FLOW_PAUSED", 409, "The flow `{id}` is paused."


class FlowInvalid(SafelightError):
    """A flow document that is not sound; `complaints` lists every fault with its position."""

    code, status, sentence = "FLOW_INVALID", 422, "{summary}"


class ParamsInvalid(SafelightError):
    code, status, sentence = "PARAMS_INVALID", 422, "{reason}"


class InputMissing(SafelightError):
    code, status, sentence = "INPUT_MISSING", 422, "The flow needs a file for its input `{input}`."


class InputUnknown(SafelightError):
    code, status, sentence = "INPUT_UNKNOWN", 422, "The flow has no input `{input}`; it has: {known}."


class InputNotMany(SafelightError):
    code, status, sentence = "INPUT_NOT_MANY", 422, "The input `{input}` of the flow takes one file only."


class InputNotAwaited(SafelightError):
    code, status = "INPUT_NOT_AWAITED", 409
    sentence = "The run {id} does not wait for a file of its input `{input}`."


class RunNotFound(SafelightError):
    code, status, sentence = "RUN_NOT_FOUND", 404, "There is no run {id}."


class RunEnded(SafelightError):
    code, status, sentence = "RUN_ENDED", 409, "The run {id} has already ended as {status}."


class RunNotEnded(SafelightError):
    code, status, sentence = "RUN_NOT_ENDED", 409, "The run {id} is {status}; only an ended run can be run again."


class RunNotPaused(SafelightError):
    code, status, sentence = "RUN_NOT_PAUSED", 409, "The run {id} is {status} and not paused."


class RunPaused(SafelightError):
    code, status, sentence = "RUN_PAUSED", 409, "The run was paused."


class RunNotFed(SafelightError):
    code, status = "RUN_NOT_FED", 422
    sentence = "Nobody gave the run a file for its input `{input}` within {seconds} seconds."


class RunCancelled(SafelightError):
    code, status, sentence = "RUN_CANCELLED", 409, "The run was cancelled."


class RunPoisoned(SafelightError):
    code, status, sentence = "RUN_POISONED", 422, "The run was given up: its worker died {times} times while it ran."


class RunTimeout(SafelightError):
    code, status, sentence = "RUN_TIMEOUT", 422, "The run did not end within {seconds} seconds."


class DerivativePending(SafelightError):
    code, status, retryable = "DERIVATIVE_PENDING", 504, True
    sentence = "This is still being made; ask again in a moment."


class DerivativePoisoned(SafelightError):
    code, status = "DERIVATIVE_POISONED", 422
    sentence = "This was given up: the worker died {times} times while it was made."


class WorkerLost(SafelightError):
    code, status, retryable = "WORKER_LOST", 503, True
    sentence = "The worker was lost before the run had ended."


class WorkerNotFound(SafelightError):
    code, status, sentence = "WORKER_NOT_FOUND", 404, "No worker `{id}` is alive."


class QueueNotFound(SafelightError):
    code, status, sentence = "QUEUE_NOT_FOUND", 404, "There is no queue `{name}`; there are {known}."


class WebhookNotFound(SafelightError):
    code, status, sentence = "WEBHOOK_NOT_FOUND", 404, "There is no webhook {id}."


class WebhookExists(SafelightError):
    code, status = "WEBHOOK_EXISTS", 409
    sentence = "The project's webhook {id} tells this address of {event} already."


class WebhooksTooMany(SafelightError):
    code, status, sentence = "WEBHOOKS_TOO_MANY", 409, "A project has {most} webhooks at most."


class WebhookFixed(SafelightError):
    code, status = "WEBHOOK_FIXED", 409
    sentence = "The webhook {id} is made by the settings or a flow and is changed there."


class WebhookDisabled(SafelightError):
    code, status, sentence = "WEBHOOK_DISABLED", 409, "The webhook {id} is disabled; enable it first."


class DeliveryNotFound(SafelightError):
    code, status, sentence = "DELIVERY_NOT_FOUND", 404, "There is no delivery {id}; they are kept for some days."


class DeliveryWaiting(SafelightError):
    code, status, sentence = "DELIVERY_WAITING", 409, "The delivery {id} is still on its way."


class LetterNotFound(SafelightError):
    code, status, sentence = "LETTER_NOT_FOUND", 404, "The run {id} is no dead letter."


class NodeInvalid(SafelightError):
    code, status, sentence = "NODE_INVALID", 422, "{reason}"


class NodeFailed(SafelightError):
    code, status, sentence = "NODE_FAILED", 422, "The node failed: {reason}."


class VerificationFailed(SafelightError):
    code, status, sentence = "VERIFICATION_FAILED", 422, "The file does not pass: {reason}."


class FileInfected(SafelightError):
    code, status, sentence = "FILE_INFECTED", 422, "The file `{name}` holds a virus: {signature}."


class ScannerUnavailable(SafelightError):
    code, status, retryable = "SCANNER_UNAVAILABLE", 503, True
    sentence = "The virus scanner does not answer; try again shortly."


class ScanTooLarge(SafelightError):
    code, status = "SCAN_TOO_LARGE", 413
    sentence = "The file is larger than the virus scanner is set to accept, and what was not scanned is not let in."


class AddressRefused(SafelightError):
    code, status = "ADDRESS_REFUSED", 422
    sentence = "This address is not called: only public hosts that exist are, over http or https on the usual ports."


class CallFailed(SafelightError):
    code, status, retryable = "CALL_FAILED", 502, True
    sentence = "The server that was called gave no answer to go on with: {reason}."


class CallRejected(SafelightError):
    code, status, sentence = "CALL_REJECTED", 422, "The server that was called answered {answered}."


class CircuitOpen(SafelightError):
    """Somebody outside failed so often of late that he is not called again yet; `retry_after` says when."""

    code, status, retryable = "CIRCUIT_OPEN", 503, True
    sentence = "What this depends on outside has failed too often of late; it is tried again in {seconds} seconds."


class AnswerInvalid(SafelightError):
    code, status, sentence = "ANSWER_INVALID", 422, "The answer of the server that was called is of no use: {reason}."


class PathInvalid(SafelightError):
    code, status, sentence = "PATH_INVALID", 422, "The output path `{path}` cannot be used: {reason}."


# What the server stands on


class StorageUnavailable(SafelightError):
    code, status, retryable = "STORAGE_UNAVAILABLE", 503, True
    sentence = "The storage does not answer; try again shortly."


class StorageFull(SafelightError):
    code, status, retryable = "STORAGE_FULL", 503, True
    sentence = "The storage has no room left; try again later."


class StorageKeyNotFound(SafelightError):
    """Bytes that a record promises are not in the storage."""

    code, status, sentence = "BYTES_NOT_FOUND", 404, "The bytes of this file are gone from the storage."


class RecordsUnavailable(SafelightError):
    code, status, retryable = "RECORDS_UNAVAILABLE", 503, True
    sentence = "The record server (Redis) does not answer; try again shortly."


class SettingsInvalid(SafelightError):
    code, status, sentence = "SETTINGS_INVALID", 500, "{reason}"


def every_error(base: type[SafelightError] = SafelightError) -> list[type[SafelightError]]:
    """Every class of error there is, the base itself included."""
    return [base, *(error for child in base.__subclasses__() for error in every_error(child))]
