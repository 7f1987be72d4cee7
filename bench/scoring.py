"""How long one decision among the candidates takes by itself: core/scoring.rank, in microseconds of CPU.

python -m bench.scoring CONFIG.yaml        prints a JSON object: candidates -> microseconds
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Final

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.app.build import Builder, health_settings
from atlas_sidecar.config import load
from atlas_sidecar.core.roles import targets_for
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import BudgetState, Complexity, Need, Requirements, Snapshot
from atlas_sidecar.runtime.health import Health

BATCHES: Final = 15
CALLS: Final = 200


def main() -> None:
    """Measure and print."""
    configuration = load(sys.argv[1], {}, simulate=True)
    clock = SystemClock()
    engine = Builder().engine(configuration).engine
    health = Health(clock, (), {}, health_settings(configuration))
    health.reconfigure(list(engine.models.values()), engine.providers)
    models, providers = health.states(clock.monotonic_s())
    budget = BudgetState(10**12, 10**12, 10**12, 1000.0, "bench")
    snapshot = Snapshot(clock.monotonic_s(), models, providers, budget, today="2026-01-01")
    weights = engine.weights[Complexity.MEDIUM]
    answer = {}
    for role in (name for name in engine.roles if name.startswith("of-")):
        targets, _ = targets_for(engine.roles[role], engine.models, ())
        needs, need = Requirements(agent_type=role), Need(1000)
        took = []
        for _batch in range(BATCHES):
            started_s = time.thread_time()
            for _ in range(CALLS):
                decision = rank(role, targets, needs, need, snapshot, weights, "d")
            took.append((time.thread_time() - started_s) / CALLS * 1e6)
            assert len(decision.order) == len(targets)
        answer[len(targets)] = round(statistics.median(took), 1)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
