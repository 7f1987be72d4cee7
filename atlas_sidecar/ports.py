"""The outside world as the runtime sees it: small protocols that adapters implement and tests can fake.

Rules kept here:
- A port speaks in core's values only. Nothing of gRPC, HTTP, SQL or OpenTelemetry shows.
- What can fail says with what: providers raise ProviderError, the budget service raises GatewayError.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from atlas_sidecar.core.errors import ErrorClass, ProviderError, Reason
from atlas_sidecar.core.money import Price
from atlas_sidecar.core.spend_records import Checkpoint, LogRecord, PastLog
from atlas_sidecar.core.sync import Denial, Grant, SyncAnswer, SyncCall, Want
from atlas_sidecar.core.types import (
    Attempt,
    Decision,
    GenerateRequest,
    Message,
    Model,
    ModelRef,
    ProviderBatch,
    ProviderCall,
    RateLimit,
    Rejection,
    Usage,
)


class Clock(Protocol):
    """Time, waiting, chance and ids; a test's clock removes the waiting."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; the zero is arbitrary."""
        ...

    def unix_s(self) -> float:
        """Seconds since 1970, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        ...

    def jitter(self) -> float:
        """A random number, 0 <= x < 1."""
        ...

    def new_id(self) -> str:
        """A UUIDv7, as text."""
        ...


class Provider(Protocol):
    """One configured provider: a key and an endpoint of some kind."""

    @property
    def name(self) -> str:
        """The configured name ("openai-eu")."""
        ...

    @property
    def kind(self) -> str:
        """The kind ("openai"): who may be sent its signatures and opaque parts back."""
        ...

    @property
    def has_credentials(self) -> bool:
        """Whether a key is there now (a key file may appear later)."""
        ...

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that calls go to, for telemetry."""
        ...

    def stream(self, call: ProviderCall) -> AsyncIterator[ProviderBatch]:
        """Send exactly one HTTP request and yield its events, one batch for each network read.

        The first event is Head, the last Finished; without Finished the iterator raised. Raises ProviderError and
        nothing else (but asyncio.CancelledError). `aclose()` of the iterator closes the upstream connection at once.
        The adapter has no timeout of its own but the connect one: the runtime keeps first-token, idle and total time.
        """
        ...

    async def probe(self) -> RateLimit | None:
        """Make one free call (list models); return what its headers said. Raises ProviderError."""
        ...

    async def open(self) -> None:
        """Import the SDK and build the client; called in the background after SERVING. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


class Prices(Protocol):
    """Where prices come from when a model does not state its own."""

    def price(self, provider_kind: str, model: str) -> Price | None:
        """Return the price of a provider's model, None when unknown."""
        ...


# ------------------------------------------------------------------------------------------- telemetry


class AttemptTrace(Protocol):
    """One HTTP request under a hop."""

    def end(self, attempt: Attempt, error: ProviderError | None) -> None:
        """Close it with what happened."""
        ...

    @property
    def traceparent(self) -> str:
        """The W3C header that would continue the trace at the provider."""
        ...


class HopTrace(Protocol):
    """One model asked, its retries included."""

    def start_attempt(self, number: int, attempt_id: str) -> AttemptTrace:
        """Open the span of one request; number counts from 1."""
        ...

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        """Record a wait that just ended ("backoff", "retry_after", "budget") as a span of its own."""
        ...

    def restarted(self) -> None:
        """Record that a continuation's model refused to carry the text on, and begins anew."""
        ...

    def first_content(self, seconds: float) -> None:
        """Record the time from the hop's start to its first content."""
        ...

    def end(self, outcome: HopOutcome) -> None:
        """Close the hop."""
        ...


