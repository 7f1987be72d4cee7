"""What atlas-budget brings for Prometheus and Grafana asks only for what a real scrape has, and is a copy of docs/."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from atlas_sidecar.budget_service.metrics import Metrics
from tests.helm.charts import CHARTS, ROOT, documents, one, template
from tests.promql import read

DOCS = ROOT / "docs"
FILES = CHARTS / "atlas-budget" / "files"
COPIES = sorted(path.relative_to(DOCS) for path in (*DOCS.glob("dashboards/*.json"), *DOCS.glob("alerts/*.yaml")))


@pytest.mark.parametrize("name", COPIES, ids=str)
def test_the_charts_copy_is_current(name: Path) -> None:
    assert (FILES / name).read_text() == (DOCS / name).read_text(), "run: make helm-values"


def test_the_chart_carries_nothing_else() -> None:
    assert sorted(path.relative_to(FILES) for path in FILES.rglob("*.*")) == COPIES


def queries() -> Iterator[tuple[str, str]]:
    dashboard = json.loads((DOCS / "dashboards" / "atlas-budget.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in yaml.safe_load((DOCS / "alerts" / "atlas-budget.yaml").read_text())["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]


def scraped() -> dict[str, set[str]]:
    """Return each metric's labels, all of them touched once."""
    metrics = Metrics()
    metrics.calls.labels("Sync", "OK").inc()
    metrics.seconds.labels("Sync").observe(0.1)
    metrics.denials.labels("limit").inc()
    metrics.lost.labels("suspense").inc()
    metrics.money.labels("acme", "spent").set(1)
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_query_parses_and_names_metrics_and_labels_that_are_there(where: str, query: str) -> None:
    assert read(query, scraped()), where


def test_dashboards_and_rules_arrive_whole() -> None:
    values = yaml.safe_dump({"insecure": True, "dashboards": {"enabled": True}, "alerts": {"enabled": True}})
    done = template("atlas-budget", values=values)
    assert done.returncode == 0, done.stderr
    manifests = documents(done.stdout)
    for name in ("atlas-sidecar", "atlas-budget"):
        source = (DOCS / "dashboards" / f"{name}.json").read_text()
        config_map = one(manifests, "ConfigMap", f"-{name}")
        assert json.loads(config_map["data"][f"{name}.json"]) == json.loads(source)
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    rules = [yaml.safe_load((DOCS / name).read_text())["groups"] for name in COPIES if name.suffix == ".yaml"]
    assert one(manifests, "PrometheusRule")["spec"]["groups"] == [group for groups in rules for group in groups]
