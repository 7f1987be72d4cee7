"""The composition root: the only place that names concrete classes and puts them together.

Rules kept here:
- What is heavy (SDK wires, price data) is imported when it is built, never when this module is.
- A reload keeps a provider whose own settings did not change: its connections, its learned limits, its script's count.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from atlas_sidecar.adapters.price_process import Pair, PriceLookup
from atlas_sidecar.adapters.providers.anthropic_rules import takes_forced_tools
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.adapters.providers.wire import forms
from atlas_sidecar.adapters.secrets import FileSecret, FixedSecret
from atlas_sidecar.app.places import reports_to_service
from atlas_sidecar.config import Configuration, KeySource
from atlas_sidecar.config import domain as values_of
from atlas_sidecar.config.domain import nano_usd
from atlas_sidecar.config.providers import KEYS_OF_KINDS, ProviderEntry
from atlas_sidecar.core.demands import Form
from atlas_sidecar.core.leases import BudgetSettings
from atlas_sidecar.core.money import Price
from atlas_sidecar.ports import Provider
from atlas_sidecar.runtime.engine import Engine, FallbackSettings, Timeouts
from atlas_sidecar.runtime.probes import HealthSettings

if TYPE_CHECKING:
    from atlas_sidecar.adapters.budget_client import GrpcBudgetGateway

# Kind -> the module below adapters.providers, and the class in it.
_PROVIDERS: Final = {
    "anthropic": ("anthropic", "AnthropicProvider"),
    "anthropic-bedrock": ("anthropic", "AnthropicProvider"),
    "anthropic-vertex": ("anthropic", "AnthropicProvider"),
    "azure-openai": ("openai", "OpenAIProvider"),
    "google": ("google", "GoogleProvider"),
    "groq": ("groq", "GroqProvider"),
    "openai": ("openai", "OpenAIProvider"),
    "vertex": ("google", "GoogleProvider"),
}
_EXTRAS: Final = tuple(key for key, kinds in KEYS_OF_KINDS.items() if kinds != ("simulated",))
_SETTINGS_OF_THEIR_OWN: Final = frozenset({"organization", "wire"})
_SCRIPT: Final = tuple(key for key, kinds in KEYS_OF_KINDS.items() if kinds == ("simulated",))


@dataclass(frozen=True, slots=True)
class Built:
    """An engine and what each of its providers was made from, so that a reload can keep them."""

    engine: Engine
    origins: Mapping[str, tuple[object, ...]]


class Builder:
    """Builds engines from configurations."""

    def __init__(self) -> None:
        self._prices: dict[Pair, Price | None] = {}

    def engine(self, configuration: Configuration, before: Built | None = None) -> Built:
        """Build the engine of a configuration; imports what it needs, so run it in a thread."""
        wanted = set(values_of.unpriced(configuration))
        lookup = PriceLookup(wanted - self._prices.keys())  # it runs while the providers are built
        names = dict.fromkeys([*configuration.providers, *_simulated_names(configuration)])
        origins = {name: self._origin(name, configuration) for name in names}
        providers = {
            name: before.engine.providers[name]
            if before is not None and before.origins.get(name) == origin
            else self._provider(name, configuration)
            for name, origin in origins.items()
        }
        self._prices.update(lookup.result())
        models = values_of.models(configuration, values_of.Traits(self._price_of, _lacks))
        settings = configuration.settings
        engine = Engine(
            config_version=configuration.version,
            models=models,
            roles=values_of.roles(settings, models),
            default_role=settings.default_role,
            providers=providers,
            weights=values_of.weights(settings),
            tier_factor=settings.routing.tier_factor,
            min_requests_remaining=settings.health.min_requests_remaining,
            fallback=FallbackSettings(**settings.fallback.model_dump()),
            timeouts=Timeouts(**settings.timeouts.model_dump()),
            simulated=configuration.simulate,
        )
        return Built(engine, origins)

    def _price_of(self, kind: str, model: str) -> Price | None:
        return self._prices.get((kind, model))

    def _origin(self, name: str, configuration: Configuration) -> tuple[object, ...]:
        entry, key = configuration.providers.get(name), configuration.keys.get(name)
        return entry, key, configuration.simulate, configuration.settings.timeouts.connect_s

    def _provider(self, name: str, configuration: Configuration) -> Provider:
        entry = configuration.providers.get(name, ProviderEntry())
        kind = entry.kind_of(name)
        if configuration.simulate or kind == "simulated":
            return _simulated(name, values_of.kind_of(configuration, name), entry)
        module_name, class_name = _PROVIDERS[kind]
        module = importlib.import_module(f"atlas_sidecar.adapters.providers.{module_name}")
        key = self._key(configuration.keys[name])
        provider: Provider = getattr(module, class_name)(_provider_settings(name, configuration, key))
        return provider

    def _key(self, source: KeySource) -> Callable[[], str | None]:
        if source.file:
            return FileSecret(source.file)
        return FixedSecret(source.secret.get_secret_value() if source.secret else None)


def _simulated_names(configuration: Configuration) -> list[str]:
    """Return whom --simulate answers for: every provider that a model names."""
    if not configuration.simulate:
        return []
    return [entry.provider for entry in configuration.settings.models.values()]


def _simulated(name: str, kind: str, entry: ProviderEntry) -> Provider:
    from atlas_sidecar.adapters.providers.simulated import SimulatedProvider, parse_script  # noqa: PLC0415

    script = entry.model_dump(mode="python", include=set(_SCRIPT), exclude_none=True, exclude_defaults=True)
    return SimulatedProvider(name, parse_script(script), kind=kind)


def _provider_settings(name: str, configuration: Configuration, key: Callable[[], str | None]) -> ProviderSettings:
    entry = configuration.providers[name]
    extra: dict[str, Any] = {key: getattr(entry, key) for key in _EXTRAS if key not in _SETTINGS_OF_THEIR_OWN}
    return ProviderSettings(
        name=name,
        kind=entry.kind_of(name),
        base_url=entry.base_url or "",
        api_key=key,
        headers=entry.headers,
        organization=entry.organization,
        ca_file=entry.ca_file,
        connect_timeout_s=configuration.settings.timeouts.connect_s,
        propagate_traceparent=entry.propagate_traceparent,
        wire=entry.wire or "",
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _lacks(kind: str, model: str, wire: str) -> frozenset[Form]:
    """Return what a model's API has no room for, and what this generation of Claude refuses."""
    lacking = forms.lacks(kind, wire)
    if kind.startswith("anthropic") and not takes_forced_tools(model):
        return lacking | {Form.FORCED_TOOL_CALL}
    return lacking