@dataclass(frozen=True, slots=True)
class HopOutcome:
    """How a hop ended. `error_class` None = it answered; `answer` makes the message that it said, for capture.

    `response_id`, `response_model`: what the provider called the answer and who gave it, "" = it did not say.
    """

    error_class: ErrorClass | None
    message: str
    usage: Usage
    cost_nano_usd: int | None
    cost_estimated: bool
    finish_reason: str = ""
    response_id: str = ""
    response_model: str = ""
    answer: Callable[[], Message] | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """How a call ended. `outcome`: ok | recovered | failed | cancelled; `status_code`: gRPC's; `reason` None on OK."""

    outcome: str
    status_code: int
    reason: Reason | None
    message: str
    attempts: Sequence[Attempt]
    hops: int
    served_by: ModelRef | None
    chain_taken: Sequence[str]
    cost_nano_usd: int | None
    cost_estimated: bool
    usage: Usage
    budget_node: str
    role: str
    time_to_first_token_s: float | None = None


class RequestTrace(Protocol):
    """One Generate or Select call, from its arrival to its end."""

    @property
    def trace_id(self) -> str:
        """32 hex digits; empty when nothing is traced."""
        ...

    def selected(self, decision: Decision, started_unix_s: float, seconds: float) -> None:
        """Record the selection that just ended."""
        ...

    def start_hop(self, index: int, model: Model, reason: str, address: tuple[str, int]) -> HopTrace:
        """Open a hop; `reason`: primary | fallback | continuation | restart."""
        ...

    def waited(self, start_unix_s: float, seconds: float, why: str) -> None:
        """Record a wait between two hops, that just ended ("retry_after", "backoff", "budget")."""
        ...

    def skipped(self, model: ModelRef, rejection: Rejection | None, detail: str) -> None:
        """Record that a model was passed over without being asked."""
        ...

    def repeat_refused(self, model: ModelRef) -> None:
        """Record that its provider's retry quota did not allow to ask a model again."""
        ...

    def end(self, outcome: RequestOutcome) -> None:
        """Close the call: span, metrics and one log line."""
        ...


class Telemetry(Protocol):
    """Traces, metrics and logs of calls, as verbs."""

    def start_request(self, method: str, metadata: Mapping[str, str], request: GenerateRequest | None) -> RequestTrace:
        """Open the server span of `method` ("Generate", "Select"), continuing the caller's trace from its metadata."""
        ...

    def counted(self, method: str, elapsed_s: float, status_code: int) -> None:
        """Record a call of `method` that leaves no trace ("Health"): how long it took and its gRPC status."""
        ...


# ------------------------------------------------------------------------------------------- budget


class SpendLogError(Exception):
    """The spend log cannot be opened or written; the message says which, why, and what to do."""


class SpendLog(Protocol):
    """The durable outbox of one sidecar: what was appended survives a crash of the process."""

    def open(self, incarnation: str, unix_s: float) -> Sequence[PastLog]:
        """Take the log and return what predecessors left, oldest first. Raises SpendLogError."""
        ...

    def begin(self, checkpoint: Callable[[], Checkpoint]) -> None:
        """Start this incarnation's part; `checkpoint` gives the state when a segment begins.

        Raises SpendLogError when it cannot be written now; append() then tries again.
        """
        ...

    def append(self, record: LogRecord) -> None:
        """Write one record, whole or not at all. Raises SpendLogError."""
        ...

    @property
    def waits(self) -> bool:
        """Whether a reservation must be waited for with durable() before its request may leave."""
        ...

    async def durable(self) -> None:
        """Return when everything appended so far survives a crash of the machine. Raises SpendLogError."""
        ...

    def forget(self, incarnation: str, seq: int) -> None:
        """Let the facts of this incarnation up to `seq` go: the ledger has them for long enough."""
        ...

    def close(self, unix_s: float) -> None:
        """End in order. Idempotent; never raises."""
        ...


class GatewayError(Exception):
    """The budget service did not answer. `refused`: it answered that it does not accept this call."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused


class BudgetGateway(Protocol):
    """The way to the budget service."""

    async def sync(self, call: SyncCall, timeout_s: float) -> SyncAnswer:
        """Report facts, show leases held, ask for more. Raises GatewayError."""
        ...

    async def reserve(self, sidecar_id: str, incarnation: str, want: Want, timeout_s: float) -> Grant | Denial:
        """Ask for a lease for one request. Raises GatewayError."""
        ...

    async def close(self) -> None:
        """Close connections. Idempotent."""
        ...
