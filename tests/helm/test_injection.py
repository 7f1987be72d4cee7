"""The policy of atlas-injector, asked by the API server's own code, gives a pod what the library chart gives it."""

import copy

import pytest
import yaml

from tests.helm.charts import Document, documents, one, pod_specs, rendered, template
from tests.helm.injected import NEEDED, POD, admit, spec_of

VALUES = {
    "keys": {"anthropic": {"secret": "llm", "key": "a"}, "openai": {"secret": "llm", "key": "o"}},
    "budgetService": {
        "address": "atlas-budget.atlas:50061",
        "token": {"secret": "budget-token", "key": "token"},
        "ca": {"secret": "budget-ca", "key": "ca.crt"},
        "certificate": "sidecar-tls",
    },
    "extraEnv": [{"name": "NOTE", "value": 'a "quoted" word, \\, a\nline, {braces} and <angles>'}],
    "extraVolumeMounts": [{"name": "work", "mountPath": "/work", "readOnly": True}],
}


def policy(**values: object) -> Document:
    both = {"namespaces": ["team-a"], "atlas-sidecar": {**VALUES, **values}}
    done = template("atlas-injector", values=yaml.safe_dump(both))
    assert done.returncode == 0, done.stderr
    return one(documents(done.stdout), "MutatingAdmissionPolicy")


def injected(pod: Document) -> Document:
    return {**pod, "spec": spec_of(admit(policy(), pod))}


def test_it_adds_exactly_what_the_library_chart_adds() -> None:
    both = {"atlas-sidecar": {**VALUES, "simulate": False, "configMap": "release-atlas-sidecar"}}
    done = template("atlas-agent-demo", values=yaml.safe_dump(both))
    assert done.returncode == 0, done.stderr
    wanted = dict(pod_specs(documents(done.stdout)))["Deployment/release-atlas-agent-demo"]
    spec = injected(POD)["spec"]
    assert spec["initContainers"] == wanted["initContainers"]
    assert spec["volumes"] == [volume for volume in wanted["volumes"] if volume["name"].startswith("atlas-")]
    assert spec["containers"] == [NEEDED]


def test_it_comes_before_the_init_containers_that_are_there_and_keeps_the_volumes() -> None:
    pod = copy.deepcopy(POD)
    pod["spec"] |= {"initContainers": [{**NEEDED, "name": "first"}], "volumes": [{"name": "work", "emptyDir": {}}]}
    spec = injected(pod)["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["atlas-sidecar", "first"]
    assert [volume["name"] for volume in spec["volumes"]][:2] == ["work", "atlas-run"]


def test_a_second_time_adds_nothing() -> None:
    once = injected(POD)
    assert injected(once) == once


def test_a_broken_expression_is_refused_as_the_server_would() -> None:
    broken = policy()
    patch = broken["spec"]["mutations"][0]["jsonPatch"]
    patch["expression"] = patch["expression"].replace('name: "atlas-sidecar"', "name: 7 + object.nothing")
    assert admit(broken, POD).returncode == 1


@pytest.mark.parametrize("namespace", ["team-a", "team-b"])
def test_each_namespace_has_the_configuration_that_the_pods_mount(namespace: str) -> None:
    manifests = rendered("atlas-injector", "keys")
    (found,) = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["namespace"] == namespace]
    assert yaml.safe_load(found["data"]["atlas.yaml"])["budget"]["service"] == "atlas-budget.atlas:50061"
    assert found["metadata"]["name"] == "release-atlas-sidecar"