def health_settings(configuration: Configuration) -> HealthSettings:
    """Return how providers are probed."""
    return HealthSettings(probe_interval_s=configuration.settings.health.probe_interval_s)


def budget_settings(configuration: Configuration, sidecar_id: str) -> BudgetSettings:
    """Return what may be spent, and as whom."""
    budget = configuration.settings.budget
    return BudgetSettings(
        node=budget.node,
        daily_limit_nano_usd=None if budget.daily_limit_usd is None else nano_usd(budget.daily_limit_usd),
        time_zone=budget.time_zone,
        sidecar_id=budget.sidecar_id or sidecar_id,
        partition_open=budget.on_partition == "open",
    )


def budget_gateway(configuration: Configuration) -> GrpcBudgetGateway | None:
    """Return the way to the budget service, None when this sidecar keeps the books alone."""
    budget = configuration.settings.budget
    if not reports_to_service(configuration):
        return None
    from atlas_sidecar.adapters.budget_client import BudgetClientSettings, GrpcBudgetGateway  # noqa: PLC0415 - only with a service

    token = FileSecret(budget.token_file) if budget.token_file else FixedSecret(None)
    settings = BudgetClientSettings(target=budget.service, token=token)
    if budget.tls is not None:
        files = {"ca_file": budget.tls.ca_file, "cert_file": budget.tls.cert_file, "key_file": budget.tls.key_file}
        settings = BudgetClientSettings(target=budget.service, token=token, tls=True, **files)
    return GrpcBudgetGateway(settings)
