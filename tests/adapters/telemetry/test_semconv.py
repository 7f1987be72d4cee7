"""Names: none is a prefix of another, none is written twice, and spans use none that is not listed."""

from pathlib import Path

from atlas_sidecar.adapters.telemetry import semconv
from atlas_sidecar.adapters.telemetry.export import TelemetrySettings
from atlas_sidecar.core.types import StreamPolicy
from tests.adapters.telemetry.trees import attributes, traced_rig
from tests.runtime.rig import ask

NOT_NAMES = {"SCOPE", "SERVICE_NAME", "SERVICE", "CHAT", "KIND_LLM", "KIND_CHAIN", "OK", "CANCELLED", "OTHER"}


def names() -> dict[str, str]:
    return {
        key: value
        for key, value in vars(semconv).items()
        if key.isupper() and isinstance(value, str) and key not in NOT_NAMES
    }


def test_no_attribute_is_a_prefix_of_another() -> None:
    keys = sorted(value for key, value in names().items() if not key.startswith("M_"))
    assert len(keys) == len(set(keys))
    assert [(one, other) for one in keys for other in keys if other.startswith(f"{one}.")] == []


def test_no_metric_is_listed_twice() -> None:
    metrics = [value for key, value in names().items() if key.startswith("M_")]
    assert len(metrics) == len(set(metrics))


async def test_spans_use_no_name_that_is_not_listed(tmp_path: Path) -> None:
    settings = TelemetrySettings(capture_content=True)
    rig, keeper, _ = await traced_rig(
        tmp_path, {"a": [{"status": 500}, {"cut_after": 2}], "b": [{"status": 429}], "c": []}, settings=settings
    )
    await rig.generate(ask(policy=StreamPolicy.RESTART))
    used = {key for span in keeper.spans for key in attributes(span)}
    assert used - set(names().values()) == set()
    assert all(attributes(span)["openinference.span.kind"] in ("LLM", "CHAIN") for span in keeper.spans)


async def test_span_names_end_in_words_of_a_small_fixed_set(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 500}, {"cut_after": 2}], "b": [{"status": 429}]})
    await rig.generate(ask(policy=StreamPolicy.RESTART))
    ends = {span.name.split(": ")[1] for span in keeper.spans if ": " in span.name}
    assert ends == {"500", "stream_broken", "429", "200"}
