"""What the sidecar learns from answers: how long a role's answers are, how far off a model's token estimate is.

Rules kept here:
- Constant memory for each role and model; roles and models come from the configuration alone.
"""

from __future__ import annotations

from atlas_sidecar.core.calibration import Calibration
from atlas_sidecar.core.expected_output import ExpectedOutput
from atlas_sidecar.core.types import Usage


class Learning:
    """Learns from every complete answer."""

    def __init__(self) -> None:
        self._outputs: dict[str, ExpectedOutput] = {}
        self._calibrations: dict[str, Calibration] = {}

    def observe(self, role: str, model_id: str, estimated_input_tokens: int, usage: Usage) -> None:
        """Take in what an answer reported; `estimated_input_tokens` is the uncalibrated estimate."""
        if usage.output_tokens is not None:
            self._outputs.setdefault(role, ExpectedOutput()).observe(usage.total_output_tokens)
        if usage.input_tokens is not None:
            self._calibrations.setdefault(model_id, Calibration()).observe(
                estimated_input_tokens, usage.total_input_tokens
            )

    def expected_output_tokens(self, role: str) -> int:
        """Return how many tokens an answer of this role usually has."""
        return self._outputs.setdefault(role, ExpectedOutput()).expected_tokens

    def reserve_output_tokens(self, role: str) -> int | None:
        """Return how many tokens to reserve where the caller set no cap: the p95; None while too little is known."""
        return self._outputs.setdefault(role, ExpectedOutput()).p95_tokens

    def calibrated(self, model_id: str, estimated_input_tokens: int) -> int:
        """Return the estimate corrected by what this model reported so far."""
        calibration = self._calibrations.get(model_id)
        return estimated_input_tokens if calibration is None else calibration.apply(estimated_input_tokens)
