"""What selection decided, and how a call ended, as attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from atlas_sidecar.adapters.telemetry import semconv as s
from atlas_sidecar.adapters.telemetry.spans import Value
from atlas_sidecar.core.money import NANO_PER_USD
from atlas_sidecar.core.types import Candidate, Decision, ModelRef, Target, Usage
from atlas_sidecar.ports import HopOutcome, RequestOutcome

MAX_TEXT: Final = 256  # characters of a text that a caller chose
_A_NAME: Final = re.compile(r"[\w.:/@+~=-]{1,256}", re.ASCII)  # a provider's id or model; no text that it could repeat
_encode: Final = msgspec.json.Encoder().encode


def name_of(ref: ModelRef) -> str:
    """Return a model's name as chains show it: "openai/gpt-6.1-sol"."""
    return f"{ref.provider}/{ref.id}"


def planned(order: Sequence[Target]) -> list[str]:
    """Return the chain as selection planned it."""
    return [name_of(target.model.ref) for target in order]


def decision_attributes(decision: Decision) -> dict[str, Value]:
    """Return a decision as attributes; every candidate's terms, score and rejection are one JSON text."""
    attributes: dict[str, Value] = {
        s.KIND: s.KIND_CHAIN,
        s.DECISION_ID: decision.decision_id,
        s.DECISION_SCORES: _encode([_candidate(candidate) for candidate in decision.candidates]).decode(),
        s.DECISION_SCARCE: decision.cost_optimization,
        s.ROLE: decision.role,
    }
    if decision.order:
        attributes[s.DECISION_SELECTED] = name_of(decision.order[0].model.ref)
    if decision.last_resort:
        attributes[s.DECISION_LAST_RESORT] = True
    if decision.remaining_nano_usd is not None:
        attributes[s.DECISION_REMAINING] = decision.remaining_nano_usd
    return attributes


def _candidate(candidate: Candidate) -> dict[str, Any]:
    target, score, reasoning, reliability, cost, speed, success_rate, estimate, rejection, detail = candidate
    told: dict[str, Any] = {"model": target.model.ref.id, "tier": target.tier}
    if rejection is not None:
        told["rejection"] = rejection.name.lower()
        told["detail"] = detail
        return told
    told["score"] = round(score, 3)
    told["reasoning"] = round(reasoning, 2)
    told["reliability"] = round(reliability, 2)
    told["cost"] = round(cost, 2)
    told["speed"] = round(speed, 2)
    told["success_rate"] = round(success_rate, 3)
    told["estimated_cost_nano_usd"] = estimate
    return told


def usage_attributes(usage: Usage) -> dict[str, Value]:
    """Return token counts as the GenAI conventions want them: cached input is input, reasoning is output."""
    attributes: dict[str, Value] = {}
    if usage.input_tokens is not None:
        attributes[s.INPUT_TOKENS] = usage.total_input_tokens
    if usage.output_tokens is not None:
        attributes[s.OUTPUT_TOKENS] = usage.total_output_tokens
    if usage.cache_read_tokens:
        attributes[s.CACHE_READ_TOKENS] = usage.cache_read_tokens
    if usage.cache_write_tokens:
        attributes[s.CACHE_WRITE_TOKENS] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        attributes[s.REASONING_TOKENS] = usage.reasoning_tokens
    return attributes


def hop_attributes(outcome: HopOutcome) -> dict[str, Value]:
    """Return how a hop ended, tokens and cost included, but for its error."""
    attributes = usage_attributes(outcome.usage)
    if outcome.cost_nano_usd is not None:
        attributes[s.HOP_COST] = outcome.cost_nano_usd
        attributes[s.LLM_COST] = outcome.cost_nano_usd / NANO_PER_USD  # OpenInference wants dollars as a float
    if outcome.cost_estimated:
        attributes[s.HOP_COST_ESTIMATED] = True
    if outcome.finish_reason:
        attributes[s.FINISH_REASONS] = (outcome.finish_reason,)
    for key, said in ((s.RESPONSE_ID, outcome.response_id), (s.RESPONSE_MODEL, outcome.response_model)):
        if _A_NAME.fullmatch(said):
            attributes[key] = said
    return attributes


def outcome_attributes(outcome: RequestOutcome) -> dict[str, Value]:
    """Return how a call ended, but for its error. Token counts are on the hops only, else viewers count twice."""
    attributes: dict[str, Value] = {
        s.RPC_STATUS: s.GRPC_STATUS[outcome.status_code],
        s.OUTCOME: outcome.outcome,
        s.HOPS: outcome.hops,
        s.ATTEMPTS: len(outcome.attempts),
    }
    if outcome.budget_node:
        attributes[s.BUDGET_NODE] = outcome.budget_node
    if outcome.served_by is not None:
        attributes[s.SERVED_BY] = name_of(outcome.served_by)
    if outcome.chain_taken:
        attributes[s.TAKEN] = tuple(outcome.chain_taken)
    if outcome.cost_nano_usd is not None:
        attributes[s.COST] = outcome.cost_nano_usd
    if outcome.cost_estimated:
        attributes[s.COST_ESTIMATED] = True
    if outcome.time_to_first_token_s is not None:
        attributes[s.FIRST_TOKEN] = round(outcome.time_to_first_token_s, 6)
    if outcome.reason is not None:
        attributes[s.REASON] = outcome.reason.value
    return attributes
