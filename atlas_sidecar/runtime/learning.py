"""What the sidecar learns from answers: how long a role's answers are, how far off a model's token estimate is.

Rules kept here:
- Constant memory for each role and model; roles and models come from the configuration alone.
- `lines` is asked for every request: it is kept by the shape of requests, and made anew only where something was
  learned. A mapping that was given out never changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from atlas_sidecar.core.calibration import AS_ESTIMATED, SHAPES, Calibration, prior_of
from atlas_sidecar.core.expected_output import ExpectedOutput
from atlas_sidecar.core.types import Capability, Model, Need, TokenLine, Usage


class Learning:
    """Learns from every complete answer."""

    def __init__(self) -> None:
        self._outputs: dict[str, ExpectedOutput] = {}
        self._calibrations: dict[str, Calibration] = {}
        self._models: Mapping[str, Model] = {}
        self._lines: dict[frozenset[Capability], dict[str, TokenLine]] = {}

    def observe(self, role: str, model: Model, need: Need, usage: Usage, *, estimable: bool = True) -> None:
        """Take in what an answer reported; `need` holds the uncalibrated estimate.

        `estimable` False: the request had parts that no estimate sees (hosted tools), so it teaches nothing.
        """
        if usage.output_tokens is not None:
            self._outputs.setdefault(role, ExpectedOutput()).observe(usage.total_output_tokens)
        if usage.input_tokens is not None and estimable:
            self._calibration(model).observe(need.input_tokens, usage.total_input_tokens, need.capabilities)
            self._redraw(model)

    def expected_output_tokens(self, role: str) -> int:
        """Return how many tokens an answer of this role usually has."""
        return self._outputs.setdefault(role, ExpectedOutput()).expected_tokens

    def reserve_output_tokens(self, role: str) -> int | None:
        """Return how many tokens to reserve where the caller set no cap: the p95; None while too little is known."""
        return self._outputs.setdefault(role, ExpectedOutput()).p95_tokens

    def lines(self, models: Mapping[str, Model], uses: frozenset[Capability]) -> Mapping[str, TokenLine]:
        """Return what the models make of estimates, by id, of those that differ; `models`: the configuration's."""
        if models is not self._models:
            self._models = models
            self._lines.clear()
        shape = uses & SHAPES
        lines = self._lines.get(shape)
        if lines is None:
            drawn = {model_id: self._calibration(model).line(shape) for model_id, model in models.items()}
            lines = self._lines[shape] = {i: line for i, line in drawn.items() if line != AS_ESTIMATED}
        return lines

    def _redraw(self, model: Model) -> None:
        if self._models.get(model.ref.id) is not model:
            return
        for shape, lines in self._lines.items():
            self._lines[shape] = {**lines, model.ref.id: self._calibration(model).line(shape)}

    def _calibration(self, model: Model) -> Calibration:
        calibration = self._calibrations.get(model.ref.id)
        if calibration is None:
            calibration = self._calibrations[model.ref.id] = Calibration(prior_of(model.provider_kind))
        return calibration
