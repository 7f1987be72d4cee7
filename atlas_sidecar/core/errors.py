"""One error type with a class, and the two tables that give it meaning.

Rules kept here:
- Whatever goes wrong has exactly one ErrorClass (what routing does about it) or one Reason (what the caller is told).
- Messages are safe to show: no key, no prompt, no provider body. Whoever raises keeps that promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class ErrorClass(IntEnum):
    """What kind of failure an attempt met; numbers are those of atlas_api.v1.ErrorClass."""

    RATE_LIMITED = 1
    OVERLOADED = 2
    TEMPORARY = 3
    TIMEOUT = 4
    QUOTA_EXHAUSTED = 5
    AUTH = 6
    MODEL_UNAVAILABLE = 7
    CONTEXT_TOO_LONG = 8
    CONTENT_FILTERED = 9
    INVALID_REQUEST = 10
    STREAM_BROKEN = 11
    CANCELLED = 12
    DEADLINE = 13
    BUDGET = 14
    OTHER = 15

    @property
    def label(self) -> str:
        """The lower-case name, as telemetry and logs show it ("rate_limited")."""
        return self.name.lower()


class Reason(StrEnum):
    """Why a call ended without an answer; the `reason` of google.rpc.ErrorInfo and of Failure."""

    INVALID_REQUEST = "INVALID_REQUEST"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    UNKNOWN_BUDGET = "UNKNOWN_BUDGET"
    BUDGET_NOT_ALLOWED = "BUDGET_NOT_ALLOWED"
    NO_ELIGIBLE_MODEL = "NO_ELIGIBLE_MODEL"
    MAX_COST = "MAX_COST"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    ALL_MODELS_FAILED = "ALL_MODELS_FAILED"
    BUDGET_UNAVAILABLE = "BUDGET_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    STREAM_BROKEN = "STREAM_BROKEN"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    DUPLICATE = "DUPLICATE"
    DRAINING = "DRAINING"
    INTERNAL = "INTERNAL"


# Reason -> gRPC status code, by number (google.rpc.Code), so that core needs no grpc.
STATUS_OF: Final[dict[Reason, int]] = {
    Reason.INVALID_REQUEST: 3,
    Reason.UNKNOWN_MODEL: 3,
    Reason.UNKNOWN_BUDGET: 3,
    Reason.BUDGET_NOT_ALLOWED: 7,
    Reason.NO_ELIGIBLE_MODEL: 9,
    Reason.MAX_COST: 9,
    Reason.CONTENT_FILTERED: 9,
    Reason.BUDGET_EXHAUSTED: 8,
    Reason.ALL_MODELS_FAILED: 14,
    Reason.BUDGET_UNAVAILABLE: 14,
    Reason.OVERLOADED: 8,
    Reason.STREAM_BROKEN: 10,
    Reason.DEADLINE: 4,
    Reason.CANCELLED: 1,
    Reason.DUPLICATE: 6,
    Reason.DRAINING: 14,
    Reason.INTERNAL: 13,
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong; `field` is its proto path ("tools[0].name")."""

    field: str
    description: str


class AtlasError(Exception):
    """A call that ends without an answer: the reason, a safe message, and what the caller can do.

    `retry_after_s`: the smallest wait that may help, seconds. `violations`: on INVALID_REQUEST, which fields.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.violations = violations
        self.metadata = metadata or {}

    @property
    def status_code(self) -> int:
        """The gRPC status code, as a number."""
        return STATUS_OF[self.reason]


class ProviderError(Exception):
    """An attempt that failed: its class, the provider's code, a safe message, and the wait that the provider asked for.

    `http_status` is 0 where no HTTP answer came. `code` is the provider's own code or type, bounded to 128 characters.
    `breaks_model`: False where the fault is of this one prompt or parameter, so that no breaker may open for it.
    `retry_once`: TEMPORARY that is worth one more request only (a malformed tool call).
    `scope`: "model" or "provider", what the failure says something about; `provider_request_id`; `sent`: False where
    nothing reached the provider, so that nothing can have been charged. These three may be set later.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        *,
        code: str = "",
        http_status: int = 0,
        retry_after_s: float | None = None,
        breaks_model: bool = True,
        retry_once: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.code = code[:128]
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.breaks_model = breaks_model
        self.retry_once = retry_once
        self.scope = "provider" if error_class in (ErrorClass.AUTH, ErrorClass.QUOTA_EXHAUSTED) else "model"
        self.provider_request_id = ""
        self.sent = True

    def __repr__(self) -> str:
        return f"ProviderError({self.error_class.label}, code={self.code!r}, http_status={self.http_status})"
