"""Any request, model and snapshot, for property tests of selection."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from atlas_sidecar.core.money import LongContextPrice, Price
from atlas_sidecar.core.types import (
    BudgetState,
    Capability,
    Circuit,
    Complexity,
    Model,
    ModelRef,
    ModelState,
    Need,
    Performance,
    ProviderState,
    ProviderStatus,
    Requirements,
    Snapshot,
    Target,
    TokenLine,
    Weights,
)
from tests.core.builders import USD

NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"]
PROVIDERS = ["p", "q", "r"]
USE_CASES = ["formatting", "analysis", "coordination"]
unit = st.floats(0, 1, allow_nan=False)
scores = st.floats(0, 10, allow_nan=False)
amounts = st.integers(0, 100 * USD)
own_amounts = st.none() | amounts
flat_prices = st.builds(Price, amounts, amounts, own_amounts, own_amounts, st.just(()), *[own_amounts] * 7)
prices = st.builds(
    lambda flat, steps: replace(
        flat,
        long_context=tuple(LongContextPrice(above, step) for above, step in sorted(steps, key=lambda pair: pair[0])),
    ),
    flat_prices,
    st.lists(st.tuples(st.integers(0, 300_000), flat_prices), max_size=2, unique_by=lambda pair: pair[0]),
)
any_price = st.none() | prices
capability_sets = st.frozensets(st.sampled_from(Capability), max_size=2)
weights = st.builds(Weights, unit, unit, unit, unit, unit)
times = st.floats(0, 2_000, allow_nan=False)
model_states = st.builds(
    ModelState,
    success_rate=unit,
    reliability=unit,
    latency_ratio=unit,
    in_flight=st.integers(0, 9),
    circuit=st.sampled_from(Circuit),
    probe_free=st.booleans(),
    open_until_s=times,
    limited_until_s=times,
    time_to_first_token_p95_s=st.none() | times,
    latency_p95_s=st.none() | times,
)
provider_states = st.builds(
    ProviderState,
    status=st.sampled_from(ProviderStatus),
    reliability=unit,
    has_credentials=st.booleans(),
    requests_remaining=st.none() | st.integers(0, 20),
    limited_until_s=times,
    in_flight=st.integers(0, 9),
    concurrency_limit=st.none() | st.integers(1, 9),
    circuit=st.sampled_from(Circuit),
    probe_free=st.booleans(),
    open_until_s=times,
)
healthy_model_states = st.builds(ModelState, success_rate=unit, reliability=unit, latency_ratio=unit)
healthy_provider_states = st.builds(
    ProviderState, reliability=unit, in_flight=st.integers(0, 4), concurrency_limit=st.none() | st.integers(5, 9)
)
budgets = st.one_of(
    st.just(BudgetState()),
    st.builds(
        BudgetState,
        limit_nano_usd=st.integers(0, 200 * USD),
        remaining_nano_usd=st.integers(-USD, 100 * USD),
        headroom_nano_usd=st.none() | st.integers(-USD, 100 * USD),
        expected_requests=st.floats(0, 1e6, allow_nan=False),
    ),
)
floors = st.just(Performance()) | st.builds(
    Performance,
    max_time_to_first_token_s=st.none() | times,
    max_latency_s=st.none() | times,
    min_reasoning_score=scores,
    min_speed_score=scores,
    min_success_rate=unit,
)
requirements = st.builds(
    Requirements,
    agent_type=st.sampled_from(["", "worker", "research-supervisor"]),
    complexity=st.sampled_from(Complexity),
    use_cases=st.lists(st.sampled_from(USE_CASES), max_size=2).map(tuple),
    performance=floors,
    capabilities=capability_sets,
    only_models=st.just(()) | st.lists(st.sampled_from(NAMES), max_size=4).map(tuple),
    exclude_models=st.just(()) | st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
)
needs = st.builds(
    Need,
    input_tokens=st.integers(0, 400_000),
    max_output_tokens=st.none() | st.integers(1, 200_000),
    capabilities=capability_sets,
    max_cost_nano_usd=st.none() | amounts,
)


@st.composite
def models(draw: st.DrawFn, name: str, price_strategy: st.SearchStrategy[Price | None] = any_price) -> Model:
    window = draw(st.integers(1_000, 1_000_000))
    return Model(
        ref=ModelRef(name, draw(st.sampled_from(PROVIDERS)), name),
        provider_kind="simulated",
        context_window=window,
        max_output_tokens=draw(st.integers(1, 130_000)),
        reasoning_score=draw(scores),
        speed_score=draw(scores),
        max_input_tokens=draw(st.none() | st.integers(1_000, window)),
        capabilities=draw(st.just(frozenset(Capability)) | capability_sets),
        use_cases=tuple(draw(st.lists(st.sampled_from(USE_CASES), max_size=2, unique=True))),
        price=draw(price_strategy),
        retired=draw(st.sampled_from(["", "", "", "2026-01-01", "2027-01-01"])),
    )


@st.composite
def target_lists(
    draw: st.DrawFn, price_strategy: st.SearchStrategy[Price | None] = any_price, most: int = 5
) -> tuple[Target, ...]:
    names = NAMES[: draw(st.integers(1, most))]
    return tuple(Target(draw(models(name, price_strategy)), draw(st.integers(1, 3))) for name in names)


def snapshots(
    model_state: st.SearchStrategy[ModelState] = model_states,
    provider_state: st.SearchStrategy[ProviderState] = provider_states,
    budget: st.SearchStrategy[BudgetState] = budgets,
) -> st.SearchStrategy[Snapshot]:
    return st.builds(
        Snapshot,
        now_s=st.just(1_000.0),
        models=st.dictionaries(st.sampled_from(NAMES), model_state),
        providers=st.dictionaries(st.sampled_from(PROVIDERS), provider_state),
        budget=budget,
        expected_output_tokens=st.integers(1, 5_000),
        affinity_model=st.sampled_from(["", *NAMES]),
        today=st.just("2026-11-23"),
        config_version=st.just("v1"),
        reserve_output_tokens=st.none() | st.integers(1, 10_000),
        token_lines=st.dictionaries(
            st.sampled_from(NAMES), st.builds(TokenLine, st.floats(0.5, 2.0), st.floats(-1_000.0, 1_000.0))
        ),
    )
