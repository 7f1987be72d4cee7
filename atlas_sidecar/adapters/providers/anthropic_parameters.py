"""Parameters that Claude takes in part only: sampling, stops, cache breakpoints, and the API version they need. Pure.

Rules kept here:
- What is not sent as it was asked is named, so that the answer can say so.
- The API version is chosen last, by what the body holds then: a caller's own options count too. They are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from atlas_sidecar.adapters.providers.anthropic_rules import SAMPLING_VERSION, needs_old_version, takes_sampling
from atlas_sidecar.core.types import ProviderCall

_OLD_VERSION_ONLY: Final = frozenset({"temperature", "top_p", "top_k"})
_MAX_TEMPERATURE: Final = 1.0
_MAX_BREAKPOINTS: Final = 4


def set_sampling(call: ProviderCall, body: dict[str, Any]) -> list[str]:
    """Add stops, temperature or top_p where the model takes them; return what is left out."""
    sampling = call.request.sampling
    left_out = ["seed"] if sampling.seed is not None else []
    stops = [stop for stop in sampling.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(sampling.stop):
        left_out.append("stop_of_white_space")
    asked = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    wanted = {name: value for name, value in asked.items() if value is not None}
    if "thinking" in body or not takes_sampling(call.model.ref.model):
        return [*left_out, *wanted]
    if "temperature" in wanted and "top_p" in wanted:  # newer ones refuse both together
        del wanted["top_p"]
        left_out.append("top_p")
    if wanted.get("temperature", 0) > _MAX_TEMPERATURE:
        wanted["temperature"] = _MAX_TEMPERATURE
        left_out.append("temperature_above_1")
    body.update(wanted)
    return left_out


def set_version(body: dict[str, Any], headers: dict[str, str], model: str, kind: str) -> None:
    """Ask for the API version that the body needs: a header, on Bedrock and Google Cloud a field of the body."""
    if _OLD_VERSION_ONLY.isdisjoint(body) and not needs_old_version(model, kind):
        return
    if kind == "anthropic":
        headers["anthropic-version"] = SAMPLING_VERSION[kind]
    else:
        body.setdefault("anthropic_version", SAMPLING_VERSION[kind])


def limit_breakpoints(blocks: Iterable[dict[str, Any]], options: Mapping[str, Any]) -> list[str]:
    """Keep the last four cache breakpoints: the API refuses more, and the later ones hold the earlier prompt too.

    `blocks` are those that we made; breakpoints of the caller's options count, and stay.
    """
    theirs = 1 if options.get("cache_control") else 0
    for key in ("tools", "system"):
        given = options.get(key)
        if isinstance(given, list):
            theirs += sum(isinstance(block, Mapping) and bool(block.get("cache_control")) for block in given)
    marked = [block for block in blocks if "cache_control" in block]
    excess = marked[: max(0, len(marked) + theirs - _MAX_BREAKPOINTS)]
    for block in excess:
        del block["cache_control"]
    return ["cache_breakpoints_beyond_4"] if excess else []
