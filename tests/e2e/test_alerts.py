"""The conditions of alert rules, on scrapes of a sidecar that is in trouble, and of one that is not."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.telemetry.test_dashboard import ALERTS
from tests.adapters.telemetry.test_prometheus import Samples, scrape
from tests.e2e.in_process import Running, asked, running

# With the default catalog: its models of other providers are known here, and cannot be asked.
DEAD = """
providers: {openai: {api_key: none, base_url: "http://127.0.0.1:9/v1"}}
metrics_listen: 127.0.0.1:0
fallback: {backoff_base_s: 0.001}
"""


def least(samples: Samples, expression: str) -> tuple[float, float]:
    """Return the two sides of `min by (instance) (METRIC{LABEL="VALUE"}) == NUMBER` on one instance's scrape."""
    parts = re.fullmatch(r'min by \(instance\) \((\w+)\{(\w+)="(\w*)"\}\) == (\d+)', expression)
    assert parts is not None, expression
    name, label, value, bound = parts.groups()
    chosen = [one for (metric, labels), one in samples.items() if metric == name and (label, value) in labels]
    return min(chosen), float(bound)


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(DEAD, tmp_path) as served:
        yield served


async def test_that_no_provider_is_usable_is_seen_beside_those_of_the_catalog_that_have_no_key(
    sidecar: Running,
) -> None:
    (rule,) = [one for one in ALERTS if one["alert"] == "AtlasNoProviderUsable"]
    state, alarming = least(await scrape(sidecar.sidecar.telemetry.metrics_address), rule["expr"])
    assert state != alarming
    for _ in range(12):
        await sidecar.generate(asked())
    samples = await scrape(sidecar.sidecar.telemetry.metrics_address)
    state, alarming = least(samples, rule["expr"])
    assert state == alarming
    told = {
        dict(labels)["provider"] for (name, labels) in samples if name in ("atlas_circuit_state", "atlas_in_flight")
    }
    assert told == {"openai"}
