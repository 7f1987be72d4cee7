"""The sixteen picks that ROUTING.md lists as acceptance, with the catalogs and prices that ship."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import pytest
import yaml

from atlas_sidecar.adapters.prices import GenaiPrices
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.roles import targets_of_tiers
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import BudgetState, Capability, Complexity, Model, ModelRef, Requirements, Target
from tests.core.builders import USD, WEIGHTS, need, snapshot

NOVEMBER = datetime(2026, 11, 23, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 24, tzinfo=UTC)  # from the first of it Gemini costs twice as much
HIGH, MEDIUM, LOW = Complexity.HIGH, Complexity.MEDIUM, Complexity.LOW
PICKS = [
    ("atlas-2024", "supervisor", HIGH, "claude-3-opus"),
    ("atlas-2024", "supervisor", MEDIUM, "claude-3-opus"),
    ("atlas-2024", "supervisor", LOW, "gemini-pro-1.5"),
    ("atlas-2024", "worker", HIGH, "claude-3-sonnet"),
    ("atlas-2024", "worker", MEDIUM, "claude-3-sonnet"),
    ("atlas-2024", "worker", LOW, "gpt-4o-mini"),
    ("default", "supervisor", HIGH, "claude-opus-5-5"),
    ("default", "supervisor", MEDIUM, "gpt-6.1-sol"),
    ("default", "supervisor", LOW, "gpt-6.1-sol"),
    ("default", "worker", HIGH, "claude-sonnet-5-5"),
    ("default", "worker", MEDIUM, "claude-sonnet-5-5"),
    ("default", "worker", LOW, "gpt-6-luna"),
]
SCARCE_PICKS = [
    ("atlas-2024", "supervisor", "gemini-pro-1.5"),
    ("atlas-2024", "worker", "gpt-4o-mini"),
    ("default", "supervisor", "gpt-6.1-sol"),
    ("default", "worker", "gpt-6-luna"),
]


def catalog(name: str) -> Mapping[str, Any]:
    text = resources.files("atlas_sidecar.catalog").joinpath(f"{name}.yaml").read_text("utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded


def role_targets(name: str, role: str, now: datetime) -> tuple[Target, ...]:
    prices = GenaiPrices(lambda: now)
    models = {}
    for model_id, entry in catalog(name)["models"].items():
        stated = entry.get("price")
        models[model_id] = Model(
            ref=ModelRef(model_id, entry["provider"], entry["model"]),
            provider_kind=entry["provider"],
            context_window=entry["context_window"],
            max_output_tokens=entry["max_output_tokens"],
            reasoning_score=entry["reasoning_score"],
            speed_score=entry["speed_score"],
            max_input_tokens=entry["max_input_tokens"],
            capabilities=frozenset(Capability[c.upper()] for c in entry["capabilities"]),
            use_cases=tuple(entry["use_cases"]),
            price=Price(round(stated["input"] * USD), round(stated["output"] * USD))
            if stated
            else prices.price(entry["provider"], entry["model"]),
        )
    return targets_of_tiers(catalog(name)["roles"][role]["tiers"], models)


@pytest.mark.parametrize("now", [NOVEMBER, DECEMBER], ids=["november", "december"])
@pytest.mark.parametrize(("name", "role", "complexity", "expected"), PICKS)
def test_the_healthy_unlimited_pick_is_the_listed_one(
    name: str, role: str, complexity: Complexity, expected: str, now: datetime
) -> None:
    found = rank(role, role_targets(name, role, now), Requirements(), need(2_000), snapshot(), WEIGHTS[complexity], "d")
    assert found.selected is not None
    assert found.selected.model.ref.id == expected
    assert len(found.order) == len(found.candidates) == 3
    assert not found.cost_optimization


@pytest.mark.parametrize("now", [NOVEMBER, DECEMBER], ids=["november", "december"])
@pytest.mark.parametrize(("name", "role", "expected"), SCARCE_PICKS)
def test_with_less_than_a_fifth_of_the_budget_even_hard_work_goes_to_the_listed_cheaper_model(
    name: str, role: str, expected: str, now: datetime
) -> None:
    scarce = snapshot(budget=BudgetState(100 * USD, 19 * USD, 19 * USD))
    found = rank(role, role_targets(name, role, now), Requirements(), need(2_000), scarce, WEIGHTS[HIGH], "d")
    assert found.selected is not None
    assert found.selected.model.ref.id == expected
    assert found.cost_optimization


@pytest.mark.parametrize("name", ["default", "atlas-2024"])
def test_every_model_of_a_catalog_is_used_priced_and_complete(name: str) -> None:
    data = catalog(name)
    used = {model_id for role in data["roles"].values() for tier in role["tiers"] for model_id in tier}
    assert used == set(data["models"])
    for role in data["roles"]:
        for target in role_targets(name, role, NOVEMBER):
            assert target.model.price is not None
            assert target.model.price.input > 0
            assert 0 <= target.model.reasoning_score <= 10
            assert 0 <= target.model.speed_score <= 10
