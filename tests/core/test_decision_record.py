"""A decision can be written down, read again and made again, to the same answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_sidecar.core.decision_record import DecisionRecord, RecordError, from_json, replay, to_json
from atlas_sidecar.core.scoring import rank
from atlas_sidecar.core.types import Need, Requirements, Snapshot, Target, Weights
from tests.core import strategies as any_
from tests.core.builders import ANYTHING, model, need, price, snapshot, targets


def record(
    role_targets: tuple[Target, ...],
    requirements: Requirements,
    asked: Need,
    seen: Snapshot,
    weights: Weights,
    tier_factor: float = 0.9,
) -> DecisionRecord:
    decision = rank("worker", role_targets, requirements, asked, seen, weights, "some-id", tier_factor)
    return DecisionRecord("worker", role_targets, requirements, asked, seen, weights, tier_factor, decision)


@settings(max_examples=80)
@given(any_.target_lists(), any_.requirements, any_.needs, any_.snapshots(), any_.weights, st.floats(0, 1))
def test_a_record_read_back_is_the_same_and_replays_to_the_same_decision(
    role_targets: tuple[Target, ...],
    requirements: Requirements,
    asked: Need,
    seen: Snapshot,
    weights: Weights,
    tier_factor: float,
) -> None:
    made = record(role_targets, requirements, asked, seen, weights, tier_factor)
    again = from_json(to_json(made))
    assert again == made
    assert replay(again) == made.decision


def simple() -> DecisionRecord:
    role = targets(model("a", cost=price(3, 15)), model("b", cost=None))
    return record(role, ANYTHING, need(), snapshot(), Weights(0.4, 0.3, 0.2, 0.1, 0.0))


def test_a_changed_snapshot_replays_to_another_decision() -> None:
    text = to_json(simple()).replace('"today":"2026-11-23"', '"today":"2026-11-23","affinity_model":"b"', 1)
    changed = from_json(text.replace('"affinity_model":"",', "", 1))
    assert replay(changed) != changed.decision


def test_a_field_that_an_older_record_lacks_takes_its_default() -> None:
    body = json.loads(to_json(simple()))
    del body["snapshot"]["reserve_output_tokens"]
    for price_of_its_own in ("cache_write_1h", "input_audio", "output_image", "web_search"):
        del body["targets"][0]["model"]["price"][price_of_its_own]
    assert from_json(json.dumps(body)) == simple()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a decision record of format 1"),
        ('{"format": 2}', "not a decision record of format 1"),
        ('{"format": 1}', "record: a field of DecisionRecord is missing"),
        ('{"format": 1, "x": 1}', "record: unknown field x"),
        ('{"format": 1, "role": 3}', "record.role: str expected"),
        ('{"format": 1, "targets": 3}', "record.targets: a list expected"),
        ('{"format": 1, "need": 3}', "record.need: an object expected"),
        ('{"format": 1, "need": {"input_tokens": 1.5}}', "record.need.input_tokens: int expected"),
        ('{"format": 1, "requirements": {"complexity": "X"}}', "record.requirements.complexity: Complexity expected"),
        ('{"format": 1, "snapshot": {"models": []}}', "record.snapshot.models: an object expected"),
    ],
)
def test_what_is_no_record_is_refused_and_says_where(text: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_json(text)
    assert str(caught.value) == message
