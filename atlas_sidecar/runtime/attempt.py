"""One attempt: one reservation, one HTTP request, its events under first-token and idle timeouts, one settlement.

Rules kept here:
- No byte goes upstream before its reservation is logged; every reservation is settled exactly once, however the attempt
  ends: answered, failed, cancelled, deadline.
- The first-token timeout ends with the first content; from then on the idle timeout bounds each silence.
- An answer without its terminator is broken; one that ends in a filter or a full window without content is no answer.
- What the provider did not report is estimated, and flagged; so is what it reports beyond all that this request can
  have used. A cost that lacks a price says so. A provider's error answer is not billed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace

from atlas_sidecar.core.costs import may_be_heard
from atlas_sidecar.core.demands import demands_of
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.leases import Reservation, Settlement
from atlas_sidecar.core.money import cost_nano_usd, is_priced
from atlas_sidecar.core.types import (
    Attempt,
    Delta,
    Finished,
    FinishReason,
    Head,
    ModelRef,
    Particulars,
    ProviderBatch,
    ProviderCall,
    Usage,
    UsageReport,
)
from atlas_sidecar.ports import AttemptTrace, Clock, Provider
from atlas_sidecar.runtime.answer import Answer
from atlas_sidecar.runtime.budget import Budget
from atlas_sidecar.runtime.health import Flight
from atlas_sidecar.runtime.patience import Patience

# Characters of an answer per token where the provider did not report its count (English prose is about four).
CHARACTERS_PER_TOKEN = 4
# What may be used beyond the model's window and the request's cap: a window, or an output, that is configured too low,
# reasoning that a provider does not count towards the cap. Hosted tools (options) read the conversation once a turn.
INPUT_MARGIN = 65_536
OUTPUT_MARGIN = 32_768
HOSTED_TURNS = 20

_NOTHING = Usage()
_NO_ANSWER = {
    FinishReason.REFUSAL: (ErrorClass.CONTENT_FILTERED, "the model refused to answer"),
    FinishReason.CONTENT_FILTER: (ErrorClass.CONTENT_FILTERED, "the provider's content filter stopped the answer"),
    FinishReason.MAX_CONTEXT: (ErrorClass.CONTEXT_TOO_LONG, "the model's window was full before an answer began"),
}


@dataclass(frozen=True, slots=True)
class AttemptBounds:
    """When to give up. Times are monotonic seconds or durations in seconds.

    `impatient`: the caller's first-token limit is shorter than the configuration's, so missing it is no evidence.
    """

    time_to_first_token_s: float
    idle_s: float
    deadline_s: float
    impatient: bool = False


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """What an attempt works with; all of it was opened by the hop, all of it is closed by the attempt."""

    provider: Provider
    budget: Budget
    reservation: Reservation
    flight: Flight
    trace: AttemptTrace
    clock: Clock


class AttemptRun:
    """Runs one attempt; after `deltas()` ended, `attempt` tells what happened, and `finished` or `error` is set."""

    def __init__(
        self, blank: Attempt, call: ProviderCall, input_tokens: int, bounds: AttemptBounds, tools: AttemptTools
    ):
        self._blank = blank
        self._call = call
        self._input_tokens = input_tokens
        self._bounds = bounds
        self._tools = tools
        self._started_s = tools.clock.monotonic_s()
        self._usage = Usage()
        self._head: Head | None = None
        self._patience = Patience()
        self.first_content_s: float | None = None
        self.first_batch = False
        self._paused_s = 0.0  # how long a slow reader kept us; says nothing about the model
        self.finished: Finished | None = None
        self.error: ProviderError | None = None
        self.attempt = blank

    async def deltas(self, answer: Answer) -> AsyncGenerator[Sequence[Delta], None]:
        """Yield the content of each network read, taken into `answer`; ends quietly also when the attempt failed."""
        upstream, clock = self._tools.provider.stream(self._call), self._tools.clock
        try:
            while self.finished is None and (batch := await self._next(upstream)) is not None:
                if content := self._take(batch, answer):
                    handed_over_s = clock.monotonic_s()
                    yield content
                    self._paused_s += clock.monotonic_s() - handed_over_s
            self._judge(answer)
        except ProviderError as error:
            self.error = error
        except (asyncio.CancelledError, GeneratorExit):
            self.error = ProviderError(ErrorClass.CANCELLED, "the caller cancelled")
            raise
        finally:
            self._patience.close()
            try:
                await _close(upstream)
            finally:
                self._settle(answer)

    async def _next(self, upstream: AsyncIterator[ProviderBatch]) -> ProviderBatch | None:
        """Return the next batch, None at the end of the answer; raises ProviderError when it takes too long."""
        bounds = self._bounds
        now_s = self._tools.clock.monotonic_s()
        if self.first_content_s is None:
            limit_s = self._started_s + bounds.time_to_first_token_s
        else:
            limit_s = now_s + bounds.idle_s
        patience = self._patience
        patience.begin(max(0.0, min(limit_s, bounds.deadline_s) - now_s))
        try:
            return await anext(upstream)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            if patience.was_cut():
                raise self._timeout() from None
            raise
        finally:
            patience.end()

    def _timeout(self) -> ProviderError:
        status = self._head.http_status if self._head else 0
        if self._tools.clock.monotonic_s() >= self._bounds.deadline_s:
            return ProviderError(ErrorClass.DEADLINE, "the deadline passed", http_status=status)
        if self.first_content_s is None:
            limit_s = self._bounds.time_to_first_token_s
            return ProviderError(
                ErrorClass.TIMEOUT,
                f"no first token within {limit_s:g} s",
                code="first_token",
                http_status=status,
                breaks_model=not self._bounds.impatient,
            )
        message = f"silent for {self._bounds.idle_s:g} s in the middle of the answer"
        return ProviderError(ErrorClass.STREAM_BROKEN, message, code="idle", http_status=status)

    def _take(self, batch: ProviderBatch, answer: Answer) -> Sequence[Delta]:
        content: list[Delta] = []
        for event in batch:
            if isinstance(event, UsageReport):
                self._usage = self._believed(event.usage)
            elif isinstance(event, Finished):
                self._usage = self._believed(event.usage)
                self.finished = event._replace(usage=self._usage)
            elif isinstance(event, Head):
                self._head = event
                self._tools.flight.head(event.rate_limit)
            elif (delta := answer.add(event)) is not None:
                content.append(delta)
        if answer.is_too_large:
            raise ProviderError(ErrorClass.STREAM_BROKEN, "the answer does not end", code="answer_too_large")
        self.first_batch = bool(content) and self.first_content_s is None
        if self.first_batch:
            self.first_content_s = self._tools.clock.monotonic_s() - self._started_s
            self._tools.flight.first_content(self.first_content_s)
        return content

    def _believed(self, usage: Usage) -> Usage:
        model = self._call.model
        most_input = model.context_window + max(model.context_window, INPUT_MARGIN)
        if self._call.options:
            most_input *= HOSTED_TURNS
        most_output = self._call.max_output_tokens + max(model.max_output_tokens, OUTPUT_MARGIN)
        return usage.bounded().believed(most_input, most_output)

    def _judge(self, answer: Answer) -> None:
        if self.finished is None:
            raise ProviderError(ErrorClass.STREAM_BROKEN, "the answer ended without its terminator", code="truncated")
        if not answer.has_content and self.finished.finish_reason in _NO_ANSWER:
            error_class, message = _NO_ANSWER[self.finished.finish_reason]
            self.error = ProviderError(
                error_class,
                message,
                code=self.finished.raw_finish_reason,
                http_status=self._status(),
                breaks_model=False,
            )
            self.finished = None

    def _status(self) -> int:
        return self._head.http_status if self._head else 0

    def _settle(self, answer: Answer) -> None:
        tools = self._tools
        if self.error is None and self.finished is None:  # an exception that is no ProviderError is passing by
            self.error = ProviderError(ErrorClass.OTHER, "the attempt failed in the sidecar", breaks_model=False)
        error = self.error
        if error is not None and error.error_class is ErrorClass.STREAM_BROKEN and not answer.has_content:
            error.error_class = ErrorClass.TEMPORARY  # nothing was said yet: the same model may be asked again
        elapsed_s = tools.clock.monotonic_s() - self._started_s
        billed, estimated = self._billable(answer)
        free, price = billed == _NOTHING and not estimated and error is not None, self._call.model.price
        cost = 0 if free else cost_nano_usd(billed, price)
        usage, incomplete = billed.counts(), not free and not is_priced(billed, price)
        request_id = self._head.provider_request_id if self._head else ""
        self.attempt = replace(
            self._blank,
            error_class=error.error_class if error else None,
            code=error.code if error else "",
            message=error.message if error else "",
            http_status=(error.http_status if error else 0) or self._status(),
            retry_after_s=error.retry_after_s if error else None,
            elapsed_s=elapsed_s,
            usage=usage,
            cost_nano_usd=cost,
            cost_estimated=estimated,
            provider_request_id=request_id or (error.provider_request_id if error else ""),
            cost_incomplete=incomplete,
        )
        tools.flight.end(error, usage, elapsed_s - self._paused_s)
        tools.budget.settle(
            tools.reservation,
            Settlement(
                cost,
                estimated or (incomplete and cost is not None),  # the ledger has no other word for it
                usage,
                self.attempt.error_class,
                self.attempt.provider_request_id,
            ),
        )
        tools.trace.end(self.attempt, error)

    def _billable(self, answer: Answer) -> tuple[Usage, bool]:
        """Return what to charge, and whether some of it is our estimate."""
        usage = self._usage
        if usage.reported and self.finished is not None:
            return usage, False
        if self.error is not None and (self.error.http_status >= 400 or not self.error.sent):
            return usage, False  # an error answer, or nothing was sent at all
        if usage.input_tokens is None and may_be_heard(*demands_of(self._call.request)):
            apart = replace(usage.of_which or Particulars(), audio_input=self._input_tokens)  # as dear as it may be
            usage = replace(usage, of_which=apart)
        output = usage.output_tokens
        said = -(-answer.output_characters // CHARACTERS_PER_TOKEN)
        return replace(
            usage,
            input_tokens=self._input_tokens if usage.input_tokens is None else usage.input_tokens,
            output_tokens=said if output is None else max(output, said - (usage.reasoning_tokens or 0)),
        ), True


def blank_attempt(
    attempt_id: str, model: ModelRef, hop: int, number: int, started_at_s: float, waited_s: float
) -> Attempt:
    """Return an attempt that has just begun."""
    return Attempt(
        attempt_id=attempt_id,
        model=model,
        hop=hop,
        number=number,
        error_class=None,
        code="",
        http_status=0,
        started_at_s=started_at_s,
        elapsed_s=0.0,
        waited_before_s=waited_s,
        usage=Usage(),
        cost_nano_usd=None,
        cost_estimated=False,
    )


async def _close(upstream: AsyncIterator[ProviderBatch]) -> None:
    aclose = getattr(upstream, "aclose", None)
    if aclose is not None:
        await aclose()
