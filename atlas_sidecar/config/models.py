"""The `models`, `roles` and `routing` sections; a catalog file consists of the first two."""

from __future__ import annotations

from pydantic import Field

from atlas_sidecar.config.values import (
    CAPABILITIES,
    CapabilityName,
    Date,
    Many,
    Name,
    Score,
    Section,
    Tokens,
    Usd,
    Weight,
)

_READ = "USD per million tokens read from the provider's cache; default: as input"
_UNKNOWN = "default: unknown, a cost with them is marked incomplete"
_WRITE = "USD per million tokens written to the provider's cache; default: as input"


class TokenPriceEntry(Section):
    """What tokens cost, USD per million."""

    input: Usd = Field(description="USD per million input tokens")
    output: Usd = Field(description="USD per million output tokens")
    cache_read: Usd | None = Field(default=None, description=_READ)
    cache_write: Usd | None = Field(default=None, description=_WRITE)
    cache_write_1h: Usd | None = Field(default=None, description=f"of tokens written to an hour's cache; {_UNKNOWN}")
    input_audio: Usd | None = Field(default=None, description=f"of audio within the input; {_UNKNOWN}")
    cache_read_audio: Usd | None = Field(default=None, description="of audio read from the cache; default: input_audio")
    output_audio: Usd | None = Field(default=None, description=f"of audio within the answer; {_UNKNOWN}")
    output_image: Usd | None = Field(default=None, description=f"of images within the answer; {_UNKNOWN}")


class LongContextEntry(TokenPriceEntry):
    """The price that holds for the whole request when its input is longer."""

    above_input_tokens: Tokens = Field(description="total input tokens, cache included")


class PriceEntry(TokenPriceEntry):
    """What a model charges, USD per million tokens; 0 is free."""

    web_search: Usd | None = Field(default=None, description=f"USD per thousand searches of the web; {_UNKNOWN}")
    file_search: Usd | None = Field(default=None, description=f"USD per thousand searches of stored files; {_UNKNOWN}")
    long_context: Many[LongContextEntry] = Field(default=(), description="prices for long input, by rising threshold")


class ModelEntry(Section):
    """A model, as the roles name it."""

    provider: Name = Field(description="which of `providers` serves it")
    model: Name | None = Field(default=None, description="the provider's own name of it; default: the id")
    context_window: Tokens = Field(description="input and output together, tokens")
    max_input_tokens: Tokens | None = Field(default=None, description="the longest input, tokens; null: the window")
    max_output_tokens: Tokens = Field(description="the longest output, tokens")
    reasoning_score: Score = Field(description="0..10, how well it reasons")
    speed_score: Score = Field(description="0..10, how fast it is")
    capabilities: Many[CapabilityName] = Field(default=(), description="of: " + ", ".join(CAPABILITIES))
    use_cases: Many[Name] = Field(default=(), description="what it is good at; a request that names one prefers it")
    retired: Date | None = Field(
        default=None, description="the day from which it is no longer served, such as 2026-11-30"
    )
    price: PriceEntry | None = Field(
        default=None, description="USD per million tokens; absent: genai-prices; 0 is free"
    )
    prefill: bool = Field(default=False, description="it goes on with an answer's beginning, as CONTINUE needs it")


class RoleEntry(Section):
    """Which models may serve a role."""

    tiers: Many[Many[Name]] = Field(description="lists of model ids, the primary tier first: [[a, b], [c]]")


class Catalog(Section):
    """A catalog file."""

    models: dict[Name, ModelEntry] = Field(description="models by id")
    roles: dict[Name, RoleEntry] = Field(default={}, description="roles by name")


class WeightsEntry(Section):
    """Weights of the score's terms for one complexity; what is left out keeps its default."""

    reasoning: Weight | None = Field(default=None, description="weight of the reasoning score, 0..1")
    reliability: Weight | None = Field(default=None, description="weight of the measured reliability, 0..1")
    cost: Weight | None = Field(default=None, description="weight of the cost efficiency, 0..1")
    speed: Weight | None = Field(default=None, description="weight of the speed, 0..1")


class WeightsByComplexity(Section):
    """Weights by complexity."""

    high: WeightsEntry = Field(
        default=WeightsEntry(), description="default: 0.4 reasoning, 0.3 reliability, 0.2 cost, 0.1 speed"
    )
    medium: WeightsEntry = Field(
        default=WeightsEntry(), description="default: 0.3 reasoning, 0.2 reliability, 0.3 cost, 0.2 speed"
    )
    low: WeightsEntry = Field(
        default=WeightsEntry(), description="default: 0.2 reasoning, 0.2 reliability, 0.4 cost, 0.2 speed"
    )


class SensitivityByComplexity(Section):
    """How much price counts by itself, 0..1: 0 = only when the budget cannot carry the dearest model."""

    high: Weight = Field(default=0.0, description="for hard tasks")
    medium: Weight = Field(default=0.3, description="for ordinary tasks")
    low: Weight = Field(default=1.0, description="for easy tasks")


class RoutingSettings(Section):
    """How models are scored."""

    tier_factor: Weight = Field(
        default=0.9, gt=0, description="each further tier's score is multiplied by it; 1 = ignore tiers"
    )
    weights: WeightsByComplexity = Field(default=WeightsByComplexity(), description="of the score's terms")
    price_sensitivity: SensitivityByComplexity = Field(default=SensitivityByComplexity(), description="by complexity")
