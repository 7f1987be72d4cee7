"""Every attribute of three stories, whole: golden/*.txt is what a reader of such a trace finds; every gRPC status."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.trace import StatusCode

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings, build_telemetry
from atlas_sidecar.core.errors import Reason
from atlas_sidecar.core.types import TextDelta, Usage
from atlas_sidecar.ports import RequestOutcome
from tests.adapters.telemetry.trees import Keeper, attributes, traced_rig
from tests.runtime.rig import ask
from tests.runtime.test_chain_content import HEAD, Script, done

GOLDEN = Path(__file__).parent / "golden"
# Those of the RPC conventions, and ABORTED: our broken stream.
ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "ABORTED"}


@pytest.mark.parametrize(
    ("story", "scripts"),
    [
        ("first_try", {"a": []}),
        ("retry", {"a": [{"status": 500}, {"status": 502}]}),
        ("rate_limit", {"a": [{"status": 429, "retry_after_s": 2}], "b": []}),
    ],
)
async def test_a_trace_holds_these_attributes_and_no_others(
    tmp_path: Path, story: str, scripts: dict[str, list[Any]]
) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, scripts, daily_limit_nano_usd=10**12)
    await rig.generate(ask(request_id="order-66"))
    assert keeper.tree(whole=True) == (GOLDEN / f"{story}.txt").read_text()


async def test_the_answer_bears_the_id_and_the_model_that_the_provider_gave_it(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    assert isinstance(rig.engine.providers, dict)
    named = done()._replace(metadata={"id": "chatcmpl-1", "model": "gpt-6.1-sol-2026-10-01"})
    repeats = done()._replace(metadata={"id": "what you asked: a secret", "model": ["not", "a", "name"]})
    rig.engine.providers["a"] = Script([HEAD, TextDelta(0, "yes"), named], [HEAD, TextDelta(0, "yes"), repeats])
    await rig.generate(ask())
    hop, attempt = attributes(keeper.named("chat")), attributes(keeper.named("attempt"))
    assert (hop["gen_ai.response.id"], hop["gen_ai.response.model"]) == ("chatcmpl-1", "gpt-6.1-sol-2026-10-01")
    assert attempt["atlas.attempt.provider_request_id"] == "req"
    keeper.spans.clear()
    await rig.generate(ask())
    assert not [
        key for key in attributes(keeper.named("chat")) if key in ("gen_ai.response.id", "gen_ai.response.model")
    ]


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_a_status_has_its_name_and_is_an_error_where_the_conventions_say_so(code: grpc.StatusCode) -> None:
    keeper = Keeper()
    telemetry = build_telemetry(TelemetrySettings(), SystemClock(), [keeper])
    number: int = code.value[0]
    reason = Reason.INTERNAL if number else None
    outcome = RequestOutcome("failed", number, reason, "why", (), 0, None, (), 0, False, Usage(), "", "worker")
    telemetry.start_request("Generate", {}, ask()).end(outcome)
    (root,) = keeper.spans
    assert attributes(root)["rpc.response.status_code"] == code.name
    failed = code.name in ERRORS
    assert (root.status.status_code is StatusCode.ERROR) is failed
    assert attributes(root).get("error.type") == ("INTERNAL" if failed else None)
    (calls,) = [one for one in telemetry.meters.collect() if one.description.name == "rpc.server.call.duration"]
    assert [one.labels for one in calls.series] == [("grpc", "atlas_api.v1.Router/Generate", code.name)]  # type: ignore[union-attr]  # it is a histogram
