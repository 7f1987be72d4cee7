"""What must hold between several keys: names that refer to each other, sums, addresses and their protection.

Every rule is a function of the whole settings that yields (path, message); nothing here reads files or environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from atlas_sidecar.config.address import parse_address
from atlas_sidecar.config.errors import Path
from atlas_sidecar.config.explain import nearest
from atlas_sidecar.config.models import ModelEntry
from atlas_sidecar.config.providers import KEY_VARIABLES, KEYS_OF_KINDS, KINDS, ProviderEntry, SimulatedStep
from atlas_sidecar.config.settings import Settings

Found: TypeAlias = Iterator[tuple[Path, str]]
_STEPS: Final = ("status", "cut_after", "stall_after", "silent", "tool_call")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, token
_FORBIDDEN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def broken_rules(settings: Settings) -> list[tuple[Path, str]]:
    """Return every rule between keys that these settings break."""
    rules = (_listeners, _providers, _models, _roles, _routing, _bounds, _budget)
    return [found for rule in rules for found in rule(settings)]


def _suggest(name: str, names: list[str]) -> str:
    near = nearest(name, names)
    if near:
        return f"; did you mean {near}?"
    return f"; there are: {', '.join(sorted(names))}" if names else ""


def _listeners(settings: Settings) -> Found:
    taken: dict[str, Path] = {}
    places: list[tuple[Path, str]] = [(("listen", index), text) for index, text in enumerate(settings.listen)]
    places += [(("health_listen",), settings.health_listen), (("metrics_listen",), settings.metrics_listen)]
    for path, text in places:
        if not text:
            continue
        address = parse_address(text)
        if text in taken and (address.is_unix or address.port):
            yield path, f"'{text}' is used twice"
        taken[text] = path
        if path[0] != "listen" or address.is_loopback or settings.insecure:
            continue
        if settings.tls is None or settings.tls.client_ca_file is None:
            missing = "is not protected" if settings.tls is None else "anybody may call, without a client_ca_file"
            yield (
                path,
                f"'{text}' can be reached from other hosts and {missing}: use 127.0.0.1 or unix:/PATH, "
                "or give `tls: {cert_file, key_file, client_ca_file}`, or say `insecure: true`",
            )


def _providers(settings: Settings) -> Found:
    if settings.providers is not None and not settings.providers:
        yield ("providers",), "is empty: name at least one provider, or leave the key out"
    for name, entry in (settings.providers or {}).items():
        path: Path = ("providers", name)
        kind = entry.kind_of(name)
        if kind not in KINDS:
            where = (*path, "kind") if entry.kind else path
            needs = "" if entry.kind else " A name of your own needs `kind`, such as `kind: openai`."
            yield where, f"'{kind}' is no kind of provider{_suggest(kind, list(KINDS))}{needs}"
            continue
        yield from _credentials(path, entry)
        yield from _only_for(path, entry, kind)
        for header in entry.headers:
            if header.lower() in _FORBIDDEN_HEADERS or not _HEADER_NAME.fullmatch(header):
                yield (*path, "headers", header), f"{header!r} cannot be set as a header"
            elif not entry.headers[header].isprintable() or not entry.headers[header].isascii():
                yield (*path, "headers", header), "has a value that is no line of printable ASCII"


def _credentials(path: Path, entry: ProviderEntry) -> Found:
    given = [key for key in ("api_key", "api_key_env", "api_key_file") if getattr(entry, key) is not None]
    if len(given) > 1:
        yield (*path, given[1]), f"only one of api_key, api_key_env, api_key_file may be given; also given: {given[0]}"
    if entry.api_key is not None and not entry.api_key.get_secret_value().strip():
        yield (*path, "api_key"), "is empty; leave it out, or write `none` for a server that wants no key"


def _only_for(path: Path, entry: ProviderEntry, kind: str) -> Found:
    for key, kinds in KEYS_OF_KINDS.items():
        if kind not in kinds and key in entry.model_fields_set and getattr(entry, key) is not None:
            yield (*path, key), f"is for kind {' or '.join(kinds)} only; this provider's kind is {kind}"
    for model, simulated in entry.models.items():
        for index, step in enumerate(simulated.script):
            if isinstance(step, SimulatedStep):
                yield from _simulated_step((*path, "models", model, "script", index), step)
    if sum(fault.probability for fault in entry.faults) > 1:
        yield (*path, "faults"), "have probabilities that add up to more than 1"


def _simulated_step(path: Path, step: SimulatedStep) -> Found:
    given = [key for key in _STEPS if getattr(step, key) is not None]
    if len(given) != 1:
        yield path, f"must have exactly one of {', '.join(_STEPS)}; it has {', '.join(given) or 'none'}"
    if step.retry_after_s is not None and step.status is None:
        yield (*path, "retry_after_s"), "goes with status only"


def _models(settings: Settings) -> Found:
    providers = list(settings.providers or {})
    known = [*providers, *(kind for kind in KEY_VARIABLES if kind not in providers)]
    for name, entry in settings.models.items():
        path: Path = ("models", name)
        if entry.provider not in known:
            yield (*path, "provider"), f"'{entry.provider}' is none of the providers{_suggest(entry.provider, known)}"
        yield from _tokens(path, entry)
        yield from _prices(path, entry)


def _tokens(path: Path, entry: ModelEntry) -> Found:
    if entry.max_input_tokens is not None and entry.max_input_tokens > entry.context_window:
        yield (
            (*path, "max_input_tokens"),
            f"{entry.max_input_tokens} is more than the context_window, {entry.context_window}",
        )
    if entry.max_output_tokens > entry.context_window:
        yield (
            (*path, "max_output_tokens"),
            f"{entry.max_output_tokens} is more than the context_window, {entry.context_window}",
        )
    for key in ("capabilities", "use_cases"):
        values = getattr(entry, key)
        for index, value in enumerate(values):
            if value in values[:index]:
                yield (*path, key, index), f"'{value}' occurs twice"


def _prices(path: Path, entry: ModelEntry) -> Found:
    steps = entry.price.long_context if entry.price else ()
    for index in range(1, len(steps)):
        if steps[index].above_input_tokens <= steps[index - 1].above_input_tokens:
            yield (
                (*path, "price", "long_context", index, "above_input_tokens"),
                f"{steps[index].above_input_tokens} must be more than the step before, "
                f"{steps[index - 1].above_input_tokens}",
            )


def _roles(settings: Settings) -> Found:
    for name, role in settings.roles.items():
        if not role.tiers:
            yield ("roles", name, "tiers"), "is empty: a role needs at least one tier with one model"
        seen: dict[str, int] = {}
        for tier, models in enumerate(role.tiers):
            if not models:
                yield ("roles", name, "tiers", tier), "is empty: a tier needs at least one model"
            for index, model in enumerate(models):
                path: Path = ("roles", name, "tiers", tier, index)
                if model not in settings.models:
                    yield path, f"'{model}' is none of the models{_suggest(model, list(settings.models))}"
                if model in seen:
                    yield path, f"'{model}' occurs twice in this role; it already is in tier {seen[model] + 1}"
                seen[model] = tier
    if settings.roles and settings.default_role not in settings.roles:
        hint = _suggest(settings.default_role, list(settings.roles))
        yield ("default_role",), f"'{settings.default_role}' is none of the roles{hint}"
    lower: dict[str, str] = {}
    for name in settings.roles:
        if name.lower() in lower:
            yield ("roles", name), f"differs from the role {lower[name.lower()]} in upper and lower case only"
        lower[name.lower()] = name


def _routing(settings: Settings) -> Found:
    weights = settings.routing.weights
    for complexity in ("high", "medium", "low"):
        entry = getattr(weights, complexity)
        given = [getattr(entry, term) for term in ("reasoning", "reliability", "cost", "speed")]
        if all(weight == 0 for weight in given):
            yield ("routing", "weights", complexity), "are all 0: nothing would tell models apart"


def _bounds(settings: Settings) -> Found:
    fallback, limits, timeouts = settings.fallback, settings.limits, settings.timeouts
    if fallback.backoff_cap_s < fallback.backoff_base_s:
        yield (
            ("fallback", "backoff_cap_s"),
            f"{fallback.backoff_cap_s:g} is less than backoff_base_s, {fallback.backoff_base_s:g}",
        )
    if limits.max_in_flight_bytes < limits.max_message_bytes:
        yield (
            ("limits", "max_in_flight_bytes"),
            f"{limits.max_in_flight_bytes} is less than max_message_bytes, {limits.max_message_bytes}",
        )
    for key in ("connect_s", "time_to_first_token_s", "idle_s"):
        if getattr(timeouts, key) > timeouts.total_s:
            yield ("timeouts", key), f"{getattr(timeouts, key):g} is more than total_s, {timeouts.total_s:g}"


def _budget(settings: Settings) -> Found:
    budget = settings.budget
    if budget.tls is not None and (budget.tls.cert_file is None) != (budget.tls.key_file is None):
        yield ("budget", "tls"), "cert_file and key_file go together"
    if not budget.service:
        for key in ("tls", "token_file"):
            if getattr(budget, key) is not None:
                yield ("budget", key), "is for a budget service, and budget.service names none"
