"""Every manifest is valid, strictly, in the Kubernetes versions that the charts are for; Helm 3 and 4 agree on it."""

import copy
import json
import subprocess

import pytest

from tests.helm.charts import CASES, CHARTS, TOOLS, Document, helm, one, rendered

VERSIONS = ("1.29", "1.33", "1.37")


def violations(manifests: tuple[Document, ...], *versions: str) -> list[str]:
    """Return what is wrong with the manifests."""
    python = TOOLS / "kubernetes-validate" / "bin" / "python"
    if not python.exists():
        pytest.skip("kubernetes-validate is not installed here; `make check-helm` installs and uses it")
    script = CHARTS.parent / "tools" / "validate_manifests.py"
    done = subprocess.run(
        [str(python), str(script), *versions],
        input=json.dumps(manifests),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split()[0]) > 0
    return done.stdout.splitlines()


def versions_of(chart: str) -> tuple[str, ...]:
    return ("1.37",) if chart == "atlas-injector" else VERSIONS  # its API came with 1.36


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_manifests_are_valid_in_each_kubernetes_version(chart: str, case: str) -> None:
    for kubernetes in versions_of(chart):
        assert violations(rendered(chart, case, kubernetes=kubernetes), kubernetes) == []


@pytest.mark.parametrize(
    ("field", "value"), [("restartPolice", "Always"), ("args", "one"), ("imagePullPolicy", 7), ("ports", [{}])]
)
def test_a_wrong_manifest_is_found(field: str, value: object) -> None:
    manifests = copy.deepcopy(rendered("atlas-agent-demo", "simulated"))
    one(manifests, "Deployment")["spec"]["template"]["spec"]["initContainers"][0][field] = value
    (found,) = violations(manifests, "1.29")
    assert "Deployment/release-atlas-agent-demo" in found


@pytest.mark.parametrize(("chart", "case"), CASES)
def test_helm_3_and_4_make_the_same(chart: str, case: str) -> None:
    def by_name(version: int) -> dict[tuple[str, str, str], Document]:  # they order what they install differently
        manifests = rendered(chart, case, version=version)
        named = {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]): m for m in manifests}
        assert len(named) == len(manifests)
        return named

    assert by_name(3) == by_name(4)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("chart", "case"), CASES)
def test_lint_is_content(chart: str, case: str, version: int) -> None:
    values = CHARTS / chart / "ci" / f"{case}-values.yaml"
    done = helm(
        "lint", "--strict", "--kube-version", "1.37", str(CHARTS / chart), "--values", str(values), version=version
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_every_chart_has_cases() -> None:
    charts = {path.parent.name for path in CHARTS.glob("*/Chart.yaml")}
    assert charts - {chart for chart, _ in CASES} == {"atlas-sidecar"}  # the library; the demo renders it
