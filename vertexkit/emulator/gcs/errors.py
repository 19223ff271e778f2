"""What Cloud Storage answers when it refuses: an HTTP status, a reason and words.

Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes and
https://cloud.google.com/storage/docs/xml-api/reference-status
"""

from __future__ import annotations

import errno
import sqlite3


class StorageError(Exception):
    """A refusal. The JSON and the XML API each write it in their own way.

    Attributes:
        status: HTTP status.
        reason: The JSON API's ``errors[].reason``.
        message: What is wrong, in the service's words where they are known.
        xml_code: The XML API's ``Error/Code``.
        location: The parameter or header at fault, if the service names it.
    """

    def __init__(
        self, status: int, reason: str, message: str, xml_code: str, *, location: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.xml_code = xml_code
        self.location = location


def no_such_bucket() -> StorageError:
    """The bucket of the request does not exist."""
    return StorageError(404, "notFound", "The specified bucket does not exist.", "NoSuchBucket")


def no_such_object(bucket: str, name: str) -> StorageError:
    """The object of the request does not exist, or not in the generation asked for."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}", "NoSuchKey")


def no_such_upload() -> StorageError:
    """The upload of the request was never started, or has ended."""
    return StorageError(404, "notFound", "The requested upload was not found.", "NoSuchUpload")


def conflict(message: str, xml_code: str) -> StorageError:
    """The request contradicts what is there."""
    return StorageError(409, "conflict", message, xml_code)


def invalid(message: str, *, reason: str = "invalid", xml_code: str = "InvalidArgument") -> StorageError:
    """The request is malformed."""
    return StorageError(400, reason, message, xml_code)


def bad_digest(message: str) -> StorageError:
    """The bytes that came are not the bytes that were announced."""
    return StorageError(400, "invalid", message, "BadDigest")


def required(parameter: str) -> StorageError:
    """A parameter that the method needs is missing."""
    message = f"Required parameter: {parameter}"
    return StorageError(400, "required", message, "InvalidArgument", location=parameter)


def precondition_failed(location: str) -> StorageError:
    """A precondition of the request does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", message, "PreconditionFailed", location=location)


def not_modified(location: str) -> StorageError:
    """The reader already has what it asks for."""
    return StorageError(304, "notModified", "Not Modified", "NotModified", location=location)


def range_not_satisfiable(size: int) -> StorageError:
    """The range asked for starts behind the object's last byte."""
    return StorageError(
        416, "requestedRangeNotSatisfiable", f"Request range not satisfiable: {size} bytes", "InvalidRange"
    )


def is_full(error: Exception) -> bool:
    """Whether an error is that of a disk with no room left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code == sqlite3.SQLITE_FULL


def disk_full() -> StorageError:
    """There is no room for what is to be written. Not one of the errors that clients repeat for minutes."""
    return StorageError(
        413,
        "uploadTooLarge",
        "The disk that the local Cloud Storage is on is full: there is no room for the object.",
        "EntityTooLarge",
    )


def unimplemented(what: str) -> StorageError:
    """The service does this, and the local one does not."""
    return StorageError(
        501, "notImplemented", f"The local Vertex AI does not implement {what}.", "NotImplemented"
    )
