"""Makes core's values of a configuration: models, the targets of each role, weights. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final, NamedTuple

from atlas_sidecar.config.load import Configuration
from atlas_sidecar.config.models import ModelEntry, PriceEntry, TokenPriceEntry, WeightsEntry
from atlas_sidecar.config.providers import KEY_VARIABLES
from atlas_sidecar.config.settings import Settings
from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.money import NANO_PER_USD, LongContextPrice, Price
from atlas_sidecar.core.types import Capability, Complexity, Model, ModelRef, Target, Weights

# Weights of the score's terms by complexity (ROUTING): reasoning, reliability, cost, speed.
_DEFAULT_WEIGHTS: Final = {
    Complexity.HIGH: (0.4, 0.3, 0.2, 0.1),
    Complexity.MEDIUM: (0.3, 0.2, 0.3, 0.2),
    Complexity.LOW: (0.2, 0.2, 0.4, 0.2),
}


def nano_usd(usd: Decimal) -> int:
    """Return an amount in whole nano-USD; settings allow at most nine places, so that nothing is rounded."""
    return int(usd * NANO_PER_USD)


class Traits(NamedTuple):
    """What is known of models beside the configuration, asked by provider kind and the provider's own model name.

    `price_of` is asked where a model states no price; `lacks` also gets the provider's wire.
    """

    price_of: Callable[[str, str], Price | None]
    lacks: Callable[[str, str, str], frozenset[Form]] = lambda _kind, _model, _wire: frozenset()


def models(configuration: Configuration, traits: Traits) -> dict[str, Model]:
    """Return every model by id."""
    return {name: _model(name, entry, configuration, traits) for name, entry in configuration.settings.models.items()}


def unpriced(configuration: Configuration) -> list[tuple[str, str]]:
    """Return the models that state no price: provider kind and the provider's model name."""
    entries = configuration.settings.models.items()
    return [(kind_of(configuration, e.provider), e.model or name) for name, e in entries if e.price is None]


def kind_of(configuration: Configuration, provider: str) -> str:
    """Return a provider's kind. A simulated one that bears a real kind's name stands for it: same prices and traits."""
    entry = configuration.providers.get(provider)
    kind = entry.kind_of(provider) if entry else provider
    return provider if kind == "simulated" and provider in KEY_VARIABLES else kind


def _model(name: str, entry: ModelEntry, configuration: Configuration, traits: Traits) -> Model:
    kind, provider = kind_of(configuration, entry.provider), configuration.providers.get(entry.provider)
    own_name = entry.model or name
    return Model(
        ref=ModelRef(name, entry.provider, own_name),
        provider_kind=kind,
        context_window=entry.context_window,
        max_output_tokens=entry.max_output_tokens,
        reasoning_score=entry.reasoning_score,
        speed_score=entry.speed_score,
        max_input_tokens=entry.max_input_tokens,
        capabilities=frozenset(Capability[capability.upper()] for capability in entry.capabilities),
        use_cases=tuple(entry.use_cases),
        price=_price(entry.price) if entry.price else traits.price_of(kind, own_name),
        retired=entry.retired or "",
        prefill=entry.prefill,
        lacks=traits.lacks(kind, own_name, (provider.wire if provider else None) or ""),
    )


def _price(entry: PriceEntry) -> Price:
    web, file = (None if usd is None else nano_usd(usd * 1000) for usd in (entry.web_search, entry.file_search))
    flat = replace(_of_tokens(entry), web_search=web, file_search=file)
    steps = (
        LongContextPrice(step.above_input_tokens, replace(_of_tokens(step), web_search=web, file_search=file))
        for step in entry.long_context
    )
    return replace(flat, long_context=tuple(steps))


def _of_tokens(entry: TokenPriceEntry) -> Price:
    read, write, hour, audio, audio_read, audio_output, image_output = (
        None if usd is None else nano_usd(usd)
        for usd in (
            *(entry.cache_read, entry.cache_write, entry.cache_write_1h, entry.input_audio),
            *(entry.cache_read_audio, entry.output_audio, entry.output_image),
        )
    )
    plain, output = nano_usd(entry.input), nano_usd(entry.output)
    return Price(plain, output, read, write, (), hour, audio, audio_read, audio_output, image_output)


def roles(settings: Settings, by_id: Mapping[str, Model]) -> dict[str, tuple[Target, ...]]:
    """Return the targets of each role, in tier order; the first tier is 1."""
    return {
        name: tuple(Target(by_id[model], number) for number, tier in enumerate(role.tiers, 1) for model in tier)
        for name, role in settings.roles.items()
    }


def weights(settings: Settings) -> dict[Complexity, Weights]:
    """Return the score's weights and the price sensitivity of each complexity."""
    routing = settings.routing
    given: dict[Complexity, tuple[WeightsEntry, float]] = {
        Complexity.HIGH: (routing.weights.high, routing.price_sensitivity.high),
        Complexity.MEDIUM: (routing.weights.medium, routing.price_sensitivity.medium),
        Complexity.LOW: (routing.weights.low, routing.price_sensitivity.low),
    }
    return {
        complexity: Weights(*_terms(entry, _DEFAULT_WEIGHTS[complexity]), price_sensitivity=sensitivity)
        for complexity, (entry, sensitivity) in given.items()
    }


def _terms(entry: WeightsEntry, default: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    given = (entry.reasoning, entry.reliability, entry.cost, entry.speed)
    reasoning, reliability, cost, speed = (
        standard if own is None else own for own, standard in zip(given, default, strict=True)
    )
    return reasoning, reliability, cost, speed
