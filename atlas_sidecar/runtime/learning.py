"""What the sidecar learns from answers: how long a role's answers are, how far off a model's token estimate is.

Rules kept here:
- Constant memory for each role and model; roles and models come from the configuration alone.
"""

from __future__ import annotations

from atlas_sidecar.core.calibration import Calibration
from atlas_sidecar.core.expected_output import ExpectedOutput
from atlas_sidecar.core.types import Model, Need, Usage


class Learning:
    """Learns from every complete answer."""

    def __init__(self) -> None:
        self._outputs: dict[str, ExpectedOutput] = {}
        self._calibrations: dict[str, Calibration] = {}

    def observe(self, role: str, model: Model, need: Need, usage: Usage, *, estimable: bool = True) -> None:
        """Take in what an answer reported; `need` holds the uncalibrated estimate.

        `estimable` False: the request had parts that no estimate sees (hosted tools), so it teaches nothing.
        """
        if usage.output_tokens is not None:
            self._outputs.setdefault(role, ExpectedOutput()).observe(usage.total_output_tokens)
        if usage.input_tokens is not None and estimable:
            self._calibration(model).observe(need.input_tokens, usage.total_input_tokens, need.capabilities)

    def expected_output_tokens(self, role: str) -> int:
        """Return how many tokens an answer of this role usually has."""
        return self._outputs.setdefault(role, ExpectedOutput()).expected_tokens

    def reserve_output_tokens(self, role: str) -> int | None:
        """Return how many tokens to reserve where the caller set no cap: the p95; None while too little is known."""
        return self._outputs.setdefault(role, ExpectedOutput()).p95_tokens

    def calibrated(self, model: Model, need: Need) -> int:
        """Return the estimate corrected by what is known of this model's kind, and by what it reported so far."""
        return self._calibration(model).apply(need.input_tokens, need.capabilities)

    def _calibration(self, model: Model) -> Calibration:
        calibration = self._calibrations.get(model.ref.id)
        if calibration is None:
            calibration = self._calibrations[model.ref.id] = Calibration(model.provider_kind)
        return calibration
