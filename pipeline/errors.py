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


class RouteNotFound(SafelightError):
    code, status, sentence = "NOT_FOUND", 404, "Nothing is served at this address."


class MethodNotAllowed(SafelightError):
    code, status, sentence = "METHOD_NOT_ALLOWED", 405, "This address answers {allowed} only."


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


class TypeNotAllowed(SafelightError):
    code, status = "TYPE_NOT_ALLOWED", 415
    sentence = "Files of type {found} are not accepted here; allowed: {allowed}."


class TypeMismatch(SafelightError):
    code, status = "TYPE_MISMATCH", 415
    sentence = "The file was declared as {declared} but its bytes are {found}."


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


class OffsetMismatch(SafelightError):
    code, status, sentence = "OFFSET_MISMATCH", 409, "The upload stands at {expected}, not at {given}."


class PartTooSmall(SafelightError):
    code, status = "PART_TOO_SMALL", 422
    sentence = "Part {number} has {size} bytes; every part but the last needs at least {least}."


class FileNotFound(SafelightError):
    code, status, sentence = "FILE_NOT_FOUND", 404, "There is no file {id}."


class GroupNotFound(SafelightError):
    code, status, sentence = "GROUP_NOT_FOUND", 404, "There is no group {id}."


class RangeNotSatisfiable(SafelightError):
    code, status, sentence = "RANGE_NOT_SATISFIABLE", 416, "The range lies outside the {size} bytes of the file."


# Images


class ImageUnreadable(SafelightError):
    code, status, sentence = "IMAGE_UNREADABLE", 422, "The image cannot be read: {reason}."


class ImageTooLarge(SafelightError):
    code, status, sentence = "IMAGE_TOO_LARGE", 422, "The image has {pixels} pixels; the limit is {limit}."


class ImageFramesTooMany(ImageTooLarge):
    sentence = "The image has {frames} frames; the limit is {limit}."


class ImageMemoryExceeded(ImageTooLarge):
    sentence = "The image work needs more than the {limit} bytes of memory it may have."


class ImageTimeout(SafelightError):
    code, status, sentence = "IMAGE_TIMEOUT", 422, "The image work did not end within {seconds} seconds."


class ImageCrashed(SafelightError):
    code, status, retryable = "IMAGE_CRASHED", 422, True
    sentence = "The image work ended the process that did it (exit code {exit_code})."


class VideoUnreadable(SafelightError):
    code, status, sentence = "VIDEO_UNREADABLE", 422, "The video cannot be read: {reason}."


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


class UrlInputUnsupported(SafelightError):
    code, status = "URL_INPUT_UNSUPPORTED", 422
    sentence = "The input `{input}` is given as a URL; send the file itself or the id of one."


class RunNotFound(SafelightError):
    code, status, sentence = "RUN_NOT_FOUND", 404, "There is no run {id}."


class RunEnded(SafelightError):
    code, status, sentence = "RUN_ENDED", 409, "The run {id} has already ended as {status}."


class RunNotEnded(SafelightError):
    code, status, sentence = "RUN_NOT_ENDED", 409, "The run {id} is {status}; only an ended run can be run again."


class RunCancelled(SafelightError):
    code, status, sentence = "RUN_CANCELLED", 409, "The run was cancelled."


class RunPoisoned(SafelightError):
    code, status, sentence = "RUN_POISONED", 422, "The run was given up: its worker died {times} times while it ran."


class RunTimeout(SafelightError):
    code, status, sentence = "RUN_TIMEOUT", 422, "The run did not end within {seconds} seconds."


class WorkerLost(SafelightError):
    code, status, retryable = "WORKER_LOST", 503, True
    sentence = "The worker was lost before the run had ended."


class WorkerNotFound(SafelightError):
    code, status, sentence = "WORKER_NOT_FOUND", 404, "No worker `{id}` is alive."


class QueueNotFound(SafelightError):
    code, status, sentence = "QUEUE_NOT_FOUND", 404, "There is no queue `{name}`; there are {known}."


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


class AddressRefused(SafelightError):
    code, status = "ADDRESS_REFUSED", 422
    sentence = "This address is not called: only public hosts that exist are, over http or https on the usual ports."


class CallFailed(SafelightError):
    code, status, retryable = "CALL_FAILED", 502, True
    sentence = "The server that was called gave no answer to go on with: {reason}."


class CallRejected(SafelightError):
    code, status, sentence = "CALL_REJECTED", 422, "The server that was called answered {answered}."


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
