"""Turns the reason why a call ended into a gRPC status with small google.rpc details in its trailers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from atlas_sidecar.core.errors import STATUS_OF, AtlasError, FieldViolation, Reason
from atlas_sidecar.server.replies import duration

DOMAIN: Final = "atlas.sidecar"
DETAILS_KEY: Final = "grpc-status-details-bin"
# gRPC's default bound on all of a call's metadata is 8 KiB; the details get a part of it.
MAX_DETAILS_BYTES: Final = 4096
MAX_MESSAGE_BYTES: Final = 1024
MAX_DESCRIPTION_BYTES: Final = 1024
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Ending:
    """A status other than OK: code, message and trailing metadata."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.code = _CODES[STATUS_OF[reason]]
        self.message = _shortened(message, MAX_MESSAGE_BYTES)
        details = [_packed(ErrorInfo(reason=reason.value, domain=DOMAIN, metadata=metadata or {}))]
        if retry_after_s is not None:
            details.append(_packed(RetryInfo(retry_delay=duration(retry_after_s))))
        status = Status(code=STATUS_OF[reason], message=self.message, details=details)
        if violations:
            _add_violations(status, violations)
        self.trailers = ((DETAILS_KEY, status.SerializeToString()),)

    @classmethod
    def of(cls, error: AtlasError) -> Ending:
        """Return the status of an error."""
        return cls(error.reason, error.message, error.retry_after_s, error.violations, error.metadata)


def _add_violations(status: Status, violations: tuple[FieldViolation, ...]) -> None:
    """Add as many violations as fit."""
    request = BadRequest()
    left = MAX_DETAILS_BYTES - status.ByteSize()
    for violation in violations:
        description = _shortened(violation.description, MAX_DESCRIPTION_BYTES)  # it may list every model there is
        one = BadRequest.FieldViolation(field=violation.field, description=description)
        left -= one.ByteSize() + 8
        if left < 0 and request.field_violations:
            break
        request.field_violations.append(one)
    status.details.append(_packed(request))


def _shortened(text: str, most_bytes: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in a header: %XX for each that is not ASCII."""
    size = 0
    for i, character in enumerate(text):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if size > most_bytes:
            return text[:i]
    return text


def _packed(message: ErrorInfo | RetryInfo | BadRequest) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
