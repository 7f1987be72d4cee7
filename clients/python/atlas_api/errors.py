"""What a call that ended without an answer says, as one exception; both clients raise it.

Rules kept here:
- Everything comes from the status, its google.rpc details and the `failed` event; nothing is guessed from texts, with
  one exception: gRPC tells only in words that a request never left this process.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from atlas_api.v1 import router_pb2 as pb

_DETAILS_KEY = "grpc-status-details-bin"
_NEVER_LEFT = "failed to connect to all addresses"  # gRPC's words for: no connection could be made, nothing was sent


class AtlasError(Exception):
    """A call that ended without an answer.

    `code` is the gRPC status; `reason` is google.rpc.ErrorInfo's ("ALL_MODELS_FAILED", "BUDGET_EXHAUSTED", ...), and
    "" where the sidecar was not reached; `retry_after_s` is the smallest wait that may help, seconds; `violations` are
    pairs of a field's path and what is wrong with it; `failure` is the `failed` event, with every attempt, its class
    and cost.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, failure: pb.Failure | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = failure.reason if failure is not None else ""
        self.metadata: dict[str, str] = {}
        self.retry_after_s: float | None = None
        self.violations: list[tuple[str, str]] = []
        self.failure = failure
        self.never_ran = False  # no model was asked: the request did not leave, or a sidecar that shuts down refused it

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def attempts(self) -> list[pb.Attempt]:
        """Every request that was sent to a provider, in order."""
        return list(self.failure.attempts) if self.failure is not None else []


class TextWithdrawn(Exception):  # noqa: N818  # no error of the call: the caller chose a policy and not to hear of resets
    """Text that was already handed out is void: the answer starts over with another model (`reset`)."""


def error_of(call: Any, failure: pb.Failure | None = None) -> AtlasError:  # grpc's and grpc.aio's calls share no type
    """Return the error that a failed call stands for; `call` is the grpc.RpcError."""
    error = AtlasError(call.code(), call.details() or "", failure=failure)
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            _add_details(error, Status.FromString(value))
    unreachable = error.code is grpc.StatusCode.UNAVAILABLE and not error.reason and _NEVER_LEFT in error.message
    error.never_ran = unreachable or error.reason == "DRAINING"
    return error


def _add_details(error: AtlasError, status: Status) -> None:
    info, retry, bad = ErrorInfo(), RetryInfo(), BadRequest()
    for packed in status.details:
        if packed.Unpack(info):
            error.reason, error.metadata = info.reason, dict(info.metadata)
        elif packed.Unpack(retry):
            error.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif packed.Unpack(bad):
            error.violations = [(each.field, each.description) for each in bad.field_violations]
