"""Short ways to build the values of selection for tests; every argument has a harmless default."""

from __future__ import annotations

from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.types import (
    BudgetState,
    Capability,
    Complexity,
    Model,
    ModelRef,
    ModelState,
    Need,
    ProviderState,
    Requirements,
    Snapshot,
    Target,
    Weights,
)

USD = 1_000_000_000
WEIGHTS = {
    Complexity.HIGH: Weights(0.4, 0.3, 0.2, 0.1, 0.0),
    Complexity.MEDIUM: Weights(0.3, 0.2, 0.3, 0.2, 0.3),
    Complexity.LOW: Weights(0.2, 0.2, 0.4, 0.2, 1.0),
}
ALL_CAPABILITIES = frozenset(Capability)
FREE = Price(0, 0)


def price(input_usd: float, output_usd: float | None = None) -> Price:
    """Return a price in USD per million tokens; one number is both directions."""
    return Price(round(input_usd * USD), round((input_usd if output_usd is None else output_usd) * USD))


def model(
    name: str = "m",
    *,
    provider: str = "p",
    window: int = 100_000,
    max_input: int | None = None,
    max_output: int = 4_000,
    reasoning: float = 8.0,
    speed: float = 8.0,
    capabilities: frozenset[Capability] = ALL_CAPABILITIES,
    use_cases: tuple[str, ...] = (),
    cost: Price | None = FREE,
    retired: str = "",
) -> Model:
    return Model(
        ref=ModelRef(name, provider, f"{name}-at-provider"),
        provider_kind="simulated",
        context_window=window,
        max_output_tokens=max_output,
        reasoning_score=reasoning,
        speed_score=speed,
        max_input_tokens=max_input,
        capabilities=capabilities,
        use_cases=use_cases,
        price=cost,
        retired=retired,
    )


def targets(*models: Model) -> tuple[Target, ...]:
    """Return one tier per model."""
    return tuple(Target(one, tier) for tier, one in enumerate(models, start=1))


def snapshot(
    *,
    models: dict[str, ModelState] | None = None,
    providers: dict[str, ProviderState] | None = None,
    budget: BudgetState = BudgetState(),  # noqa: B008 - frozen
    now_s: float = 1000.0,
    affinity: str = "",
    today: str = "2026-11-23",
    expected_output_tokens: int = 500,
    reserve_output_tokens: int | None = None,
) -> Snapshot:
    return Snapshot(
        now_s=now_s,
        models=models or {},
        providers=providers or {},
        budget=budget,
        expected_output_tokens=expected_output_tokens,
        affinity_model=affinity,
        today=today,
        config_version="v1",
        reserve_output_tokens=reserve_output_tokens,
    )


def need(
    input_tokens: int = 2_000,
    max_output_tokens: int | None = None,
    capabilities: frozenset[Capability] = frozenset(),
    max_cost_nano_usd: int | None = None,
    forms: frozenset[Form] = frozenset(),
) -> Need:
    return Need(input_tokens, max_output_tokens, capabilities, max_cost_nano_usd, forms)


ANYTHING = Requirements()
