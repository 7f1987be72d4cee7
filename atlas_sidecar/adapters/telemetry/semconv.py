"""Every attribute, metric and label name that telemetry uses, in one place.

Rules kept here:
- GenAI names are those of semantic-conventions-genai, RPC and HTTP names those of the stable conventions. They are
  written out: the constants that packages publish are deprecated, and have moved twice.
- No attribute's name is a prefix of another's, dot by dot: viewers unfold names into trees.
- The ends of span names come from small fixed sets (statuses, error classes, rejections, tenths of a second).
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "atlas_sidecar"
SERVICE_NAME: Final = "atlas-sidecar"

# ------------------------------------------------------------------------------------------- RPC and HTTP

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_METHOD: Final = "http.request.method"
HTTP_RESENDS: Final = "http.request.resend_count"
HTTP_STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

SERVICE: Final = "atlas_api.v1.Router"
GRPC_STATUS: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
# The statuses that make a server span an error: those of the RPC conventions, and ABORTED, which is our broken stream.
SERVER_ERRORS: Final = frozenset({2, 4, 10, 12, 13, 14, 15})

# ------------------------------------------------------------------------------------------- GenAI

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - the name of a label

CHAT: Final = "chat"
# What the conventions call each kind of provider; others keep the name of their kind.
PROVIDER_NAMES: Final = {"google": "gcp.gemini"}

# ------------------------------------------------------------------------------------------- OpenInference

KIND: Final = "openinference.span.kind"
KIND_LLM: Final = "LLM"
KIND_CHAIN: Final = "CHAIN"
LLM_COST: Final = "llm.cost.total"
INPUT_VALUE: Final = "input.value"
INPUT_MIME: Final = "input.mime_type"
OUTPUT_VALUE: Final = "output.value"
OUTPUT_MIME: Final = "output.mime_type"

# ------------------------------------------------------------------------------------------- ours

OUTCOME: Final = "atlas.outcome"
HOPS: Final = "atlas.hops"
ATTEMPTS: Final = "atlas.attempts"
SERVED_BY: Final = "atlas.served_by"
PLANNED: Final = "atlas.chain.planned"
TAKEN: Final = "atlas.chain.taken"
ROLE: Final = "atlas.role"
COMPLEXITY: Final = "atlas.complexity"
REQUEST_ID: Final = "atlas.request.id"
BUDGET_NODE: Final = "atlas.budget.node"
COST: Final = "atlas.cost_nano_usd"
COST_ESTIMATED: Final = "atlas.cost_estimated"
REASON: Final = "atlas.failure.reason"
FIRST_TOKEN: Final = "atlas.time_to_first_token_s"  # noqa: S105 - the name of an attribute

DECISION_ID: Final = "atlas.decision.id"
DECISION_SELECTED: Final = "atlas.decision.selected"
DECISION_SCORES: Final = "atlas.decision.scores"
DECISION_SCARCE: Final = "atlas.decision.cost_optimization"
DECISION_LAST_RESORT: Final = "atlas.decision.last_resort"
DECISION_REMAINING: Final = "atlas.decision.remaining_nano_usd"

HOP_INDEX: Final = "atlas.hop.index"
HOP_REASON: Final = "atlas.hop.reason"
HOP_OUTCOME: Final = "atlas.hop.outcome"
HOP_COST: Final = "atlas.hop.cost_nano_usd"
HOP_COST_ESTIMATED: Final = "atlas.hop.cost_estimated"
CONTINUES: Final = "atlas.continues.span_id"
MODEL_ID: Final = "atlas.model.id"
PROVIDER_ID: Final = "atlas.provider.id"

ATTEMPT_ID: Final = "atlas.attempt.id"
ATTEMPT_NUMBER: Final = "atlas.attempt.number"
ATTEMPT_OUTCOME: Final = "atlas.attempt.outcome"
ATTEMPT_RETRY_AFTER: Final = "atlas.attempt.retry_after_s"
ATTEMPT_PROVIDER_ID: Final = "atlas.attempt.provider_request_id"
WAIT_REASON: Final = "atlas.wait.reason"
SKIP_REASON: Final = "atlas.skip.reason"
SKIP_DETAIL: Final = "atlas.skip.detail"
RETRY_QUOTA: Final = "retry_quota"  # beside the rejections, a reason for a skip

OK: Final = "ok"
CANCELLED: Final = "cancelled"
OTHER: Final = "_OTHER"

# ------------------------------------------------------------------------------------------- metrics

M_OPERATION: Final = "gen_ai.client.operation.duration"
M_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
M_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"
M_TOKENS: Final = "gen_ai.client.token.usage"
M_RPC: Final = "rpc.server.call.duration"
M_GENERATE: Final = "atlas.generate.duration"
M_FIRST_TOKEN: Final = "atlas.generate.time_to_first_token"  # noqa: S105 - the name of a metric
M_TRANSITIONS: Final = "atlas.hop.transitions"
M_SKIPS: Final = "atlas.hop.skips"
M_ATTEMPTS: Final = "atlas.attempts"
M_COST: Final = "atlas.cost"
M_CIRCUIT: Final = "atlas.circuit.state"
M_IN_FLIGHT: Final = "atlas.in_flight"
M_BUDGET_LIMIT: Final = "atlas.budget.limit"
M_BUDGET_REMAINING: Final = "atlas.budget.remaining"
M_BUDGET_HEADROOM: Final = "atlas.budget.headroom"
M_BUDGET_SPENT: Final = "atlas.budget.spent_today"
M_BUDGET_REACHABLE: Final = "atlas.budget.service_reachable"
M_BUDGET_SYNC_AGE: Final = "atlas.budget.sync_age"
M_SPEND_LOG_FACTS: Final = "atlas.spend_log.unreported_facts"
M_SPEND_LOG_HEALTHY: Final = "atlas.spend_log.healthy"
M_LOST: Final = "atlas.telemetry.lost"
M_INFO: Final = "atlas.build.info"
