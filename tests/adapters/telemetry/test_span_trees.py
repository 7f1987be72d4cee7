"""The span trees of ten stories, driven through the real router: what a reader of a trace sees, line by line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from atlas_sidecar.core.errors import AtlasError, ErrorClass, ProviderError
from atlas_sidecar.core.types import Limits, Requirements, StreamPolicy, TextDelta, Usage
from atlas_sidecar.ports import SpendLog
from atlas_sidecar.runtime.router import CallContext
from tests.adapters.telemetry.trees import Keeper, attributes, traced_rig
from tests.runtime.rig import FastClock, ask, model
from tests.runtime.test_chain_content import HEAD, Script, done

BROKEN = [{"cut_after": 3}]


class Patient(FastClock):
    """Waits as long as it may, and does not hurry."""

    def jitter(self) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * 100)


class SlowDisk:
    """A spend log whose disk takes 20 ms for each reservation."""

    waits = True

    def __init__(self, log: SpendLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def durable(self) -> None:
        await asyncio.sleep(0.02)


def root(keeper: Keeper) -> dict[str, Any]:
    return dict(attributes(keeper.named("atlas_api.v1.Router")))


async def test_a_first_try_that_works_is_one_hop_with_one_attempt(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    told = root(keeper)
    assert told["rpc.response.status_code"] == "OK"
    assert told["atlas.outcome"] == "ok"
    assert told["atlas.served_by"] == "a/a"
    assert told["atlas.chain.planned"] == ["a/a"]
    assert list(told["atlas.chain.taken"]) == ["a/a:ok"]
    assert told["atlas.cost_nano_usd"] == 22_000
    hop = dict(attributes(keeper.named("chat")))
    assert hop["openinference.span.kind"] == "LLM"
    assert (hop["gen_ai.usage.input_tokens"], hop["gen_ai.usage.output_tokens"]) == (2, 10)
    assert hop["atlas.hop.cost_nano_usd"] == 22_000
    assert hop["llm.cost.total"] == pytest.approx(0.000022)
    assert (hop["atlas.hop.index"], hop["atlas.hop.reason"], hop["atlas.hop.outcome"]) == (1, "primary", "ok")
    assert list(hop["gen_ai.response.finish_reasons"]) == ["stop"]


async def test_a_retry_shows_the_failed_attempt_and_the_wait_and_the_hop_is_no_error(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 500}]})
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name\n"
        "    CLIENT attempt 1: 500 ERROR temporary: the simulated provider answered 500\n"
        "    INTERNAL backoff Ns\n"
        "    CLIENT attempt 2: 200\n"
    )
    assert root(keeper)["atlas.outcome"] == "recovered"
    second = attributes(keeper.named("attempt 2"))
    assert second["http.request.resend_count"] == 1
    assert second["http.response.status_code"] == 200
    assert "http.request.resend_count" not in attributes(keeper.named("attempt 1"))


async def test_a_rate_limit_fails_its_hop_and_the_next_model_serves(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 429, "retry_after_s": 2}], "b": []})
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name ERROR rate_limited: the simulated provider answered 429\n"
        "    CLIENT attempt 1: 429 ERROR rate_limited: the simulated provider answered 429\n"
        "  CLIENT chat b-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    told = root(keeper)
    assert list(told["atlas.chain.taken"]) == ["a/a:rate_limited", "b/b:ok"]
    assert (told["atlas.outcome"], told["atlas.hops"], told["atlas.attempts"]) == ("recovered", 2, 2)
    assert attributes(keeper.named("attempt 1: 429"))["atlas.attempt.retry_after_s"] == 2
    assert attributes(keeper.named("chat b"))["atlas.hop.reason"] == "fallback"


async def test_a_model_with_an_open_circuit_is_named_as_skipped_and_is_no_error(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [], "b": []})
    gone = ProviderError(ErrorClass.MODEL_UNAVAILABLE, "the model is gone")
    rig.health.begin(rig.engine.models["a"]).end(gone, Usage(), 0.1)
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  INTERNAL skip a-name: circuit_open\n"
        "  CLIENT chat b-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    skip = attributes(keeper.named("skip"))
    assert (skip["atlas.skip.reason"], skip["atlas.model.id"]) == ("circuit_open", "a")
    assert skip["atlas.skip.detail"]


async def test_when_all_fail_the_root_is_an_error_and_a_wait_between_hops_is_seen(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(
        tmp_path, {"a": [{"status": 503, "retry_after_s": 0.1, "times": 9}], "b": [{"status": 404, "times": 9}]}
    )
    await rig.generate(ask(limits=Limits(max_attempts_per_model=2)))
    busy = "ERROR overloaded: the simulated provider answered 503"
    gone = "ERROR model_unavailable: the simulated provider answered 404"
    assert keeper.tree().splitlines() == [
        "SERVER atlas_api.v1.Router/Generate ERROR ALL_MODELS_FAILED: "
        "no model answered (2 models, 3 requests; the last: overloaded)",
        "  INTERNAL atlas.select",
        f"  CLIENT chat a-name {busy}",
        f"    CLIENT attempt 1: 503 {busy}",
        f"  CLIENT chat b-name {gone}",
        f"    CLIENT attempt 1: 404 {gone}",
        "  INTERNAL retry_after Ns",
        f"  CLIENT chat a-name {busy}",
        f"    CLIENT attempt 1: 503 {busy}",
    ]
    assert root(keeper)["rpc.response.status_code"] == "UNAVAILABLE"
    assert root(keeper)["atlas.failure.reason"] == "ALL_MODELS_FAILED"


async def test_a_caller_that_cancels_leaves_no_error_but_an_outcome(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    answer = rig.router.generate(ask(), rig.context)
    await anext(answer)
    await answer.aclose()
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name\n"
        "    CLIENT attempt 1: cancelled\n"
    )
    told = root(keeper)
    assert (told["rpc.response.status_code"], told["atlas.outcome"]) == ("CANCELLED", "cancelled")
    assert "error.type" not in told
    assert attributes(keeper.named("chat"))["atlas.hop.outcome"] == "cancelled"


async def test_a_caller_that_cancels_during_a_backoff_leaves_the_wait_in_the_trace(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 500, "times": 9}]}, clock=Patient())
    call = asyncio.create_task(rig.generate(ask()))
    async with asyncio.timeout(10):
        while not keeper.spans[1:]:  # noqa: ASYNC110 - selection and the first attempt; spans have no event
            await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert keeper.tree().splitlines()[2:] == [
        "  CLIENT chat a-name ERROR temporary: the simulated provider answered 500",
        "    CLIENT attempt 1: 500 ERROR temporary: the simulated provider answered 500",
        "    INTERNAL backoff Ns",
    ]


async def test_a_wait_for_the_budget_is_seen_where_it_belongs(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 500}]})
    rig.budget._log = SlowDisk(rig.budget._log)
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  INTERNAL budget Ns\n"
        "  CLIENT chat a-name\n"
        "    CLIENT attempt 1: 500 ERROR temporary: the simulated provider answered 500\n"
        "    INTERNAL backoff Ns\n"
        "    INTERNAL budget Ns\n"
        "    CLIENT attempt 2: 200\n"
    )
    waits = [span for span in keeper.spans if span.name.startswith("budget")]
    assert all(attributes(span)["atlas.wait.reason"] == "budget" for span in waits)
    assert all((span.end_time or 0) - (span.start_time or 0) >= 20_000_000 for span in waits)


async def test_a_wait_for_the_budget_of_the_next_model_is_not_the_failed_ones(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 429}], "b": []})
    rig.budget._log = SlowDisk(rig.budget._log)
    await rig.generate(ask())
    first, second = [span for span in keeper.spans if span.name.startswith("budget")]
    gone, served = keeper.named("chat a"), keeper.named("chat b")
    times = (first.end_time, gone.start_time, gone.end_time, second.start_time, second.end_time, served.start_time)
    assert list(times) == sorted(time or 0 for time in times)


async def test_a_repeat_that_the_retry_quota_forbids_is_named_as_skipped(tmp_path: Path) -> None:
    rig, keeper, telemetry = await traced_rig(tmp_path, {"a": [{"status": 500}], "b": []})
    while rig.health.may_retry("a", ErrorClass.TEMPORARY):
        pass
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name ERROR temporary: the simulated provider answered 500\n"
        "    CLIENT attempt 1: 500 ERROR temporary: the simulated provider answered 500\n"
        "  INTERNAL skip a-name: retry_quota\n"
        "  CLIENT chat b-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    (skips,) = [one for one in telemetry.meters.collect() if one.description.name == "atlas.hop.skips"]
    assert skips.readings == [(("retry_quota",), 1)]  # type: ignore[union-attr]  # it is a counter


async def test_a_deadline_is_an_error_on_root_hop_and_attempt(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"silent": True}]})
    rig.context = CallContext({}, time_left_s=0.1)
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate ERROR DEADLINE: the deadline passed before the answer was complete\n"
        "  INTERNAL atlas.select\n"
        "  CLIENT chat a-name ERROR deadline: the deadline passed\n"
        "    CLIENT attempt 1: deadline ERROR deadline: the deadline passed\n"
    )
    assert root(keeper)["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


async def test_a_restart_after_a_broken_stream_is_a_second_hop_without_a_link(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": BROKEN, "b": []})
    await rig.generate(ask(policy=StreamPolicy.RESTART))
    cut = "ERROR stream_broken: the simulated provider cut the connection"
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        f"  CLIENT chat a-name {cut}\n"
        f"    CLIENT attempt 1: stream_broken {cut}\n"
        "  CLIENT chat b-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    second = keeper.named("chat b")
    assert attributes(second)["atlas.hop.reason"] == "restart"
    assert not second.links


async def test_a_continuation_links_to_the_hop_whose_answer_it_carries_on(tmp_path: Path) -> None:
    models = [model("a", "a", 9.0, prefill=True), model("b", "b", 8.0, prefill=True)]
    rig, keeper, _ = await traced_rig(tmp_path, {"a": BROKEN, "b": []}, models=models)
    await rig.generate(ask(policy=StreamPolicy.CONTINUE))
    cut = "ERROR stream_broken: the simulated provider cut the connection"
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        f"  CLIENT chat a-name {cut}\n"
        f"    CLIENT attempt 1: stream_broken {cut}\n"
        "  CLIENT chat b-name\n"
        "    CLIENT attempt 1: 200\n"
    )
    first, second = keeper.named("chat a"), keeper.named("chat b")
    assert first.context is not None
    assert attributes(second)["atlas.hop.reason"] == "continuation"
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert attributes(second)["atlas.continues.span_id"] == f"{first.context.span_id:016x}"


async def test_a_continuation_links_past_a_hop_that_gave_no_content(tmp_path: Path) -> None:
    models = [model(name, name, 9.0, prefill=True) for name in "abc"]
    rig, keeper, _ = await traced_rig(tmp_path, {"a": BROKEN, "b": [{"status": 503}], "c": []}, models=models)
    await rig.generate(ask(policy=StreamPolicy.CONTINUE))
    first = keeper.named("chat a").context
    assert first is not None
    for later in ("chat b", "chat c"):
        span = keeper.named(later)
        assert attributes(span)["atlas.hop.reason"] == "continuation"
        assert [link.context.span_id for link in span.links] == [first.span_id]
        assert attributes(span)["atlas.continues.span_id"] == f"{first.span_id:016x}"


async def test_a_model_that_refuses_to_carry_on_and_begins_anew_is_a_restart_without_a_link(tmp_path: Path) -> None:
    refusal = ProviderError(ErrorClass.INVALID_REQUEST, "no prefill", http_status=400, breaks_model=False)
    second = Script([refusal], [HEAD, TextDelta(0, "whole"), done()])
    models = [model("a", "a", 9.0), model("b", "b", 8.0, prefill=True)]
    rig, keeper, _ = await traced_rig(tmp_path, {"a": BROKEN, "b": []}, models=models)
    assert isinstance(rig.engine.providers, dict)
    rig.engine.providers["b"] = second
    await rig.generate(ask(policy=StreamPolicy.CONTINUE))
    assert [call.prefill != "" for call in second.calls] == [True, False]
    hop = keeper.named("chat b")
    assert attributes(hop)["atlas.hop.reason"] == "restart"
    assert "atlas.continues.span_id" not in attributes(hop)
    assert not hop.links


async def test_a_denied_budget_names_each_model_once_and_is_no_server_error(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [], "b": []}, daily_limit_nano_usd=1_000)
    await rig.generate(ask())
    assert keeper.tree() == (
        "SERVER atlas_api.v1.Router/Generate\n"
        "  INTERNAL atlas.select\n"
        "  INTERNAL skip a-name: budget\n"
        "  INTERNAL skip b-name: budget\n"
    )
    told = root(keeper)
    assert (told["rpc.response.status_code"], told["atlas.outcome"]) == ("RESOURCE_EXHAUSTED", "failed")
    assert told["atlas.failure.reason"] == "BUDGET_EXHAUSTED"


async def test_a_broken_stream_that_may_not_go_on_makes_the_server_span_an_error(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": BROKEN, "b": []})
    await rig.generate(ask(policy=StreamPolicy.FAIL))
    assert keeper.tree().startswith("SERVER atlas_api.v1.Router/Generate ERROR STREAM_BROKEN: ")
    assert root(keeper)["rpc.response.status_code"] == "ABORTED"


async def test_a_refused_request_is_a_root_alone(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    with pytest.raises(AtlasError):
        await rig.generate(ask(requirements=Requirements(only_models=("unheard-of",))))
    assert keeper.tree() == "SERVER atlas_api.v1.Router/Generate\n"
    assert root(keeper)["rpc.response.status_code"] == "INVALID_ARGUMENT"


async def test_the_selection_shows_every_candidate_with_its_terms_or_why_it_was_rejected(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [], "b": []}, models=[
        model("a", "a", 9.0), model("b", "b", 8.0, capabilities=frozenset(), context_window=1)
    ])  # fmt: skip
    await rig.generate(ask("a question that is longer than one token"))
    select = attributes(keeper.named("atlas.select"))
    scores = {one["model"]: one for one in json.loads(str(select["atlas.decision.scores"]))}
    assert set(scores["a"]) == {
        *("model", "tier", "score", "reasoning", "reliability", "cost", "speed", "success_rate"),
        "estimated_cost_nano_usd",
    }
    assert scores["b"]["rejection"] == "context_too_long"
    assert select["atlas.decision.selected"] == "a/a"


async def test_children_lie_within_their_parents_and_siblings_in_order(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 500}, {"status": 429}], "b": []})
    await rig.generate(ask())
    spans = {span.context.span_id: span for span in keeper.spans if span.context}
    for span in spans.values():
        assert span.start_time is not None
        assert span.end_time is not None
        if span.parent is not None:
            parent = spans[span.parent.span_id]
            assert parent.start_time is not None
            assert parent.end_time is not None
            # A wait's start is its end minus its length: a clock read a moment later.
            assert parent.start_time - 1_000_000 <= span.start_time <= span.end_time <= parent.end_time


async def test_a_fault_of_ours_is_no_cancel_but_an_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.router._tools.learning, "observe", broken)
    with pytest.raises(RuntimeError):
        await rig.generate(ask())
    assert root(keeper)["rpc.response.status_code"] == "INTERNAL"
    assert keeper.tree().startswith("SERVER atlas_api.v1.Router/Generate ERROR INTERNAL: the sidecar failed")
    assert "a bug" not in keeper.tree()
