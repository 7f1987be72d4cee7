"""Gathers what is known at one moment into the Snapshot that a decision is made from; waits for nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from atlas_sidecar.core.types import Need, Requirements, Snapshot
from atlas_sidecar.ports import Clock
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.engine import Engine
from atlas_sidecar.runtime.health import Health
from atlas_sidecar.runtime.learning import Learning
from atlas_sidecar.runtime.sessions import Sessions


class Snapshots:
    """Takes snapshots of health, budget, learning and sessions."""

    def __init__(self, health: Health, budget: Budget, learning: Learning, clock: Clock) -> None:
        self._health = health
        self._budget = budget
        self._learning = learning
        self._clock = clock
        self._sessions = Sessions()
        self._today = ("", 0.0)

    def take(self, engine: Engine, requirements: Requirements, need: Need, role: str) -> Snapshot:
        """Return what is known now; raises AtlasError when the budget node is not one that may be used."""
        now_s = self._clock.monotonic_s()
        models, providers = self._health.states(now_s)
        session_id = requirements.session_id
        return Snapshot(
            now_s=now_s,
            models=models,
            providers=providers,
            budget=self._budget.state(self._budget.resolve(requirements.budget)),
            expected_output_tokens=self._learning.expected_output_tokens(role),
            affinity_model=self._sessions.last_model(session_id, now_s) if session_id else "",
            today=self._date(),
            config_version=engine.config_version,
            min_requests_remaining=engine.min_requests_remaining,
            reserve_output_tokens=self._learning.reserve_output_tokens(role),
            token_lines=self._learning.lines(engine.models, need.capabilities),
        )

    def remember(self, session_id: str, model_id: str) -> None:
        """Note that this model answered the session."""
        if session_id:
            self._sessions.remember(session_id, model_id, self._clock.monotonic_s())

    def _date(self) -> str:
        unix_s = self._clock.unix_s()
        date, until_s = self._today
        if unix_s >= until_s or unix_s < until_s - 86_400:
            date = datetime.fromtimestamp(unix_s, UTC).date().isoformat()
            self._today = (date, (unix_s // 86_400 + 1) * 86_400)
        return date
