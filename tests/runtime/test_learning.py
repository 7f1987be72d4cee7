"""What is learned of answers reaches the next decision, and no mapping that was given out changes."""

from __future__ import annotations

from pathlib import Path

from atlas_sidecar.core.calibration import calibrated
from atlas_sidecar.core.types import Capability, Need, Usage
from atlas_sidecar.runtime.learning import Learning
from tests.runtime.rig import ask, completed, model, rig

TOOLS = frozenset({Capability.TOOLS})


def test_only_models_that_count_otherwise_have_a_line_and_each_shape_of_requests_has_its_own() -> None:
    models = {"plain": model("plain", "p", 8.0), "gemini": model("gemini", "g", 8.0, provider_kind="google")}
    learning = Learning()
    lines = learning.lines(models, frozenset())
    assert set(lines) == {"gemini"}
    assert calibrated(learning.lines(models, TOOLS)["gemini"], 1000) < calibrated(lines["gemini"], 1000) - 20
    assert learning.lines(models, frozenset()) is lines, "not made anew for each request"


def test_an_answer_moves_the_line_of_its_model_and_leaves_snapshots_as_they_are() -> None:
    models = {"a": model("a", "a", 8.0), "b": model("b", "b", 8.0)}
    learning = Learning()
    before = learning.lines(models, frozenset())
    for _ in range(20):
        learning.observe("worker", models["a"], Need(1000), Usage(input_tokens=1500, output_tokens=5))
    after = learning.lines(models, frozenset())
    assert before == {}
    assert set(after) == {"a"}
    assert 1400 <= calibrated(after["a"], 1000) <= 1600
    elsewhere = dict(models)
    assert learning.lines(elsewhere, frozenset()) == after, "a reload keeps what was learned"


async def test_the_next_decision_counts_in_what_the_model_reported(tmp_path: Path) -> None:
    r = await rig(tmp_path, {"a": ["ok"], "b": ["ok"]})
    text = "word " * 2000
    first = completed(await r.generate(ask(text)))
    reported = first.usage.input_tokens or 0
    for _ in range(15):
        completed(await r.generate(ask(text)))
    record = r.router.select(ask().requirements, Need(reported), r.context)
    assert "a" in record.snapshot.token_lines
    line = record.snapshot.token_lines["a"]
    costs = {c.target.model.ref.id: c.estimated_cost_nano_usd or 0 for c in record.decision.candidates}
    assert costs["a"] - costs["b"] == (calibrated(line, reported) - reported) * 1000
