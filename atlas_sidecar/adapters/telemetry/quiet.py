"""Telemetry that records nothing: for tests and for programs that embed the router."""

from __future__ import annotations

from collections.abc import Mapping

from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import Attempt, Decision, GenerateRequest, Model, ModelRef, Rejection
from atlas_sidecar.ports import HopOutcome, RequestOutcome


class _Attempt:
    traceparent = ""

    def end(self, attempt: Attempt, error: ProviderError | None) -> None:
        pass


class _Hop:
    def start_attempt(self, number: int, attempt_id: str) -> _Attempt:
        return _ATTEMPT

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        pass

    def restarted(self) -> None:
        pass

    def first_content(self, seconds: float) -> None:
        pass

    def end(self, outcome: HopOutcome) -> None:
        pass


class _Request:
    trace_id = ""

    def selected(self, decision: Decision, started_unix_s: float, seconds: float) -> None:
        pass

    def start_hop(self, index: int, model: Model, reason: str, address: tuple[str, int]) -> _Hop:
        return _HOP

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        pass

    def skipped(self, model: ModelRef, rejection: Rejection | None, detail: str) -> None:
        pass

    def repeat_refused(self, model: ModelRef) -> None:
        pass

    def end(self, outcome: RequestOutcome) -> None:
        pass


_ATTEMPT, _HOP, _REQUEST = _Attempt(), _Hop(), _Request()


class NoTelemetry:
    """Implements ports.Telemetry and does nothing."""

    def start_request(self, method: str, metadata: Mapping[str, str], request: GenerateRequest | None) -> _Request:
        """Return a trace that forgets everything."""
        return _REQUEST

    def counted(self, method: str, elapsed_s: float, status_code: int) -> None:
        """Do nothing."""
