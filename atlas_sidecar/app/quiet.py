"""Telemetry that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping

from atlas_sidecar.core.errors import ProviderError
from atlas_sidecar.core.types import Attempt, Decision, GenerateRequest, Model, ModelRef, Rejection
from atlas_sidecar.ports import HopOutcome, RequestOutcome


class Quiet:
    """Implements ports.Telemetry and all its traces by doing nothing."""

    trace_id = ""
    traceparent = ""

    def start_request(self, method: str, metadata: Mapping[str, str], request: GenerateRequest | None) -> Quiet:
        """Begin nothing."""
        return self

    def selected(self, decision: Decision, started_unix_s: float, seconds: float) -> None:
        """Record nothing."""

    def start_hop(self, index: int, model: Model, reason: str, address: tuple[str, int]) -> _QuietHop:
        """Begin nothing."""
        return _QuietHop()

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        """Record nothing."""

    def skipped(self, model: ModelRef, rejection: Rejection | None, detail: str) -> None:
        """Record nothing."""

    def end(self, outcome: RequestOutcome) -> None:
        """End nothing."""


class _QuietHop:
    def start_attempt(self, number: int, attempt_id: str) -> _QuietAttempt:
        return _QuietAttempt()

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        pass

    def first_content(self, seconds: float) -> None:
        pass

    def end(self, outcome: HopOutcome) -> None:
        pass


class _QuietAttempt:
    traceparent = ""

    def end(self, attempt: Attempt, error: ProviderError | None) -> None:
        pass
