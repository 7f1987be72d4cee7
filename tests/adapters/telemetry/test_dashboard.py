"""The dashboard and the alert rules ask only for metrics and labels that a real scrape has."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from atlas_sidecar.adapters.telemetry.export import TelemetrySettings
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.leases import BudgetReport
from atlas_sidecar.core.types import Usage
from atlas_sidecar.ports import HopOutcome
from tests.adapters.telemetry.test_prometheus import scrape
from tests.adapters.telemetry.trees import traced_rig
from tests.promql import MalformedError, read
from tests.runtime.rig import ask, model

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD = json.loads((DOCS / "dashboards" / "atlas-sidecar.json").read_text())
ALERTS = yaml.safe_load((DOCS / "alerts" / "atlas-sidecar.yaml").read_text())["groups"][0]["rules"]
VARIABLE = re.compile(r"label_values\((\w+), (\w+)\)")  # Grafana's own


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", VARIABLE.sub(r"sum by (\2) (\1)", variable["query"]["query"])
    for rule in ALERTS:
        yield f"alert {rule['alert']}", rule["expr"]


@pytest.fixture
async def scraped(tmp_path: Path) -> dict[str, set[str]]:
    """Return the metrics of a sidecar that lived through everything, each with its labels."""
    settings = TelemetrySettings(metrics_listen="127.0.0.1:0")
    scripts = {"a": [], "b": [{"status": 429}], "c": []}
    rig, _, telemetry = await traced_rig(tmp_path, scripts, settings=settings, daily_limit_nano_usd=10**12)

    def with_service() -> BudgetReport:
        return replace(rig.budget.health(), service_configured=True, last_sync_unix_s=1.0)

    telemetry.watch(rig.health.report, with_service)
    rig.health.begin(rig.engine.models["a"]).end(ProviderError(ErrorClass.MODEL_UNAVAILABLE, "gone"), Usage(), 0.1)
    await telemetry.start()
    try:
        await rig.generate(ask())
        # The rig's providers answer in one chunk; a real one does not.
        hop = telemetry.start_request("Generate", {}, ask()).start_hop(1, model("a", "a", 9.0), "primary", ("h", 1))
        hop.first_content(0.1)
        hop.end(HopOutcome(None, "", Usage(1, None, None, 5), 1, False, chunks=5))
        told = await scrape(telemetry.metrics_address)
    finally:
        await telemetry.close()
    found: dict[str, set[str]] = {}
    for name, labels in told:
        found.setdefault(name, set()).update(key for key, _ in labels)
    return found


async def test_every_query_parses_and_asks_for_metrics_and_labels_that_are_there(scraped: dict[str, set[str]]) -> None:
    for where, query in queries():
        try:
            assert read(query, scraped)
        except MalformedError as wrong:
            pytest.fail(f"{where}: {wrong}")


def test_panels_have_a_title_a_description_and_a_place_of_their_own() -> None:
    places: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places
        assert place["x"] + place["w"] <= 24
        places |= cells
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_five_alerts_say_what_is_wrong_and_what_to_do() -> None:
    assert len(ALERTS) == 5
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]


async def test_the_guide_names_every_metric_and_label_and_no_other(scraped: dict[str, set[str]]) -> None:
    table = (DOCS / "telemetry.md").read_text().partition("## Metrics")[2].partition("## The log")[0]
    told = set(re.findall(r"`((?:atlas|gen_ai|rpc)_[a-z_]+)`", table))
    ends = re.compile(r"_(bucket|count|sum)$")
    names = {ends.sub("", name) for name in scraped if not name.startswith(("process_", "python_"))}
    labels = set().union(*scraped.values())
    assert names - told == set()
    assert told - names - labels == set()
