"""Every pod of every chart passes Pod Security "restricted", and asks for what it needs.

The rules are those of the Kubernetes documentation, "Pod Security Standards", profile Restricted with Baseline.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helm.charts import CASES, Document, pod_specs, rendered
from tests.helm.injected import injected_pod

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
PROFILES = {"RuntimeDefault", "Localhost"}


def breaches(pod: Document) -> Iterator[str]:
    """Yield what "restricted" forbids in a pod's spec."""
    shared = pod.get("securityContext", {})
    for host in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(host):
            yield host
    if pod.get("hostUsers") is False and shared.get("procMount"):
        yield "procMount"
    for volume in pod.get("volumes", []):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    if shared.get("runAsUser") == 0:
        yield "pod runs as root"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        for breach in _breaches(container, shared):
            yield f"{container['name']}: {breach}"


def _breaches(container: Document, shared: Document) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities are not dropped"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if own.get("runAsUser") == 0:
        yield "runs as root"
    if own.get("seccompProfile", shared.get("seccompProfile", {})).get("type") not in PROFILES:
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"


def pods(chart: str, case: str) -> list[tuple[str, Document]]:
    """Return every pod that a chart makes, or that its policy would make of an innocent pod."""
    manifests = rendered(chart, case)
    return [*pod_specs(manifests), *injected_pod(manifests)]


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_every_pod_passes_restricted(chart: str, case: str) -> None:
    found = pods(chart, case)
    assert found
    assert [(name, breach) for name, pod in found for breach in breaches(pod)] == []


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_every_container_is_bounded_and_cannot_write_its_image(chart: str, case: str) -> None:
    for name, pod in pods(chart, case):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            resources = container["resources"]
            assert resources["requests"].keys() == {"cpu", "memory"}, name
            assert resources["limits"].keys() == {"memory"}, name  # a CPU limit would delay every token
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert not container["image"].endswith(":latest"), name
        for volume in pod.get("volumes", []):
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], name
        assert pod.get("automountServiceAccountToken") is False or name == "injected", name


def without(*path: Any) -> Callable[[Document], None]:
    """Return what removes a field."""

    def change(pod: Document) -> None:
        inner: Any = pod
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def with_value(value: Any, *path: Any) -> Callable[[Document], None]:
    """Return what sets a field."""

    def change(pod: Document) -> None:
        inner: Any = pod
        for key in path[:-1]:
            inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
        inner[path[-1]] = value

    return change


SIDECAR = ("initContainers", 0, "securityContext")


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        (with_value(True, "hostNetwork"), "hostNetwork"),
        (with_value({"path": "/"}, "volumes", 0, "hostPath"), "volume atlas-run: hostPath"),
        (with_value(True, *SIDECAR, "privileged"), "atlas-sidecar: privileged"),
        (without(*SIDECAR, "allowPrivilegeEscalation"), "atlas-sidecar: allowPrivilegeEscalation"),
        (without(*SIDECAR, "capabilities", "drop"), "atlas-sidecar: capabilities are not dropped"),
        (with_value(["SYS_PTRACE"], *SIDECAR, "capabilities", "add"), "atlas-sidecar: capabilities are added"),
        (with_value(False, *SIDECAR, "runAsNonRoot"), "atlas-sidecar: runAsNonRoot"),
        (with_value(0, *SIDECAR, "runAsUser"), "atlas-sidecar: runs as root"),
        (with_value({"type": "Unconfined"}, *SIDECAR, "seccompProfile"), "atlas-sidecar: seccompProfile"),
        (with_value(80, "initContainers", 0, "ports", 0, "hostPort"), "atlas-sidecar: hostPort"),
    ],
)
def test_each_breach_is_seen(change: Callable[[Document], None], breach: str) -> None:
    pod = copy.deepcopy(
        dict(pod_specs(rendered("atlas-agent-demo", "simulated")))["Deployment/release-atlas-agent-demo"]
    )
    assert list(breaches(pod)) == []
    change(pod)
    assert list(breaches(pod)) == [breach]
