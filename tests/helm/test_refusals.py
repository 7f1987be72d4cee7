"""Every wrong value is refused, with a message that says which one and what to write."""

import json
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHARTS, template

DEMO: dict[str, Any] = {"atlas-sidecar": {"simulate": True}}
BUDGET: dict[str, Any] = {"insecure": True}
SECURE = {"tls": {"secret": "t"}, "tokens": {"secret": "t", "key": "k"}}
KEYS = {"anthropic": {"secret": "s", "key": "k"}}
URL = {"postgresql": {"url": {"secret": "s", "key": "k"}}}


def sidecar(**values: Any) -> dict[str, Any]:
    return {"atlas-sidecar": {"simulate": True, **values}}


def budget(**values: Any) -> dict[str, Any]:
    return {"insecure": True, **values}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # the library, by way of the demo: contradictions
    ("atlas-agent-demo", sidecar(simulate=False), "no provider. Give `keys`"),
    (
        "atlas-agent-demo",
        sidecar(config={"listen": ["unix:/x"]}),
        "config.listen is the chart's own; set `loopbackPort`",
    ),
    ("atlas-agent-demo", sidecar(config={"health_listen": "0.0.0.0:1"}), "set `healthPort`"),
    ("atlas-agent-demo", sidecar(config={"metrics_listen": "0.0.0.0:1"}), "set `metricsPort`"),
    ("atlas-agent-demo", sidecar(config={"budget": {"spend_log": "/x"}}), "set `spendLogSize`"),
    ("atlas-agent-demo", sidecar(config={"budget": {"service": "a:1"}}), "set `budgetService.address`"),
    ("atlas-agent-demo", sidecar(configMap="mine", config={"log_level": "debug"}), "`configMap` and `config` both"),
    ("atlas-agent-demo", sidecar(budgetService={"token": KEYS["anthropic"]}), "without budgetService.address"),
    ("atlas-agent-demo", sidecar(budgetService={"address": "a:1", "tls": False, "certificate": "c"}), "set tls: true"),
    ("atlas-agent-demo", sidecar(healthPort=9464), "healthPort and metricsPort are both 9464"),
    (
        "atlas-agent-demo",
        sidecar(keys=KEYS, config={"providers": {"anthropic": {"api_key_env": "K"}}}),
        "provider anthropic has a key in `keys` and another one",
    ),
    # the library: types, bounds, misspelt names
    ("atlas-agent-demo", sidecar(simulat=True), "'simulat'"),
    ("atlas-agent-demo", sidecar(image={"tga": "1"}), "'tga'"),
    ("atlas-agent-demo", sidecar(image={"digest": "sha256:12"}), "/image/digest"),
    ("atlas-agent-demo", sidecar(image={"pullPolicy": "always"}), "/image/pullPolicy"),
    ("atlas-agent-demo", sidecar(simulate="yes"), "/simulate"),
    ("atlas-agent-demo", sidecar(keys={"anthropic": "sk-ant-oops"}), "/keys/anthropic"),
    ("atlas-agent-demo", sidecar(keys={"anthropic": {"secret": "s"}}), "missing property 'key'"),
    ("atlas-agent-demo", sidecar(keys={"An Thropic": KEYS["anthropic"]}), "An Thropic"),
    ("atlas-agent-demo", sidecar(healthPort=80), "/healthPort"),
    ("atlas-agent-demo", sidecar(loopbackPort=70000), "/loopbackPort"),
    ("atlas-agent-demo", sidecar(bindAddress="10.0.0.1"), "/bindAddress"),
    ("atlas-agent-demo", sidecar(runAsUser=0), "/runAsUser"),
    ("atlas-agent-demo", sidecar(spendLogSize="64 MB"), "/spendLogSize"),
    ("atlas-agent-demo", sidecar(resources={"limits": {"memory": "lots"}}), "/resources/limits/memory"),
    ("atlas-agent-demo", sidecar(budgetService={"address": "http://a"}), "/budgetService/address"),
    ("atlas-agent-demo", sidecar(startupSeconds=1), "/startupSeconds"),
    ("atlas-agent-demo", sidecar(podMonitor={"interval": "often"}), "/podMonitor/interval"),
    ("atlas-agent-demo", sidecar(extraEnv={"A": "b"}), "/extraEnv"),
    # the sidecar's own configuration, refused before it reaches a pod
    ("atlas-agent-demo", sidecar(config={"log_level": "loud"}), "/config/log_level"),
    ("atlas-agent-demo", sidecar(config={"budget": {"daily_limit": 5}}), "'daily_limit'"),
    ("atlas-agent-demo", sidecar(config={"telemetry": {"sample_ratio": 2}}), "/config/telemetry/sample_ratio"),
    ("atlas-agent-demo", sidecar(config={"providers": {"openai": {"base_uri": "http://x"}}}), "'base_uri'"),
    ("atlas-agent-demo", sidecar(config={"timeouts": {"idle_s": "long"}}), "/config/timeouts/idle_s"),
    # the demo
    ("atlas-agent-demo", {**DEMO, "workload": "Pod"}, "/workload"),
    ("atlas-agent-demo", {**DEMO, "replicas": -1}, "/replicas"),
    ("atlas-agent-demo", {**DEMO, "agent": {"prompt": ""}}, "/agent/prompt"),
    ("atlas-agent-demo", {**DEMO, "terminationGracePeriodSeconds": 10}, "/terminationGracePeriodSeconds"),
    ("atlas-agent-demo", {**DEMO, "agents": {}}, "'agents'"),
    # the budget service: contradictions
    ("atlas-budget", {}, "no TLS. Make a Secret"),
    ("atlas-budget", {"tls": {"secret": "t"}}, "who may call? Set tokens"),
    ("atlas-budget", budget(**SECURE), "insecure: true together with tls or tokens"),
    ("atlas-budget", budget(database={"kind": "postgresql"}), "needs database.postgresql.url"),
    ("atlas-budget", budget(database=URL), "set database.kind: postgresql"),
    ("atlas-budget", budget(replicas=2), "SQLite has room for one replica"),
    ("atlas-budget", budget(autoscaling={"enabled": True}), "SQLite has room for one replica"),
    (
        "atlas-budget",
        budget(database={"kind": "postgresql", **URL}, autoscaling={"enabled": True, "minReplicas": 9}),
        "minReplicas is above maxReplicas",
    ),
    ("atlas-budget", budget(metricsPort=0, monitor={"kind": "PodMonitor"}), "monitor.kind needs metrics"),
    ("atlas-budget", budget(healthPort=50061), "must differ"),
    # the budget service: types, bounds, misspelt names
    ("atlas-budget", budget(replica=1), "'replica'"),
    ("atlas-budget", budget(database={"kind": "mysql"}), "/database/kind"),
    ("atlas-budget", budget(database={"sqlite": {"size": "big"}}), "/database/sqlite/size"),
    ("atlas-budget", budget(database={"postgresql": {"url": "postgresql://u:secret@h/d"}}), "/database/postgresql/url"),
    ("atlas-budget", budget(tls={"secret": "No Name"}), "/tls/secret"),
    ("atlas-budget", budget(tokens={"secret": "s"}), "/tokens"),
    ("atlas-budget", budget(insecure="true"), "/insecure"),
    ("atlas-budget", budget(service={"type": "ExternalName"}), "/service/type"),
    ("atlas-budget", budget(service={"port": 0}), "/service/port"),
    ("atlas-budget", budget(healthPort=1023), "/healthPort"),
    ("atlas-budget", budget(runAsUser=0), "/runAsUser"),
    ("atlas-budget", budget(terminationGracePeriodSeconds=5), "/terminationGracePeriodSeconds"),
    ("atlas-budget", budget(podDisruptionBudget={"maxUnavailable": 0}), "/podDisruptionBudget/maxUnavailable"),
    ("atlas-budget", budget(autoscaling={"targetCpuPercent": 100}), "/autoscaling/targetCpuPercent"),
    ("atlas-budget", budget(networkPolicy={"from": "everybody"}), "/networkPolicy/from"),
    ("atlas-budget", budget(monitor={"kind": "Agent"}), "/monitor/kind"),
    ("atlas-budget", budget(dashboards={"labels": {"a": 1}}), "/dashboards/labels"),
    ("atlas-budget", budget(affinity=[]), "/affinity"),
    # the injector
    ("atlas-injector", sidecar(), "namespaces is empty"),
    ("atlas-injector", {**sidecar(), "namespaces": ["Team A"]}, "/namespaces/0"),
    ("atlas-injector", {**sidecar(), "namespaces": ["a", "a"]}, "/namespaces"),
    ("atlas-injector", {**sidecar(), "namespaces": ["a"], "failurePolicy": "Warn"}, "/failurePolicy"),
    ("atlas-injector", {**sidecar(), "namespaces": ["a"], "label": {"key": ""}}, "/label/key"),
    ("atlas-injector", {**sidecar(simulate=False), "namespaces": ["a"]}, "no provider"),
]


@pytest.mark.parametrize(("chart", "values", "message"), REFUSED, ids=[f"{c}-{m}" for c, _, m in REFUSED])
def test_a_wrong_value_is_refused_with_a_message(chart: str, values: dict[str, Any], message: str) -> None:
    done = template(chart, values=yaml.safe_dump(values))
    assert done.returncode != 0
    told = done.stderr.replace(".", "/") if message.startswith("/") else done.stderr  # Helm 3 and 4 write paths apart
    assert message in told, done.stderr


def test_older_clusters_are_refused_with_what_to_do_instead() -> None:
    values = yaml.safe_dump({**sidecar(), "namespaces": ["a"]})
    done = template("atlas-injector", values=values, kubernetes="1.35")
    assert "has no MutatingAdmissionPolicy (it came with 1.36); include the library chart" in done.stderr
    for chart, right in (("atlas-agent-demo", DEMO), ("atlas-budget", BUDGET)):
        assert "1.29" in template(chart, values=yaml.safe_dump(right), kubernetes="1.28").stderr
        assert template(chart, values=yaml.safe_dump(right), kubernetes="1.29").returncode == 0


@pytest.mark.parametrize("chart", ["atlas-sidecar", "atlas-agent-demo", "atlas-budget", "atlas-injector"])
def test_every_value_is_described_and_unknown_ones_are_refused(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    groups = [("", schema)]
    while groups:
        path, group = groups.pop()
        assert group["additionalProperties"] is False, path
        for name, value in group["properties"].items():
            assert value.get("description"), f"{path}{name}"
            if "properties" in value and "default" not in value:
                groups.append((f"{path}{name}.", value))


def test_global_values_and_enabled_are_let_through() -> None:
    values = {"global": {"imageRegistry": "x"}, **sidecar(enabled=True)}
    assert template("atlas-agent-demo", values=yaml.safe_dump(values)).returncode == 0
